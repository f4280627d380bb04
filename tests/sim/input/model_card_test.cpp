// SPDX-License-Identifier: Apache-2.0
#include "sim/input/model_card.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/input/model_card_count.h"

namespace moesim {
namespace {

using ::testing::HasSubstr;

ModelCard card(const std::string& id) {
  return load_model_card(std::string(MOESIM_SOURCE_DIR) + "/models/" + id + ".json");
}

/// A small valid card; tests spoil one thing in it.
Json small_card() {
  return parse_json(R"({"schema": "moesim/model_card/1", "id": "small", "name": "Small",
    "hidden": 64, "vocabulary": 1000, "layers": [
      {"name": "dense", "count": 1,
       "attention": {"kind": "standard", "heads": 4, "kv_heads": 2, "head_dim": 16},
       "ffn": {"kind": "dense", "width": 256}},
      {"name": "moe", "count": 2,
       "attention": {"kind": "standard", "heads": 4, "kv_heads": 2, "head_dim": 16},
       "ffn": {"kind": "moe", "width": 32, "experts": 8, "top_k": 2}}]})",
                    "small.json");
}

/// The message for the small card with `value` at `pointer`'s last key.
std::string message_with(const std::string& parent, const std::string& key, Json value) {
  Json json = small_card();
  const Json* at = json.at_pointer(parent);
  const_cast<Json*>(at)->set(key, std::move(value));
  Diagnostics diagnostics;
  read_model_card(json, "small.json", diagnostics);
  std::string text;
  for (const Diagnostic& diagnostic : diagnostics.list()) {
    text += diagnostic.text() + "\n";
  }
  return text;
}

TEST(ModelCard, KvBytesPerTokenMatchThePublishedShapes) {
  // DeepSeek-V3: 61 layers * (512 + 64) * 2 bytes.
  EXPECT_EQ(kv_bytes_per_token(card("deepseek_v3"), 2.0).value(), 70272.0);
  // GQA: layers * 2 * kv_heads * head_dim * 2 bytes.
  EXPECT_EQ(kv_bytes_per_token(card("mixtral_8x7b"), 2.0).value(), 131072.0);
  EXPECT_EQ(kv_bytes_per_token(card("qwen3_235b_a22b"), 2.0).value(), 192512.0);
  EXPECT_EQ(kv_bytes_per_token(card("llama_3_1_70b"), 2.0).value(), 327680.0);
}

TEST(ModelCard, WindowedLayersStopAtTheirWindow) {
  // gpt-oss-120b: 18 full and 18 windowed layers of 2 * 8 * 64 * 2 = 2,048 bytes a token each.
  const KvCacheSize size = kv_cache_size(card("gpt_oss_120b"), 2.0);
  ASSERT_EQ(size.windowed.size(), 1u);
  EXPECT_EQ(size.windowed[0].window, 128);
  EXPECT_EQ(size.at(100).value(), 36 * 2048.0 * 100);
  EXPECT_EQ(size.at(4096).value(), 18 * 2048.0 * (4096 + 128));
}

TEST(ModelCard, CountsASmallModelByHand) {
  Diagnostics diagnostics;
  const ModelCard small = read_model_card(small_card(), "small.json", diagnostics);
  ASSERT_TRUE(diagnostics.empty());
  const ParameterCount count = count_parameters(small);
  // attention: q 64*64, k and v 64*32 each, o 64*64 = 12,288 in each of 3 layers.
  EXPECT_EQ(count.kinds.attention, 3 * 12288.0);
  // experts: 2 layers * 8 * 3 * 64 * 32; two of eight are active.
  EXPECT_EQ(count.kinds.routed_experts, 2 * 8 * 6144.0);
  EXPECT_EQ(count.kinds.active_routed, 2 * 2 * 6144.0);
  EXPECT_EQ(count.kinds.router, 2 * 64 * 8.0);
  EXPECT_EQ(count.kinds.dense_ffn, 3 * 64 * 256.0);
  EXPECT_EQ(count.kinds.norms, 7 * 64.0);
  EXPECT_EQ(count.total - count.kinds.total(), 2 * 64000.0);
  EXPECT_EQ(count.active_with_both_embeddings - count.active_without_input_embedding, 64000.0);
}

