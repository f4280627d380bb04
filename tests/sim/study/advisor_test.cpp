// SPDX-License-Identifier: Apache-2.0
// MoE against dense: the dense twins have the parameters they claim, and the verdict follows from
// physics that can be said beforehand.
#include "sim/study/advisor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "sim/input/model_card_count.h"
#include "sim/report/advice_report.h"
#include "tests/sim/run/scenario_fixtures.h"

namespace moesim {
namespace {

using testing::cards;

PlanRequest mixtral_request() {
  PlanRequest request;
  ServiceRequest service;
  service.name = "chat";
  service.model = "mixtral_8x7b";
  service.load = {.requests_per_s = 50, .prompt_tokens = 1000, .output_tokens = 200};
  service.slo = {.ttft_s = 2, .tpot_s = 0.05, .quantile = 0.9};
  request.services = {service};
  request.hardware = {{.cluster = "cluster_h100_ib400", .max_gpus = 64}};
  request.search.modes = {ServingMode::aggregated};
  request.search.overlap = {OverlapRule::serial};
  request.search.gpus_per_instance = {1, 2, 4, 8};
  request.search.batch_per_gpu = {1, 8, 32, 64, 128};
  return request;
}

double parameters(const std::string& model, std::optional<DenseEdit> dense, bool active) {
  const Scenario scenario = testing::small([&](ScenarioSpec& spec) {
    spec.model = model;
    spec.model_edits.dense = dense;
  });
  const ParameterCount count = count_parameters(*scenario.model);
  return active ? count.active_with_both_embeddings : count.total;
}

TEST(DenseEdit, TwinsHaveTheParametersTheyClaimButForTheRouter) {
  // Routers are 8 x 4096 x 32 of 46.7e9 parameters in Mixtral, 256 x 7168 x 58 of 671e9 in
  // DeepSeek-V3: below 0.1%, of the active ones below 0.4%.
  for (const char* model : {"mixtral_8x7b", "deepseek_v3"}) {
    const double total = parameters(model, std::nullopt, false);
    const double active = parameters(model, std::nullopt, true);
    EXPECT_NEAR(parameters(model, DenseEdit::total, false), total, 1e-3 * total) << model;
    EXPECT_NEAR(parameters(model, DenseEdit::active, false), active, 4e-3 * active) << model;
    EXPECT_EQ(parameters(model, DenseEdit::active, false),
              parameters(model, DenseEdit::active, true))
        << model;
  }
}

TEST(DenseEdit, ADenseModelHasNoExpertsToReplace) {
  try {
    testing::small([](ScenarioSpec& spec) {
      spec.model = "llama_3_1_8b";
      spec.model_edits.dense = DenseEdit::active;
    });
    ADD_FAILURE() << "was resolved";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("is a dense model"));
  }
}

TEST(Advisor, AMoeModelCostsLessThanItsTotalAndMoreMemoryThanItsActiveTwin) {
  const PlanRequest request = mixtral_request();
  const Advice advice = advise(request.services[0], request, cards(), "request");
  ASSERT_EQ(advice.variants.size(), 3u);
  const AdvisorVariant& moe = advice.variants[0];
  const AdvisorVariant& active = advice.variants[1];
  const AdvisorVariant& total = advice.variants[2];
  ASSERT_TRUE(moe.cheapest && active.cheapest && total.cheapest);
  // A token costs the active twin at least the MoE model's FLOPs less routing, and the total twin
  // 46.7 / 12.9 times the MoE model's.
  EXPECT_LE(active.usd_per_million_tokens, moe.usd_per_million_tokens * 1.001);
  EXPECT_LT(moe.usd_per_million_tokens, total.usd_per_million_tokens);
  EXPECT_NEAR(moe.weight_bytes, total.weight_bytes, 0.01 * moe.weight_bytes);
  EXPECT_LT(active.weight_bytes, 0.3 * moe.weight_bytes);
  EXPECT_GE(moe.least_tpot_s, active.least_tpot_s * 0.999);
  ASSERT_EQ(advice.verdict.size(), 3u);
  EXPECT_THAT(advice.verdict[1], ::testing::HasSubstr("against dense of equal total parameters"));
  for (const SweepFormat format :
       {SweepFormat::text, SweepFormat::json, SweepFormat::csv, SweepFormat::markdown}) {
    std::ostringstream out;
    write_advice(out, {advice}, format);
    EXPECT_THAT(out.str(), ::testing::HasSubstr("dense of equal active parameters"));
  }
}

}  // namespace
}  // namespace moesim
