// SPDX-License-Identifier: Apache-2.0
// One row per shipped card: computed parameters against the makers' printed counts, and against an
// independent count of the same configurations.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "sim/input/model_card_count.h"

namespace moesim {
namespace {

std::string models_dir() { return std::string(MOESIM_SOURCE_DIR) + "/models/"; }

std::vector<std::string> shipped_ids() {
  std::vector<std::string> ids;
  for (const auto& entry : std::filesystem::directory_iterator(models_dir())) {
    const std::string file = entry.path().filename().string();
    if (file.ends_with(".json") && !file.ends_with(".schema.json")) {
      ids.push_back(file.substr(0, file.size() - 5));
    }
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

/// A printed count that the shapes do not give within the tolerance, with the reason.
struct Exception {
  const char* id;
  const char* what;
  double relative;  ///< the deviation that the card has, at most
  const char* why;
};
constexpr Exception kExceptions[] = {
    {"deepseek_v2_lite", "active", 0.0215,
     "2.451B without the input embedding, the convention of DeepSeek-V2 and V3; 2.4B is printed, "
     "a truncation"},
};

class PublishedCounts : public ::testing::TestWithParam<std::string> {};

TEST_P(PublishedCounts, AreMatchedWithinTwoPercentOrHalfAPrintedUnit) {
  const ModelCard card = load_model_card(models_dir() + GetParam() + ".json");
  for (const CountCheck& check : check_published_counts(card)) {
    double allowed = check.allowed;
    for (const Exception& exception : kExceptions) {
      if (card.id == exception.id && check.what == exception.what) {
        EXPECT_FALSE(check.agrees()) << "the exception is no longer needed: " << exception.why;
        allowed = exception.relative * check.published;
      }
    }
    EXPECT_NEAR(check.computed, check.published, allowed)
        << card.name << " " << check.what << ", source: " << card.published.source;
  }
}

TEST_P(PublishedCounts, SayWhereTheyComeFrom) {
  const ModelCard card = load_model_card(models_dir() + GetParam() + ".json");
  EXPECT_EQ(card.id, GetParam());
  EXPECT_FALSE(card.sources.empty());
  // A card without a printed total has to say why under `unknown`.
  EXPECT_TRUE(card.published.total.has_value() || !card.unknown.empty());
  EXPECT_EQ(card.published.total.has_value(), !card.published.source.empty());
}

TEST_P(PublishedCounts, CardsReadBackEqualAfterWriting) {
  const ModelCard card = load_model_card(models_dir() + GetParam() + ".json");
  Diagnostics diagnostics;
  const ModelCard again = read_model_card(model_card_json(card), "written", diagnostics);
  EXPECT_TRUE(diagnostics.empty());
  EXPECT_EQ(write_object(again), write_object(card));
  EXPECT_EQ(static_cast<std::int64_t>(card.layer_sequence().size()), card.num_layers());
}

INSTANTIATE_TEST_SUITE_P(EveryCard, PublishedCounts, ::testing::ValuesIn(shipped_ids()),
                         [](const auto& row) { return row.param; });

TEST(ShippedCards, CoverTheRequirementList) {
  const std::vector<std::string> ids = shipped_ids();
  for (const char* family : {"switch_base_128",
                             "switch_xxl_128",
                             "switch_c_2048",
                             "gshard_600b",
                             "glam_64b_64e",
                             "fairseq_moe_16e",
                             "pr_moe_1_3b",
                             "mixtral_8x7b",
                             "mixtral_8x22b",
                             "deepseek_v2",
                             "deepseek_v2_lite",
                             "deepseek_v3",
                             "deepseek_r1",
                             "deepseek_v3_2",
                             "deepseek_v4_pro",
                             "llama_4_scout",
                             "llama_4_maverick",
                             "qwen1_5_moe_a2_7b",
                             "qwen2_57b_a14b",
                             "qwen3_30b_a3b",
                             "qwen3_235b_a22b",
                             "qwen3_5_397b_a17b",
                             "qwen3_next_80b_a3b",
                             "gpt_oss_20b",
                             "gpt_oss_120b",
                             "kimi_k2",
                             "kimi_k2_thinking",
                             "kimi_k3",
                             "glm_4_5",
                             "glm_5",
                             "minimax_m1",
                             "minimax_m2",
                             "hunyuan_large",
                             "ernie_4_5_300b_a47b",
                             "nemotron_3_nano_30b_a3b",
                             "step_3",
                             "jamba_1_5_large",
                             "grok_1",
                             "phi_3_5_moe",
                             "olmoe_1b_7b",
                             "snowflake_arctic",
                             "dbrx",
                             "llama_3_1_8b",
                             "llama_3_1_70b",
                             "llama_3_1_405b",
                             "qwen3_8b",
                             "qwen3_32b",
                             "gpt_3_175b"}) {
    EXPECT_TRUE(std::binary_search(ids.begin(), ids.end(), family)) << family;
  }
}

/// Counts that somebody else computed from the configurations, in billions, to the digits given:
/// total, active with both embeddings, active without the input embedding (0: not given).
struct Independent {
  const char* id;
  double total;
  double active_with;
  double active_without_input;
};

TEST(ShippedCards, AgreeWithAnIndependentCount) {
  constexpr Independent kRows[] = {
      {"switch_base_128", 7.415, 0.224, 0},
      {"switch_xxl_128", 394.5, 0, 11.0},
      {"glam_64b_64e", 1161.7, 96.59, 0},
      {"mixtral_8x7b", 46.70, 12.88, 12.75},
      {"mixtral_8x22b", 140.63, 39.16, 38.96},
      {"deepseek_v2", 235.74, 21.38, 20.85},
      {"deepseek_v3", 671.03, 37.55, 36.63},
      {"llama_4_scout", 107.77, 17.17, 16.14},
      {"llama_4_maverick", 400.71, 17.18, 16.15},
      {"qwen3_30b_a3b", 30.53, 3.35, 3.04},
      {"qwen3_235b_a22b", 235.09, 22.19, 21.57},
      {"gpt_oss_120b", 116.83, 5.71, 5.13},
      {"gpt_oss_20b", 20.91, 4.19, 3.61},
      {"kimi_k2", 1026.4, 32.86, 31.69},
      {"olmoe_1b_7b", 6.92, 1.28, 1.18},
      {"snowflake_arctic", 478.6, 17.32, 17.09},
      {"dbrx", 131.6, 36.47, 35.85},
      {"llama_3_1_8b", 8.03, 8.03, 0},
      {"llama_3_1_70b", 70.55, 70.55, 0},
      {"llama_3_1_405b", 405.85, 405.85, 0},
      {"gpt_3_175b", 174.6, 174.6, 0},
  };
  for (const Independent& row : kRows) {
    const ParameterCount count = count_parameters(load_model_card(models_dir() + row.id + ".json"));
    // 0.05%, and half a unit of the last digit of the rounder figures.
    const auto near = [&](double computed, double given, const char* what) {
      if (given > 0.0) {
        EXPECT_NEAR(computed / 1e9, given, std::max(5e-4 * given, 0.006)) << row.id << " " << what;
      }
    };
    near(count.total, row.total, "total");
    near(count.active_with_both_embeddings, row.active_with, "active");
    if (std::string(row.id) != "switch_xxl_128") {
      near(count.active_without_input_embedding, row.active_without_input, "active, no input");
    }
  }
}

TEST(ShippedCards, KvCacheFollowsTheFamily) {
  const auto card = [](const char* id) { return load_model_card(models_dir() + id + ".json"); };
  // DeepSeek-V3.2 adds a 128-byte indexer key per layer: 61 * (576 * 2 + 128).
  EXPECT_EQ(kv_bytes_per_token(card("deepseek_v3_2"), 2.0).value(), 61.0 * (576 * 2 + 128));
  // DeepSeek-V4-Flash at a long context: 21 layers keep (512 * 2 + 128) / 4 bytes a token, 20 keep
  // 512 * 2 / 128, and all 43 a window of 128 vectors of 1,024 bytes.
  const double tokens = 1 << 20;
  EXPECT_DOUBLE_EQ(kv_cache_size(card("deepseek_v4_flash"), 2.0).at(tokens).value(),
                   tokens * (21 * 288.0 + 20 * 8.0) + 43 * 128 * 1024.0);
  // Hunyuan-Large shares keys and values between pairs: 32 of 64 layers keep 2 * 8 * 80 elements.
  EXPECT_EQ(kv_bytes_per_token(card("hunyuan_large"), 2.0).value(), 32 * 2 * 8 * 80 * 2.0);
  // Nemotron-3-Nano: 6 attention layers of 2 * 2 * 128 elements; 23 Mamba-2 layers of
  // 64 * 64 * 128 state elements and 3 * (4,096 + 2 * 8 * 128) convolution taps, 4 bytes each.
  const KvCacheSize nano = kv_cache_size(card("nemotron_3_nano_30b_a3b"), 2.0);
  EXPECT_EQ(nano.per_token.value(), 6 * 2 * 2 * 128 * 2.0);
  EXPECT_EQ(nano.state.value(), 23 * 4.0 * (64 * 64 * 128 + 3 * (4096 + 2 * 8 * 128)));
  // Switch-Base decodes with 12 self-attention caches and 12 over the encoder's tokens.
  const KvCacheSize switch_base = kv_cache_size(card("switch_base_128"), 2.0);
  EXPECT_EQ(switch_base.per_token.value(), 12 * 2 * 12 * 64 * 2.0);
  EXPECT_EQ(switch_base.per_encoder_token.value(), switch_base.per_token.value());
}

}  // namespace
}  // namespace moesim
