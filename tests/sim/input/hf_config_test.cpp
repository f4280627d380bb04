// SPDX-License-Identifier: Apache-2.0
#include "sim/input/hf_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "sim/input/model_card_count.h"

namespace moesim {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

std::string config_dir() { return std::string(MOESIM_SOURCE_DIR) + "/tests/data/hf_configs/"; }

std::vector<std::string> fixture_ids() {
  std::vector<std::string> ids;
  for (const auto& entry : std::filesystem::directory_iterator(config_dir())) {
    if (entry.path().extension() == ".json") {
      ids.push_back(entry.path().stem().string());
    }
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

Json fixture(const std::string& id) { return load_json(config_dir() + id + ".json"); }

/// Shapes of the layers in order, without the names of the classes.
std::string shapes(const ModelCard& card) {
  std::string text;
  for (const std::int64_t index : card.layer_sequence()) {
    LayerClass layer = card.layers[static_cast<std::size_t>(index)];
    layer.name = "";
    layer.count = 1;
    text += write_object(layer).dump(-1) + "\n";
  }
  for (LayerClass layer : card.encoder_layers) {
    layer.name = "";
    text += "encoder " + write_object(layer).dump(-1) + "\n";
  }
  return text;
}

std::string mtp_shape(const ModelCard& card) {
  return card.mtp ? write_object(*card.mtp).dump(-1) : "none";
}

std::string message(const Json& config) {
  try {
    import_hf_config(config, "config.json", "model");
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

class HfConfig : public ::testing::TestWithParam<std::string> {};

TEST_P(HfConfig, ImportsToTheShippedCard) {
  const ModelCard card =
      load_model_card(std::string(MOESIM_SOURCE_DIR) + "/models/" + GetParam() + ".json");
  const ModelCard imported = import_hf_config(fixture(GetParam()), "config.json", card.id).card;
  EXPECT_EQ(shapes(imported), shapes(card));
  EXPECT_EQ(imported.family, card.family);
  EXPECT_EQ(imported.hidden, card.hidden);
  EXPECT_EQ(imported.vocabulary, card.vocabulary);
  EXPECT_EQ(imported.max_context, card.max_context);
  EXPECT_EQ(imported.tied_embeddings, card.tied_embeddings);
  EXPECT_EQ(count_parameters(imported).total, count_parameters(card).total);
  if (GetParam() != "qwen3_next_80b_a3b") {  // its configuration does not mention the layer
    EXPECT_EQ(mtp_shape(imported), mtp_shape(card));
  }
  if (GetParam() != "grok_1") {  // released as 8-bit arrays without a configuration
    EXPECT_EQ(write_object(imported.weights).dump(-1), write_object(card.weights).dump(-1));
  }
}

INSTANTIATE_TEST_SUITE_P(EveryFixture, HfConfig, ::testing::ValuesIn(fixture_ids()),
                         [](const auto& row) { return row.param; });

TEST(HfConfigNotes, NameEveryKeyThatWasNotUsed) {
  Json config = fixture("mixtral_8x7b");
  config.set("mystery_width", 4711);
  const ImportedModel imported = import_hf_config(config, "config.json", "model");
  EXPECT_THAT(imported.notes, Contains("\"mystery_width\": 4711 was not used"));
  // Numerics and bookkeeping are no shapes: they are not worth a note.
  EXPECT_THAT(imported.notes, Not(Contains(HasSubstr("rms_norm_eps"))));
}

TEST(HfConfigNotes, SayWhichDefaultsWereTaken) {
  Json config = parse_json(R"({"model_type": "newmoe", "hidden_size": 64, "vocab_size": 100,
    "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128})",
                           "config.json");
  const ImportedModel imported = import_hf_config(config, "config.json", "model");
  EXPECT_THAT(imported.notes, Contains(HasSubstr("model_type \"newmoe\" is not known")));
  EXPECT_THAT(imported.notes, Contains(HasSubstr("tie_word_embeddings is absent: false")));
  EXPECT_EQ(imported.card.layers.at(0).attention.kv_heads, 4);
  EXPECT_EQ(imported.card.layers.at(0).attention.head_dim, 16);
}

TEST(HfConfigFormats, FollowTheQuantisation) {
  const auto formats = [](const char* quantisation) {
    Json config = fixture("mixtral_8x7b");
    config.set("quantization_config", parse_json(quantisation, "q"));
    return import_hf_config(config, "config.json", "model");
  };
  const ImportedModel nvfp4 = formats(R"({"quant_method": "modelopt", "quant_algo": "NVFP4",
                  "ignore": ["lm_head", "model.layers.0.self_attn*"]})");
  EXPECT_EQ(nvfp4.card.weights.routed_experts, NumberFormat::nvfp4);
  EXPECT_EQ(nvfp4.card.weights.attention, NumberFormat::bf16);
  EXPECT_EQ(formats(R"({"quant_method": "awq", "bits": 4})").card.weights.attention,
            NumberFormat::int4);
  EXPECT_EQ(formats(R"({"quant_method": "fp8"})").card.weights.routed_experts, NumberFormat::fp8);
  EXPECT_EQ(
      formats(R"({"quant_method": "bitsandbytes", "load_in_8bit": true})").card.weights.dense_ffn,
      NumberFormat::int8);
  EXPECT_THAT(formats(R"({"quant_method": "hqq"})").notes,
              Contains(HasSubstr("is not known; weights are taken as unquantised")));
}

TEST(HfConfigErrors, ListEveryProblemAtOnce) {
  const std::string text = message(parse_json(R"({"model_type": "mixtral", "hidden_size": "wide",
    "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128,
    "num_local_experts": 8})",
                                              "config.json"));
  EXPECT_EQ(text,
            "config.json#/hidden_size: is text; allowed: a whole number >= 0 and <= "
            "16777216\n"
            "config.json#/vocab_size: is missing; allowed: a whole number >= 1\n"
            "config.json#/num_experts_per_tok: is missing; allowed: a whole number >= 1");
}

TEST(HfConfigErrors, NameTheNestedPlace) {
  Json config = fixture("llama_4_scout");
  config.find("text_config")->set("num_hidden_layers", 1.5);
  EXPECT_THAT(message(config), HasSubstr("config.json#/text_config/num_hidden_layers: 1.5 is no "
                                         "size"));
}

TEST(HfConfigErrors, RefuseWhatACardWouldRefuse) {
  Json config = fixture("mixtral_8x7b");
  config.set("num_experts_per_tok", 9);
  EXPECT_THAT(message(config), HasSubstr("9 of 8 experts"));
  config = fixture("gpt_oss_20b");
  config.set("num_hidden_layers", 25);
  EXPECT_THAT(message(config), HasSubstr("layer_types: has 24 entries for 25 layers"));
  config = fixture("nemotron_3_nano_30b_a3b");
  config.set("hybrid_override_pattern", "MEX");
  EXPECT_THAT(message(config), HasSubstr("\"X\" is no layer; allowed: M, *, E, -"));
  config = fixture("llama_3_1_8b");
  config.set("num_hidden_layers", 1 << 20);
  EXPECT_THAT(message(config), HasSubstr("1048576 is no size; allowed: a whole number >= 0 and "
                                         "<= 10000"));
  EXPECT_THAT(message(Json(3)), HasSubstr("the object of a Hugging Face config.json"));
}

// Every key of some fixtures is replaced by each of these values in turn: the import has to answer
// with a card or with an InputError, whatever the value.
TEST(HfConfigErrors, NoValueOfAnyKeyCrashes) {
  const Json nasty[] = {Json(),
                        Json(0),
                        Json(-1),
                        Json(1e30),
                        Json(1 << 30),
                        Json("x"),
                        Json(true),
                        Json::array(),
                        Json::object(),
                        Json(0.5),
                        parse_json("[1, 2]", ""),
                        parse_json("[\"x\"]", "")};
  int refused = 0;
  int read = 0;
  for (const char* id : {"deepseek_v4_flash", "nemotron_3_super_120b_a12b", "qwen3_next_80b_a3b",
                         "step_3", "switch_base_128", "jamba_1_5_large", "minimax_m1", "dbrx"}) {
    const Json original = fixture(id);
    const bool nested = original.find("text_config") != nullptr;
    const Json& keys = nested ? *original.find("text_config") : original;
    for (const auto& [key, value] : keys.members()) {
      for (const Json& replacement : nasty) {
        Json config = original;
        (nested ? *config.find("text_config") : config).set(key, replacement);
        (message(config).empty() ? read : refused) += 1;
      }
    }
  }
  EXPECT_GT(refused, 500);
  EXPECT_GT(read, 500);
}

}  // namespace
}  // namespace moesim
