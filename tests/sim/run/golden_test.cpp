// SPDX-License-Identifier: Apache-2.0
// Did any prediction move? Metrics and breakdown of every shipped scenario against the committed
// ones, byte by byte. A wanted change is recorded by tests/update_golden.sh, with the reason in the
// commit and in CHANGELOG "Predictions changed".
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "sim/report/report.h"
#include "sim/run/simulate.h"
#include "tests/sim/run/scenario_fixtures.h"

namespace moesim {
namespace {

/// The numbers alone: no version, no hashes, no sentences.
std::string numbers_of(const Scenario& scenario) {
  RunOptions options;
  options.what_ifs = false;
  const Json result = result_json(simulate(scenario, options));
  Json numbers = Json::object();
  numbers.set("metrics", *result.find("metrics"));
  numbers.set("breakdown", *result.find("breakdown"));
  return numbers.dump() + "\n";
}

class Golden : public ::testing::TestWithParam<std::string> {};

TEST_P(Golden, PredictionsAreThoseOnRecord) {
  for (const Fidelity fidelity : {Fidelity::analytic, Fidelity::event}) {
    const std::string name = GetParam() + "." + choice_name(fidelity);
    const std::string file = "tests/golden/" + name + ".json";
    const std::string now = numbers_of(
        testing::shipped(GetParam(), [&](ScenarioSpec& spec) { spec.fidelity = fidelity; }));
    if (std::getenv("MOESIM_UPDATE_GOLDEN") != nullptr) {
      write_text_file(file, now);
      continue;
    }
    EXPECT_EQ(now, read_text_file(file, 1 << 20)) << "a prediction of " << name << " moved";
  }
}

/// Worked studies are starting points of sweeps; their figures are not kept twice.
std::vector<std::string> scenarios_on_record() {
  std::vector<std::string> ids;
  for (const std::string& id : testing::cards().ids(CardKind::scenario)) {
    if (testing::cards().path(CardKind::scenario, id).find("/studies/") == std::string::npos) {
      ids.push_back(id);
    }
  }
  return ids;
}

INSTANTIATE_TEST_SUITE_P(Scenarios, Golden, ::testing::ValuesIn(scenarios_on_record()));

}  // namespace
}  // namespace moesim
