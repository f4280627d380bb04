// SPDX-License-Identifier: Apache-2.0
// Rules of /alerts on runs made by hand, where the right answer can be counted, and on real ones.
#include "sim/run/serving_alerts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/report/html_report.h"
#include "sim/report/report.h"
#include "sim/run/simulate.h"
#include "tests/sim/serving/serving_fixtures.h"

namespace moesim {
namespace {

using testing::dense;
using ::testing::HasSubstr;
using testing::ranks_in_step;

/// Ten requests a second for 100 s, each admitted, read and finished at once.
ServingRecord steady() {
  ServingRecord record;
  for (int i = 0; i < 1000; ++i) {
    RequestState request{};
    request.arrival_s = i / 10.0;
    request.admitted_s = request.arrival_s;
    request.first_token_s = request.arrival_s + 0.1;
    request.finish_s = request.arrival_s + 1;
    request.output = 10;
    record.requests.push_back(request);
  }
  record.rejected.assign(record.requests.size(), 0);
  record.end_s = 100;
  return record;
}

std::vector<Alert> alerts(const ServingRecord& record, const testing::Edit& edit) {
  const Scenario scenario = dense([&](ScenarioSpec& spec) {
    spec.workload.requests_per_s = 10;
    spec.alerts.window_s = 10;
    edit(spec);
  });
  ServingPlan plan;
  plan.serving.room.tokens = 1000;
  plan.serving.instances = 1;
  SimulationResult result;
  add_serving_alerts(result, scenario, plan, record);
  return result.alerts;
}

TEST(ServingAlerts, AQuietRunRaisesNone) {
  EXPECT_TRUE(alerts(steady(), [](ScenarioSpec& spec) {
                spec.slo.ttft_s = 0.2;
                spec.slo.tpot_s = 0.2;
              }).empty());
}

TEST(ServingAlerts, AWindowThatMissesTheLimitsIsFoundWithItsTime) {
  // Of the hundred requests that arrive from 30 s to 40 s, 25 have to wait a second.
  ServingRecord record = steady();
  for (std::size_t i = 300; i < 325; ++i) {
    record.requests[i].first_token_s = record.requests[i].arrival_s + 1;
  }
  const auto promise = [](ScenarioSpec& spec) { spec.slo.ttft_s = 0.5; };
  const std::vector<Alert> found = alerts(record, promise);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].kind, "slo_missed");
  EXPECT_DOUBLE_EQ(found[0].value, 0.25);
  EXPECT_DOUBLE_EQ(found[0].threshold, 0.1);
  EXPECT_DOUBLE_EQ(*found[0].time_s, 30);
  EXPECT_FALSE(found[0].advice.empty());
  // Without a promise, or with a looser rule, there is nothing to miss.
  EXPECT_TRUE(alerts(record, [](ScenarioSpec&) {}).empty());
  EXPECT_TRUE(alerts(record, [&](ScenarioSpec& spec) {
                promise(spec);
                spec.alerts.slo_missed_fraction = 0.25;
              }).empty());
}

TEST(ServingAlerts, AQueueThatGrowsThreeWindowsInARowIsNoBurst) {
  // From 40 s to 60 s every second request is left waiting until 60 s: two windows. Until 70 s:
  // three, each keeps half of its hundred arrivals.
  for (const double until : {60.0, 70.0}) {
    ServingRecord record = steady();
    for (std::size_t i = 400; i < static_cast<std::size_t>(until * 10); i += 2) {
      record.requests[i].admitted_s = until;
    }
    const std::vector<Alert> found = alerts(record, [](ScenarioSpec&) {});
    if (until < 65) {
      EXPECT_TRUE(found.empty());
      continue;
    }
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].kind, "queue_grows");
    EXPECT_DOUBLE_EQ(found[0].value, 0.5);
    EXPECT_DOUBLE_EQ(*found[0].time_s, 40);
  }
}

