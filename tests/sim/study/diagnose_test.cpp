// SPDX-License-Identifier: Apache-2.0
// Causes are found again in "measurements" that the simulator itself made with one of them.
#include "sim/study/diagnose.h"

#include <gtest/gtest.h>

#include <cmath>

#include "sim/base/error.h"
#include "sim/study/serving_validation.h"

namespace moesim {
namespace {

const CardLibrary& cards() {
  static const CardLibrary library = CardLibrary::open(MOESIM_SOURCE_DIR);
  return library;
}

ScenarioSpec serving_spec() {
  ScenarioSpec spec;
  spec.model = "mixtral_8x7b";
  spec.cluster = "cluster_h100_ib400";
  spec.gpus_per_node = 2;
  spec.parallelism.tensor = 2;
  spec.parallelism.expert = 1;
  spec.parallelism.expert_tensor = 2;
  spec.workload.kind = WorkloadKind::serving;
  spec.workload.prompt_tokens = 512;
  spec.workload.output_tokens = 64;
  spec.workload.concurrency = 4;
  spec.workload.requests = 40;
  spec.fidelity = Fidelity::event;
  return spec;
}

/// What `spec` would measure at two loads.
std::vector<ServingMeasurement> made_rows(ScenarioSpec spec) {
  std::vector<ServingMeasurement> rows;
  for (const double concurrency : {2.0, 16.0}) {
    spec.workload.concurrency = concurrency;
    const ServingPrediction made = predict_serving(spec, cards(), "made");
    ServingMeasurement row;
    row.id = "c" + std::to_string(static_cast<int>(concurrency));
    row.load = std::to_string(static_cast<int>(concurrency));
    row.tpot_s = made.tpot_s->value;
    row.ttft_s = made.ttft_s->value;
    row.output_rate = made.output_rate->value;
    rows.push_back(row);
  }
  return rows;
}

TEST(Diagnose, ADeploymentAsPredictedHasNoCauses) {
  const Diagnosis diagnosis =
      diagnose(serving_spec(), "test", made_rows(serving_spec()), "", cards());
  EXPECT_EQ(diagnosis.points.size(), 6u);
  EXPECT_TRUE(diagnosis.causes.empty());
  for (const double rest : diagnosis.log_unexplained) {
    EXPECT_NEAR(rest, 0, 1e-9);
  }
}

TEST(Diagnose, ASlowHostIsFoundAndExplainsMostOfTheGap) {
  ScenarioSpec slow = serving_spec();
  slow.runtime.host_overhead_s = 4e-3;  // 0.8 of what the cause is simulated at
  const Diagnosis diagnosis = diagnose(serving_spec(), "test", made_rows(slow), "", cards());
  ASSERT_FALSE(diagnosis.causes.empty());
  EXPECT_EQ(diagnosis.causes[0].name, "the host is slow");
  EXPECT_NEAR(diagnosis.causes[0].strength, 0.8, 0.25);
  // TPOT at the low load: what is left unexplained is a small part of the gap.
  const double gap = std::log(diagnosis.points[0].measured / diagnosis.points[0].predicted);
  EXPECT_GT(gap, 0.1);
  EXPECT_LT(std::fabs(diagnosis.log_unexplained[0]), 0.25 * gap);
}

TEST(Diagnose, AGapThatNoCauseMakesStaysUnexplained) {
  // Faster than predicted: every cause only slows down.
  std::vector<ServingMeasurement> rows = made_rows(serving_spec());
  for (ServingMeasurement& row : rows) {
    row.tpot_s = *row.tpot_s / 2;
    row.ttft_s = *row.ttft_s / 2;
    row.output_rate = *row.output_rate * 2;
  }
  const Diagnosis diagnosis = diagnose(serving_spec(), "test", rows, "", cards());
  EXPECT_TRUE(diagnosis.causes.empty());
  EXPECT_NEAR(diagnosis.log_unexplained[0], std::log(0.5), 1e-9);
}

TEST(Diagnose, WaterfallsAddUpToTheMeasurement) {
  ScenarioSpec slow = serving_spec();
  slow.runtime.host_overhead_s = 4e-3;
  const Diagnosis diagnosis = diagnose(serving_spec(), "test", made_rows(slow), "", cards());
  const Json json = to_json(diagnosis);
  for (const Json& point : json.find("points")->items()) {
    double value = point.find("predicted")->as_number();
    for (const Json& step : point.find("waterfall")->items()) {
      value += step.find("change")->as_number();
    }
    value += point.find("unexplained")->as_number();
    EXPECT_NEAR(value / point.find("measured")->as_number(), 1, 1e-9);
  }
}

TEST(Diagnose, RowsWithoutAFigureThatIsPredictedAreRefused) {
  ServingMeasurement row;
  row.id = "empty";
  EXPECT_THROW(diagnose(serving_spec(), "test", {row}, "", cards()), InputError);
}

}  // namespace
}  // namespace moesim
