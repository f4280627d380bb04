// SPDX-License-Identifier: Apache-2.0
// The largest batch that still gives every user so many tokens a second, found with the library.
#include <cstdio>
#include <exception>

#include "sim/moesim.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: batch_study FOLDER_WITH_CARDS\n");
    return 2;
  }
  try {
    using namespace moesim;
    const CardLibrary cards = CardLibrary::open(argv[1]);
    const ScenarioSpec base = load_scenario_spec(cards.path(CardKind::scenario, "quickstart"));
    const SweepSpace space(base, {"/workload/batch_per_gpu=log:1:512:10"}, SweepMode::cartesian);
    const PointEvaluator evaluator(space, cards, "quickstart", false);
    SweepTable table;
    run_sweep(evaluator, sweep_chunks(space, 0, 2), {},
              [&](SweepChunk&& chunk) { append_chunk(table, space, std::move(chunk)); });
    constexpr double kTokensPerUser = 15;
    for (std::size_t row = table.rows.size(); row-- > 0;) {
      if (table.rows[row].feasible && 1.0 / table.figure(row, "tpot_s") >= kTokensPerUser) {
        std::printf("batch %s: %.0f tokens/s/GPU, %.1f tokens/s/user\n",
                    table.varied[row][0].dump(-1).c_str(),
                    table.figure(row, "output_tokens_per_s_per_gpu"),
                    1.0 / table.figure(row, "tpot_s"));
        return 0;
      }
    }
    std::printf("no batch is fast enough\n");
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