TEST(ServingAlerts, AFullCacheIsJudgedByTheWindow) {
  // 970 of 1,000 tokens from 50 s to 60 s, 100 before and after.
  ServingRecord record = steady();
  record.series.add(SeriesRecorder::cache_tokens, 0, 50, 50 * 100);
  record.series.add(SeriesRecorder::cache_tokens, 50, 60, 10 * 970);
  record.series.add(SeriesRecorder::cache_tokens, 60, 100, 40 * 100);
  const std::vector<Alert> found = alerts(record, [](ScenarioSpec&) {});
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].kind, "kv_cache_full");
  EXPECT_NEAR(found[0].value, 0.97, 1e-9);
  EXPECT_DOUBLE_EQ(*found[0].time_s, 50);
}

TEST(ServingAlerts, PreemptedRequestsAreAShareOfAll) {
  ServingRecord record = steady();
  for (std::size_t i = 200; i < 220; ++i) {
    record.requests[i].preemptions = 1;
  }
  const std::vector<Alert> found = alerts(record, [](ScenarioSpec&) {});
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].kind, "preemption");
  EXPECT_DOUBLE_EQ(found[0].value, 0.02);
  EXPECT_DOUBLE_EQ(*found[0].time_s, 20);
  EXPECT_TRUE(
      alerts(record, [](ScenarioSpec& spec) { spec.alerts.preempted_fraction = 0.02; }).empty());
}

TEST(ServingAlerts, ExpertRulesNameTheTimeAtWhichTheTrafficTurned) {
  // Even traffic until 2 s, skewed traffic after it; capacity for a quarter more than the mean.
  const Scenario scenario = ranks_in_step([](ScenarioSpec& spec) {
    spec.routing.kind = RoutingModel::domains;
    spec.routing.sigma = 0;
    spec.routing.domains = {{"even", RoutingModel::gumbel, 0.0, 1, ""},
                            {"skewed", RoutingModel::gumbel, 1.5, 1, ""}};
    spec.routing.phases = {{0, {1, 0}, 0}, {2, {0, 1}, 0}};
    spec.capacity.factor = 1.25;
    spec.capacity.overflow = Overflow::drop;
    spec.workload.arrivals = ArrivalProcess::offline;
    spec.workload.requests = 1024;
    spec.workload.output_tokens = 512;
    spec.alerts.rank_load_max_over_mean = 1.2;
    spec.alerts.expert_load_max_over_mean = 1.5;
  });
  RunOptions options;
  options.what_ifs = false;
  const SimulationResult result = simulate(scenario, options);
  std::vector<std::string> kinds;
  for (const Alert& alert : result.alerts) {
    if (alert.kind != "expert_imbalance" && alert.kind != "hot_expert" &&
        alert.kind != "dropped_tokens") {
      continue;
    }
    kinds.push_back(alert.kind);
    EXPECT_DOUBLE_EQ(*alert.time_s, 2) << alert.kind;
    EXPECT_GT(alert.value, alert.threshold);
  }
  EXPECT_THAT(kinds, ::testing::ElementsAre("expert_imbalance", "hot_expert", "dropped_tokens"));
}

TEST(ServingAlerts, EveryReportShowsThemWithTimeAndAdvice) {
  SimulationResult result;
  result.title = "a run";
  result.scenario = Json::object();
  result.alerts.push_back({"queue_grows", "share that stays", 0.5, 0.1, 40.0, "admit fewer"});
  EXPECT_EQ(alert_text(result.alerts[0]),
            "queue_grows: 0.500 (share that stays), above 0.100, first at 40.0 s; admit fewer");
  EXPECT_THAT(report_text(result, ReportFormat::markdown),
              HasSubstr("- **Alert** queue_grows: 0.500 (share that stays)"));
  const std::string json = report_text(result, ReportFormat::json);
  EXPECT_THAT(json, HasSubstr("\"time_s\": 40"));
  EXPECT_THAT(json, HasSubstr("\"advice\": \"admit fewer\""));
  EXPECT_THAT(html_report(result, {}), HasSubstr("Alert queue_grows: 0.5"));
}

}  // namespace
}  // namespace moesim
