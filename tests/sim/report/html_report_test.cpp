// SPDX-License-Identifier: Apache-2.0
// HTML reports: self-contained, escaped, with the numbers of their result; and in a real browser,
// drawn without an error.
#include "sim/report/html_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <regex>

#include "sim/report/html_page.h"
#include "sim/run/simulate.h"
#include "sim/study/sweep.h"
#include "tests/sim/run/scenario_fixtures.h"

namespace moesim {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string run_page() {
  const Scenario scenario = testing::small([](ScenarioSpec& spec) {
    spec.name = "Mixtral <on> H100 & \"co\"";
    spec.nodes = 2;
    spec.parallelism.expert = 8;
    spec.parallelism.expert_tensor = 2;
    spec.routing.kind = RoutingModel::gumbel;
    spec.routing.sigma = 0.8;
  });
  return html_report(simulate(scenario), deployment_details(scenario));
}

std::string sweep_page() {
  const ScenarioSpec base = testing::small().spec;
  const SweepSpace space(base, {"/workload/batch_per_gpu=1:256:20", "/parallelism/tensor=1,2,3"},
                         SweepMode::cartesian);
  const PointEvaluator evaluator(space, testing::cards(), "small", false);
  SweepTable table;
  append_chunk(table, space, evaluator.evaluate({0, space.num_points()}));
  return html_sweep(table, base, "moesim sweep scenario.json --vary ...");
}

TEST(HtmlPage, EscapesTextsAndCannotBeEndedFromInsideAChart) {
  HtmlPage page("a <b> & \"c\"");
  page.table({"x<y"}, {{{"</td><script>", std::nullopt}}});
  Json chart = Json::object();
  chart.set("type", "bars");
  chart.set("names", Json::Array{Json("</script><script>alert(1)</script>")});
  page.chart("it's", chart);
  const std::string html = page.html();
  EXPECT_THAT(html, HasSubstr("<title>a &lt;b&gt; &amp; &quot;c&quot;</title>"));
  EXPECT_THAT(html, HasSubstr("&lt;/td&gt;&lt;script&gt;"));
  EXPECT_THAT(html, Not(HasSubstr("<script>alert(1)")));
  EXPECT_THAT(html, HasSubstr("\\u003c/script>"));
}

TEST(HtmlReport, LoadsNothingFromAnywhere) {
  for (const std::string& html : {run_page(), sweep_page()}) {
    const std::string head = html.substr(0, html.find("<script>\n"));  // before Chart.js's own text
    const std::regex loads("(src|href)\\s*=\\s*[\"'](?!data:)|@import|url\\(");
    EXPECT_FALSE(std::regex_search(head, loads));
    EXPECT_THAT(html, HasSubstr("Chart.js v"));
  }
}

TEST(HtmlReport, HoldsTheAnswerAndTheScenarioToRunAgain) {
  const Scenario scenario = testing::small();
  const SimulationResult result = simulate(scenario);
  const std::string html = html_report(result, deployment_details(scenario));
  for (const NamedMetric& metric : result.metrics) {
    EXPECT_THAT(html, HasSubstr(metric.name));
  }
  EXPECT_THAT(html, HasSubstr(html_text(result.scenario.dump())));
  // The whole-layer loads of 32 layers that are alike are one row of 8 ranks, each at the mean.
  EXPECT_THAT(html, HasSubstr("\"rows\":[[1,1,1,1,1,1,1,1]]"));
}

TEST(HtmlReport, DeploymentDetailsAverageToTheMeanAndRiseWithTheBatch) {
  const DeploymentDetails details = deployment_details(testing::small([](ScenarioSpec& spec) {
    spec.routing.kind = RoutingModel::gumbel;
    spec.routing.sigma = 1.1;
  }));
  ASSERT_EQ(details.rank_load.size(), 32u);  // Mixtral's layers, each with its own popularity
  for (const std::vector<double>& row : details.rank_load) {
    double sum = 0;
    for (const double load : row) {
      sum += load;
    }
    EXPECT_NEAR(sum, static_cast<double>(row.size()), 1e-9);
  }
  for (std::size_t i = 1; i < details.batches.size(); ++i) {
    EXPECT_GT(details.batches[i].tokens_per_s_per_gpu, details.batches[i - 1].tokens_per_s_per_gpu);
    EXPECT_LT(details.batches[i].tokens_per_s_per_user,
              details.batches[i - 1].tokens_per_s_per_user);
  }
}

TEST(HtmlReport, LatencyCurvesPassThroughTheQuantilesOfTheRun) {
  const Scenario scenario = testing::small([](ScenarioSpec& spec) {
    spec.fidelity = Fidelity::event;
    spec.workload.kind = WorkloadKind::serving;
    spec.workload.requests_per_s = 20;
    spec.workload.requests = 300;
    spec.workload.lengths = LengthLaw::lognormal;
    spec.workload.prompt_tokens = 500;
    spec.workload.output_tokens = 50;
  });
  RunOptions options;
  options.what_ifs = false;
  const SimulationResult result = simulate(scenario, options);
  const std::vector<LatencyCurve> curves = latency_curves(scenario);
  ASSERT_EQ(curves.size(), 3u);
  for (const LatencyCurve& curve : curves) {
    const auto& distribution = std::get<Distribution>(result.find(curve.name)->value);
    EXPECT_TRUE(std::is_sorted(curve.seconds.begin(), curve.seconds.end()));
    EXPECT_EQ(curve.shares.back(), 1.0);
    for (const auto& [share, metric] :
         {std::pair{0.5, distribution.p50}, {0.9, distribution.p90}}) {
      // 300 requests: one of them is a third of a percent, the figure lies between two of them.
      const auto above = std::lower_bound(curve.shares.begin(), curve.shares.end(), share + 0.007);
      const auto at = static_cast<std::size_t>(above - curve.shares.begin());
      EXPECT_LE(metric.value, curve.seconds[at]) << curve.name << " " << share;
      EXPECT_GE(metric.value, curve.seconds[at - 5]) << curve.name << " " << share;
    }
  }
  EXPECT_TRUE(latency_curves(testing::small()).empty());
}

TEST(HtmlReport, DrawsEveryChartInABrowserWithoutAConsoleError) {
  const char* browser = nullptr;
  for (const char* name : {"chromium", "chromium-browser", "google-chrome"}) {
    if (std::system((std::string("command -v ") + name + " > /dev/null 2>&1").c_str()) == 0) {
      browser = name;
      break;
    }
  }
  if (browser == nullptr) {
    GTEST_SKIP() << "no headless browser (Debian: chromium)";
  }
  const std::string folder = ::testing::TempDir() + "/html_report";
  std::filesystem::create_directories(folder);
  int number = 0;
  for (const std::string& html : {run_page(), sweep_page()}) {
    const std::string base = folder + "/page" + std::to_string(number++);
    write_text_file(base + ".html", html);
    std::filesystem::remove_all(base + "_profile");
    const std::string command =
        "timeout 120 " + std::string(browser) +
        " --headless --no-sandbox --disable-gpu --disable-quic --no-first-run"
        " --disable-background-networking --disable-component-update --disable-sync"
        " --enable-logging=stderr --user-data-dir='" +
        base + "_profile' --dump-dom 'file://" + base + ".html' > '" + base + ".dom' 2> '" + base +
        ".log'";
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
    const std::string dom = read_text_file(base + ".dom", 64u << 20);
    const std::string log = read_text_file(base + ".log", 64u << 20);
    EXPECT_THAT(log, Not(HasSubstr("CONSOLE")));
    EXPECT_THAT(dom, HasSubstr("data-errors=\"0\""));
    std::size_t canvases = 0;
    for (std::size_t at = dom.find("<div class=\"chart"); at != std::string::npos;
         at = dom.find("<div class=\"chart", at + 1)) {
      ++canvases;
    }
    EXPECT_THAT(dom, HasSubstr("data-charts=\"" + std::to_string(canvases) + "\""));
    EXPECT_GE(canvases, 2u);
  }
}

}  // namespace
}  // namespace moesim
