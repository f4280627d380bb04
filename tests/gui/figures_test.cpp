// SPDX-License-Identifier: GPL-3.0-or-later
// What the explorer shows is what `moesim run --format json` prints, for every shipped scenario.
#include <QProcess>

#include "gui/headline.h"
#include "gui/overview.h"
#include "tests/gui/gui_fixture.h"

namespace moesim::gui {
namespace {

/// The answer of the command line, the program beside the tests.
Json commandAnswer(const std::string& scenario) {
  QProcess process;
  process.setWorkingDirectory(MOESIM_SOURCE_DIR);
  process.start(qEnvironmentVariable("MOESIM_PROGRAM", MOESIM_BINARY_DIR "/moesim"),
                {"run", QString::fromStdString(scenario), "--format", "json"});
  EXPECT_TRUE(process.waitForFinished(300000)) << "is the target moesim built?";
  EXPECT_TRUE(process.exitCode() == 0 || process.exitCode() == 2)
      << process.readAllStandardError().toStdString();
  return parse_json(process.readAllStandardOutput().toStdString(), "moesim run");
}

class GuiFigures : public testing::TestWithParam<std::string> {};

TEST_P(GuiFigures, AreThoseOfTheCommandLine) {
  Workbench workbench(shippedCards());
  workbench.evaluator().setEventDelay(0);
  HeadlineModel headlines(workbench);
  ASSERT_TRUE(workbench.open(GetParam()));
  // Only what the scenario's own fidelity needs.
  workbench.setWantsEvents(workbench.spec().fidelity != Fidelity::analytic);
  workbench.reload(shippedCards());
  ASSERT_TRUE(waitIdle(workbench));
  ASSERT_TRUE(workbench.problems().empty());
  ASSERT_NE(workbench.answer(), nullptr);
  ASSERT_TRUE(workbench.answer()->isFinal);

  const Json printed = commandAnswer(GetParam());
  const Json& metrics = *printed.find("metrics");
  const Grid grid = figuresGrid(workbench.answer()->result, nullptr);
  int compared = 0;
  for (int row = 0; row < grid.rows; ++row) {
    std::string pointer = "/" + grid.cell(row, 0).toString().toStdString();
    for (char& c : pointer) {
      c = c == '.' ? '/' : c;
    }
    const Json* metric = metrics.at_pointer(pointer);
    ASSERT_NE(metric, nullptr) << pointer;
    EXPECT_EQ(grid.cell(row, 1).toDouble(), metric->find("value")->as_number()) << pointer;
    const Json* low = metric->find("low");
    if (low != nullptr) {
      EXPECT_EQ(grid.cell(row, 3).toDouble(), low->as_number()) << pointer;
      EXPECT_EQ(grid.cell(row, 4).toDouble(), metric->find("high")->as_number()) << pointer;
    } else {
      EXPECT_EQ(grid.cell(row, 3).toString(), "") << pointer;
    }
    ++compared;
  }
  EXPECT_GT(compared, 3);
  // The headline cards show some of these figures: each under the name that it says.
  int cards = 0;
  for (const Headline& card : headlines.headlines()) {
    if (card.metric.empty()) {
      continue;
    }
    const Json* metric = metrics.find(card.metric);
    ASSERT_NE(metric, nullptr) << card.metric;
    double expected = 0;
    if (const Json* value = metric->find("value"); value != nullptr && value->is_number()) {
      expected = value->as_number();
    } else if (const Json* median = metric->find("p50")) {
      expected = median->find("value")->as_number();
    } else {
      for (const auto& [part, figure] : metric->members()) {
        expected += figure.find("value")->as_number();
      }
    }
    EXPECT_DOUBLE_EQ(card.value, expected) << card.metric;
    ++cards;
  }
  EXPECT_GE(cards, 3);
  EXPECT_EQ(workbench.answer()->result.feasibility.ok,
            printed.find("feasibility")->find("ok")->as_bool());
}

std::vector<std::string> scenarios() { return shippedCards()->ids(CardKind::scenario); }

INSTANTIATE_TEST_SUITE_P(AllShipped, GuiFigures, testing::ValuesIn(scenarios()),
                         [](const testing::TestParamInfo<std::string>& scenario) {
                           std::string name = scenario.param;
                           for (char& c : name) {
                             c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
                           }
                           return name;
                         });

}  // namespace
}  // namespace moesim::gui