TEST(ModelCard, UnequalExpertsCountByTheirMean) {
  // 4 experts of width 16 and 4 of width 48 hold as much as 8 of width 32.
  Json json = small_card();
  Json sizes = parse_json(R"([{"count": 4, "width": 16}, {"count": 4, "width": 48}])", "");
  const_cast<Json*>(json.at_pointer("/layers/1/ffn"))->set("expert_sizes", sizes);
  Diagnostics diagnostics;
  const ParameterCount unequal = count_parameters(read_model_card(json, "small.json", diagnostics));
  const ParameterCount equal =
      count_parameters(read_model_card(small_card(), "small.json", diagnostics));
  EXPECT_EQ(unequal.total, equal.total);
  EXPECT_EQ(unequal.kinds.active_routed, equal.kinds.active_routed);
}

TEST(ModelCard, WrittenCardsReadBackEqual) {
  for (const char* id : {"deepseek_v3", "gpt_oss_120b", "llama_3_1_70b"}) {
    const ModelCard original = card(id);
    const Json written = model_card_json(original);
    Diagnostics diagnostics;
    const ModelCard again = read_model_card(written, "written", diagnostics);
    EXPECT_TRUE(diagnostics.empty()) << id;
    EXPECT_EQ(write_object(again), write_object(original)) << id;
  }
}

TEST(ModelCard, LayerSequenceFollowsTheOrder) {
  const std::vector<std::int64_t> sequence = card("gpt_oss_120b").layer_sequence();
  ASSERT_EQ(sequence.size(), 36u);
  EXPECT_EQ(sequence[0], 0);
  EXPECT_EQ(sequence[1], 1);
  EXPECT_EQ(sequence[35], 1);
}

TEST(ModelCard, SaysWhatDoesNotFitTogether) {
  EXPECT_EQ(
      message_with("/layers/1/ffn", "top_k", 9),
      "small.json#/layers/1/ffn/top_k: 9 of 8 experts; allowed: 1 to the number of experts\n");
  EXPECT_EQ(message_with("/layers/0/attention", "kv_heads", 3),
            "small.json#/layers/0/attention/kv_heads: 3 does not divide 4 heads; allowed: a "
            "divisor of heads\n");
  EXPECT_THAT(message_with("/layers/1/ffn", "router", parse_json(R"({"groups": 3})", "")),
              HasSubstr("/layers/1/ffn/router/groups: 3 does not divide 8 experts"));
  EXPECT_THAT(message_with("/layers/1/ffn", "router",
                           parse_json(R"({"groups": 8, "groups_chosen": 1})", "")),
              HasSubstr("2 experts do not fit in 1 groups of 1"));
  EXPECT_THAT(message_with("/layers/1/ffn", "shared_experts", 1),
              HasSubstr("/layers/1/ffn/shared_width: is missing or 0"));
  EXPECT_THAT(message_with("/layers/0/ffn", "experts", 4),
              HasSubstr("experts in a layer of kind \"dense\""));
  EXPECT_THAT(message_with("/layers/1", "name", "dense"),
              HasSubstr("\"dense\" names two layer classes"));
  EXPECT_THAT(
      message_with("", "order", parse_json(R"([{"repeat": 2, "layers": ["moe", "dens"]}])", "")),
      HasSubstr("\"dens\" is no layer class; allowed: dense, moe"));
  EXPECT_THAT(message_with("/layers/0/attention", "recurrence", "mamba2"),
              HasSubstr("\"mamba2\" does not fit kind \"standard\""));
  EXPECT_THAT(message_with("/layers/0/attention", "cross_attention", true),
              HasSubstr("the model has no encoder"));
  EXPECT_THAT(message_with("", "schema", "moesim/model_card/9"), HasSubstr("is unknown"));
  EXPECT_THAT(message_with("", "published", parse_json(R"({"total": "about 7B"})", "")),
              HasSubstr("\"about 7B\" is no parameter count"));
}

TEST(ModelCard, PrintedCountsKnowTheirLastDigit) {
  EXPECT_EQ(parse_printed_count("46.7B")->value, 46.7e9);
  EXPECT_DOUBLE_EQ(parse_printed_count("46.7B")->last_digit, 0.1e9);
  EXPECT_DOUBLE_EQ(parse_printed_count("1,571B")->value, 1571e9);
  EXPECT_EQ(parse_printed_count("600B")->last_digit, 1e9);
  EXPECT_EQ(parse_printed_count("~600B")->last_digit, 100e9);
  for (const char* bad : {"", "B", "7", "7Q", "7 B", "~", "0B", "1..2B", "-7B"}) {
    EXPECT_FALSE(parse_printed_count(bad).has_value()) << bad;
  }
}

}  // namespace
}  // namespace moesim
