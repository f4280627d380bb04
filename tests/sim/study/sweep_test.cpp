// SPDX-License-Identifier: Apache-2.0
// Sweeps: which points a space has, that a point's figures are those of `run`, that rows do not
// depend on workers, and what the database keeps.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <set>

#include "sim/base/random.h"
#include "sim/cli/progress_bar.h"
#include "sim/run/simulate.h"
#include "sim/study/results_database.h"
#include "tests/sim/cli/run_command.h"
#include "tests/sim/run/scenario_fixtures.h"

namespace moesim {
namespace {

using testing::cards;

ScenarioSpec small_spec() { return testing::small().spec; }

std::string temporary(const std::string& name) {
  const std::string path = ::testing::TempDir() + "/" + name;
  for (const char* suffix : {"", "-wal", "-shm"}) {
    std::filesystem::remove(path + suffix);
  }
  return path;
}

std::string problem_of(const std::vector<std::string>& varied, SweepMode mode) {
  try {
    SweepSpace(small_spec(), varied, mode, 10);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

SweepTable swept(const SweepSpace& space, int jobs, std::uint64_t chunk = 7) {
  const PointEvaluator evaluator(space, cards(), "small", true);
  std::vector<PointRange> chunks;
  for (std::uint64_t first = 0; first < space.num_points(); first += chunk) {
    chunks.push_back({first, std::min(chunk, space.num_points() - first)});
  }
  SweepTable table;
  SweepOptions options;
  options.jobs = jobs;
  EXPECT_TRUE(run_sweep(evaluator, chunks, options,
                        [&](SweepChunk&& c) { append_chunk(table, space, std::move(c)); }));
  return table;
}

TEST(SweepSpace, EveryCombinationOfListsAndRangesIsAPointAndTheLastKeyTurnsFastest) {
  const SweepSpace space(small_spec(), {"/routing/sigma=0,0.5", "/workload/batch_per_gpu=8:32:4"},
                         SweepMode::cartesian);
  ASSERT_EQ(space.num_points(), 8u);
  EXPECT_EQ(space.values(0), (std::vector<Json>{Json(0), Json(8)}));
  EXPECT_EQ(space.values(1), (std::vector<Json>{Json(0), Json(16)}));
  EXPECT_EQ(space.values(7), (std::vector<Json>{Json(0.5), Json(32)}));
  EXPECT_EQ(space.spec(space.values(7)).workload.batch_per_gpu, 32);
}

TEST(SweepSpace, ALogarithmicRangeHasAConstantRatioAndExactEnds) {
  const SweepSpace space(small_spec(), {"/workload/batch_per_gpu=log:1:1000:4"},
                         SweepMode::cartesian);
  EXPECT_EQ(space.axes()[0].values, (std::vector<Json>{Json(1), Json(10), Json(100), Json(1000)}));
}

TEST(SweepSpace, WholeNumbersOfARangeAreRoundedAndKeptOnce) {
  // 1, 1.5, 2, 2.5, 3 as whole numbers, halves upwards: 1, 2, 2, 3, 3.
  const SweepSpace space(small_spec(), {"/nodes=1:3:5"}, SweepMode::cartesian);
  EXPECT_EQ(space.axes()[0].values, (std::vector<Json>{Json(1), Json(2), Json(3)}));
}

TEST(SweepSpace, QuantitiesAndWordsAreReadAsTheKeyTakesThem) {
  const SweepSpace space(
      small_spec(),
      {"/runtime/host_overhead_s=1 ms:3 ms:2", "/communication/overlap=serial,perfect"},
      SweepMode::zip);
  EXPECT_EQ(space.values(1), (std::vector<Json>{Json(0.003), Json("perfect")}));
}

TEST(SweepSpace, ALatinHypercubeUsesEveryStratumOfEveryRangeOnce) {
  const SweepSpace space(small_spec(),
                         {"/routing/sigma=0:1:2", "/workload/context_tokens=log:10:1000:2"},
                         SweepMode::latin, 50);
  std::set<int> sigma;
  std::set<int> context;
  for (std::uint64_t i = 0; i < 50; ++i) {
    const std::vector<Json> values = space.values(i);
    sigma.insert(static_cast<int>(values[0].as_number() * 50));
    // Two decades: log10(value / 10) / 2 is the fraction along the axis.
    context.insert(static_cast<int>(std::log10(values[1].as_number() / 10) / 2 * 50));
  }
  EXPECT_EQ(sigma.size(), 50u);
  EXPECT_EQ(context.size(), 50u);
}

TEST(SweepSpace, RandomPointsDependOnTheirNumberAndTheSeedAlone) {
  ScenarioSpec spec = small_spec();
  const SweepSpace a(spec, {"/routing/sigma=0:1:2"}, SweepMode::random, 10);
  const SweepSpace more(spec, {"/routing/sigma=0:1:2"}, SweepMode::random, 1000);
  EXPECT_EQ(a.values(7), more.values(7));
  spec.seed = 2;
  const SweepSpace other(spec, {"/routing/sigma=0:1:2"}, SweepMode::random, 10);
  EXPECT_NE(a.values(7), other.values(7));
}

TEST(SweepSpace, EveryWrongTextIsReportedAtOnce) {
  const std::string problem =
      problem_of({"/routing/sigmma=1", "/workload/batch_per_gpu=-3", "/nodes", "/nodes=log:0:4:3"},
                 SweepMode::cartesian);
  EXPECT_THAT(problem, ::testing::HasSubstr("did you mean \"sigma\"?"));
  EXPECT_THAT(problem, ::testing::HasSubstr("-3 is out of range"));
  EXPECT_THAT(problem, ::testing::HasSubstr("\"/nodes\" has no values"));
  EXPECT_THAT(problem, ::testing::HasSubstr("a logarithmic range needs positive ends"));
}

TEST(SweepSpace, ZippedKeysNeedEquallyManyValues) {
  EXPECT_THAT(problem_of({"/nodes=1,2", "/routing/sigma=1,2,3"}, SweepMode::zip),
              ::testing::HasSubstr("has 3 values, /nodes has 2"));
}

TEST(Sweep, EveryPointHasTheFiguresThatRunGivesIt) {
  // Points share compiled deployments; none of what they share may show in the figures.
  ScenarioSpec spec = small_spec();
  spec.nodes = 2;
  spec.parallelism.expert = 8;
  spec.parallelism.expert_tensor = 2;
  spec.workload.phase = Phase::mixed;
  spec.workload.prefills_per_gpu = 0.1;
  const SweepSpace space(
      spec,
      {"/workload/batch_per_gpu=1:300:2", "/workload/context_tokens=64:8000:2",
       "/workload/prompt_tokens=10:4000:2", "/workload/cached_prompt_tokens=0:2000:2",
       "/workload/prefills_per_gpu=0.01:2:2", "/workload/output_tokens=1:900:2",
       "/workload/acceptance=0:1:2", "/workload/draft_tokens=0,1,3",
       "/runtime/memory_utilisation=0.5:1:2", "/routing/kind=uniform,gumbel,zipf",
       "/routing/sigma=0:1.1:2", "/parallelism/tensor=1,2,4",
       "/workload/phase=decode,prefill,mixed", "/precision/kv_cache=bf16,fp8",
       "/communication/overlap=serial,two_batch", "/runtime/host_overhead_s=0:0.01:2",
       "/capacity/factor=1:2:2"},
      SweepMode::latin, 40);
  const SweepTable table = swept(space, 2);
  ASSERT_EQ(table.rows.size(), 40u);
  for (std::size_t r = 0; r < table.rows.size(); ++r) {
    ASSERT_TRUE(table.rows[r].simulated) << table.rows[r].reasons;
    RunOptions options;
    options.what_ifs = false;
    const SimulationResult result =
        simulate(resolve(space.spec(space.values(r)), cards(), "small"), options);
    std::vector<std::string> columns;
    std::vector<double> figures;
    add_figures(result, columns, figures);
    for (std::size_t c = 0; c < columns.size(); ++c) {
      const double value = table.figure(r, columns[c]);
      EXPECT_TRUE(value == figures[c] || (std::isnan(value) && std::isnan(figures[c])))
          << columns[c] << " of point " << r << ": " << value << ", alone " << figures[c];
    }
    EXPECT_EQ(table.rows[r].feasible, result.feasibility.ok);
  }
}

TEST(Sweep, RowsDoNotDependOnWorkersOrChunks) {
  const SweepSpace space(small_spec(),
                         {"/workload/batch_per_gpu=1:200:9", "/parallelism/tensor=1,2,3,4"},
                         SweepMode::cartesian);
  const std::string one = sweep_csv(swept(space, 1, 1));
  EXPECT_EQ(sweep_csv(swept(space, 4, 5)), one);
  EXPECT_EQ(sweep_csv(swept(space, 3, 36)), one);
}

TEST(Sweep, WhatAWorkerKeepsOfEarlierPointsDoesNotShow) {
  // A fresh evaluator for every point against one that goes through all of them, deployments
  // alternating; every second context is longer than Mixtral's 32,768 tokens.
  const SweepSpace space(small_spec(),
                         {"/workload/context_tokens=1000,40000", "/workload/batch_per_gpu=3,70",
                          "/routing/sigma=0,0.4", "/parallelism/tensor=1,3,4"},
                         SweepMode::cartesian);
  const SweepTable together = swept(space, 1, space.num_points());
  for (std::uint64_t point = 0; point < space.num_points(); ++point) {
    const PointEvaluator fresh(space, cards(), "small", true);
    SweepTable alone;
    append_chunk(alone, space, fresh.evaluate({point, 1}));
    const SweepRow& row = together.rows[point];
    EXPECT_EQ(row.key, alone.rows[0].key);
    EXPECT_EQ(row.scenario, alone.rows[0].scenario);
    EXPECT_EQ(row.reasons, alone.rows[0].reasons);
    for (const std::string& column : alone.columns) {
      const double value = together.figure(point, column);
      EXPECT_TRUE(value == alone.figure(0, column) ||
                  (std::isnan(value) && std::isnan(alone.figure(0, column))))
          << column << " of point " << point;
    }
  }
}

TEST(Sweep, PointsThatBreakARuleArePrunedWithTheirReasonsAndNotLost) {
  // Mixtral has 8 experts and a node 8 GPUs: tensor 3 divides neither GPUs nor heads.
  const SweepSpace space(small_spec(), {"/parallelism/tensor=1,3"}, SweepMode::cartesian);
  const SweepTable table = swept(space, 1);
  ASSERT_EQ(table.rows.size(), 2u);
  EXPECT_TRUE(table.rows[0].feasible);
  EXPECT_FALSE(table.rows[1].simulated);
  EXPECT_THAT(table.rows[1].reasons,
              ::testing::HasSubstr("/parallelism/tensor: 3 does not divide 8 GPUs"));
}

TEST(Sweep, PointsOutOfMemoryKeepTheirFigures) {
  const SweepSpace space(small_spec(), {"/workload/batch_per_gpu=100000"}, SweepMode::cartesian);
  const SweepTable table = swept(space, 1);
  EXPECT_FALSE(table.rows[0].feasible);
  EXPECT_TRUE(table.rows[0].simulated);
  EXPECT_THAT(table.rows[0].reasons, ::testing::HasSubstr("out of memory"));
  EXPECT_GT(table.figure(0, "step_s"), 0);
}

TEST(ParetoFront, KeepsExactlyThePointsThatNobodyBeatsInBoth) {
  RandomStream random(5, "front");
  std::vector<double> x(200);
  std::vector<double> y(200);
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = std::floor(random.uniform() * 30);
    y[i] = std::floor(random.uniform() * 30);
  }
  const std::vector<std::size_t> front = pareto_front(x, y);
  std::set<std::pair<double, double>> kept;
  for (const std::size_t i : front) {
    kept.insert({x[i], y[i]});
  }
  EXPECT_EQ(kept.size(), front.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    bool beaten = false;
    for (std::size_t j = 0; j < x.size(); ++j) {
      beaten = beaten || (x[j] >= x[i] && y[j] >= y[i] && (x[j] > x[i] || y[j] > y[i]));
    }
    EXPECT_EQ(kept.count({x[i], y[i]}) == 1, !beaten);
  }
}

TEST(ResultsDatabase, WhatIsWrittenIsReadBackAndColumnsMayArriveLate) {
  const SweepSpace space(small_spec(), {"/capacity/factor=1,2", "/parallelism/tensor=1,3"},
                         SweepMode::cartesian);
  const PointEvaluator evaluator(space, cards(), "small", true);
  const std::string path = temporary("late.sqlite");
  SweepTable expected;
  {
    ResultsDatabase database(path);
    EXPECT_EQ(database.begin_sweep(space, "cards"), 0u);
    // The second point of each chunk is pruned; dropping columns are there from the first on.
    for (const PointRange range : {PointRange{0, 1}, PointRange{1, 2}, PointRange{3, 1}}) {
      SweepChunk chunk = evaluator.evaluate(range);
      database.write(chunk);
      append_chunk(expected, space, std::move(chunk));
    }
  }
  ResultsDatabase again(path);
  EXPECT_EQ(again.begin_sweep(space, "cards"), 4u);
  EXPECT_EQ(sweep_csv(again.read(space)), sweep_csv(expected));
  EXPECT_EQ(again.begin_sweep(space, "other cards"), 0u);
}

TEST(ResultsDatabase, AFileOfAnotherProgramIsRefused) {
  const std::string path = temporary("other.sqlite");
  write_text_file(path, "this is no database, but long enough to be taken for one at first sight");
  try {
    const ResultsDatabase database(path);
    ADD_FAILURE() << "was opened";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("file is not a database"));
  }
}

TEST(ProgressBar, SaysShareRateAndTimeLeft) {
  EXPECT_EQ(ProgressBar::text(1200, 10000, 640, "points"),
            "1200 of 10,000 points (12%), 640/s, 14 s left");
  EXPECT_EQ(ProgressBar::text(0, 5, 0, "points"), "0 of 5 points (0%)");
  EXPECT_EQ(ProgressBar::text(5, 5, 2, "points"), "5 of 5 points (100%), 2.00/s");
}

TEST(ProgressBar, WritesPlainLinesWhereThereIsNoTerminal) {
  std::ostringstream out;
  ProgressBar bar(&out, false, "points", 10);
  bar.advance_to(5);
  bar.advance_to(10);
  bar.finish();
  EXPECT_EQ(out.str().find('\r'), std::string::npos);
  EXPECT_THAT(out.str(), ::testing::StartsWith("10 of 10 points (100%)"));
}

TEST(SweepCommand, ASecondRunNeedsResumeAndThenAddsNothing) {
  const std::string db = temporary("command.sqlite");
  const std::string csv = temporary("command.csv");
  const std::vector<std::string> words = {
      "sweep", "mixtral_8x7b_h100", "--vary", "/workload/batch_per_gpu=1,2,4", "--db", db, "--csv",
      csv};
  const Outcome first = moesim(words);
  EXPECT_EQ(first.code, 0) << first.err;
  EXPECT_THAT(first.out, ::testing::HasSubstr("3 points: 3 fit, 0 do not fit, 0 pruned"));
  const std::string rows = read_text_file(csv, 1 << 20);
  const Outcome second = moesim(words);
  EXPECT_EQ(second.code, 2);
  EXPECT_THAT(second.err, ::testing::HasSubstr("holds 3 of the 3 points of this sweep; add "
                                               "--resume to go on, or name a new file"));
  std::vector<std::string> resumed = words;
  resumed.push_back("--resume");
  EXPECT_EQ(moesim(resumed).code, 0);
  EXPECT_EQ(read_text_file(csv, 1 << 20), rows);
}

TEST(SweepCommand, EveryFormatHoldsTheSameBestPoint) {
  const std::vector<std::string> words = {"sweep",   "mixtral_8x7b_h100",
                                          "--vary",  "/workload/batch_per_gpu=1,16,4",
                                          "--quiet", "--format"};
  for (const char* format : {"text", "markdown"}) {
    std::vector<std::string> loud = words;
    loud.erase(loud.end() - 2);
    loud.push_back(format);
    const std::string out = moesim(loud).out;
    const std::size_t best = out.find("/workload/batch_per_gpu=16");
    EXPECT_NE(best, std::string::npos) << out;
    EXPECT_LT(best, out.find("/workload/batch_per_gpu=4")) << out;
  }
  EXPECT_EQ(moesim({"sweep", "mixtral_8x7b_h100", "--vary", "/seed=1", "--format", "xml"}).code, 2);
}

}  // namespace
}  // namespace moesim
