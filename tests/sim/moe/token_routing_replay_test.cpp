// SPDX-License-Identifier: Apache-2.0
// Replay against the statistics that were computed from the same recordings by somebody else.
#include "sim/moe/token_routing_replay.h"

#include <gtest/gtest.h>

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "sim/moe/capacity.h"
#include "sim/moe/token_routing_profile.h"
#include "sim/moe/token_routing_statistics.h"

namespace moesim {
namespace {

std::string data_file(const std::string& name) {
  const char* set = std::getenv("MOESIM_DATA_DIR");
  const std::filesystem::path root =
      set != nullptr ? std::filesystem::path(set)
                     : std::filesystem::path(MOESIM_SOURCE_DIR) / "../shared/data";
  return (root / "routing" / name).string();
}

#define SKIP_WITHOUT(file)                                                    \
  if (!std::filesystem::exists(file)) {                                       \
    GTEST_SKIP() << "the measured data is not here: " << file << " is absent" \
                 << " (set MOESIM_DATA_DIR)";                                 \
  }

const TokenTrace& trace_of(const std::string& task) {
  static std::map<std::string, TokenTrace> traces;
  if (!traces.contains(task)) {
    traces[task] = read_token_trace(data_file("trace_deepseek_v2_lite_" + task + ".csv.gz"));
  }
  return traces[task];
}

/// A table as rows of cells, header first.
std::vector<std::vector<std::string>> table(const std::string& path) {
  LineReader reader(path);
  std::vector<std::vector<std::string>> rows;
  std::string_view line;
  while (reader.next(line)) {
    rows.emplace_back();
    while (true) {
      const std::size_t comma = line.find(',');
      rows.back().emplace_back(line.substr(0, comma));
      if (comma == std::string_view::npos) {
        break;
      }
      line.remove_prefix(comma + 1);
    }
  }
  return rows;
}

double number(const std::string& cell) {
  double value = std::nan("");
  std::from_chars(cell.data(), cell.data() + cell.size(), value);
  return value;
}

/// Files print five significant digits (or five decimals): half a unit of the last.
double printed(double value) { return 6e-5 * std::fabs(value) + 6e-6; }

TEST(ReplayedTraces, ReproduceEveryRowOfLoadStats) {
  const std::string path = data_file("load_stats.csv");
  SKIP_WITHOUT(path);
  const std::vector<std::vector<std::string>> rows = table(path);
  std::map<std::string, std::vector<double>> counts;
  for (const ExpertCounts& c : read_expert_counts(data_file("load_counts.csv"))) {
    counts[c.model + "," + c.task + "," + c.kind + "," + std::to_string(c.layer)] = {
        c.counts.begin(), c.counts.end()};
  }
  int checked = 0;
  int replayed = 0;
  for (std::size_t i = 1; i < rows.size(); ++i) {
    const std::vector<std::string>& row = rows[i];
    const std::string key = row[1] + "," + row[2] + "," + row[3] + "," + row[4];
    SCOPED_TRACE(key);
    const bool has_trace = row[0] == "esft" && row[3] == "topk";
    std::vector<double> loads = counts.at(key);
    if (has_trace) {  // the same from the token sets
      const TokenTrace& trace = trace_of(row[2]);
      const std::size_t layer = static_cast<std::size_t>(number(row[4])) - 1;
      ASSERT_EQ(trace.layers[layer], static_cast<std::int32_t>(layer) + 1);
      const std::vector<std::int64_t> totals = layer_totals(trace, layer);
      ASSERT_EQ(std::vector<double>(totals.begin(), totals.end()), loads);
      EXPECT_NEAR(lag_overlap(trace, layer, 1), number(row[17]), printed(number(row[17])));
      double squares = 0.0;
      for (const double n : loads) {
        squares += n * n;
      }
      const double tokens = static_cast<double>(trace.num_tokens());
      EXPECT_NEAR(squares / tokens / tokens / trace.top_k, number(row[19]),
                  printed(number(row[19])));
      ++replayed;
    }
    const LoadStatistics s = load_statistics(loads);
    const double got[] = {s.max_over_mean, s.min_over_mean,   s.cv,
                          s.gini,          s.norm_entropy,    s.zipf_ols,
                          s.zipf_mle,      s.dirichlet_alpha, s.log_sd};
    for (std::size_t c = 0; c < std::size(got); ++c) {
      const double want = number(row[8 + c]);
      EXPECT_NEAR(got[c], want, printed(want)) << rows[0][8 + c];
    }
    ++checked;
  }
  EXPECT_EQ(checked, 136);
  EXPECT_EQ(replayed, 52);
}

TEST(ReplayedTraces, ReproduceLocalityByLag) {
  const std::string path = data_file("locality_by_lag.csv");
  SKIP_WITHOUT(path);
  const std::vector<std::vector<std::string>> rows = table(path);
  for (std::size_t i = 1; i < rows.size(); ++i) {
    const TokenTrace& trace = trace_of(rows[i][0]);
    const std::size_t layer = static_cast<std::size_t>(number(rows[i][2])) - 1;
    EXPECT_NEAR(lag_overlap(trace, layer, static_cast<std::int64_t>(number(rows[i][1]))),
                number(rows[i][4]), printed(number(rows[i][4])))
        << rows[i][0] << " lag " << rows[i][1] << " layer " << rows[i][2];
  }
  EXPECT_EQ(rows.size(), 521u);
}

struct Moments {
  double sum = 0.0;
  double squares = 0.0;
  int n = 0;
  void add(double x) {
    sum += x;
    squares += x * x;
    ++n;
  }
  double mean() const { return sum / n; }
  double error() const { return std::sqrt(std::max(0.0, squares / n - mean() * mean()) / (n - 1)); }
};

TEST(ReplayedTraces, ReproduceBatchDependence) {
  // 200 batches of our own drawing against the file's (200, or 80 for large ones): within three
  // standard errors of the difference, in the max/mean, whose error the file gives. Active experts
  // and drops come without an error in the file: theirs is taken as ours scaled to their draws.
  const std::string path = data_file("batch_dependence.csv");
  SKIP_WITHOUT(path);
  const std::vector<std::vector<std::string>> rows = table(path);
  constexpr int kBatches = 200;
  const double factors[] = {1.0, 1.25, 1.5, 2.0};
  for (std::size_t i = 1; i < rows.size(); ++i) {
    const TokenTrace& trace = trace_of(rows[i][0]);
    const ReplayOrder order = rows[i][1] == "random" ? ReplayOrder::shuffled : ReplayOrder::window;
    const std::int64_t batch = static_cast<std::int64_t>(number(rows[i][2]));
    const GateShape gate = {.experts = trace.experts, .top_k = trace.top_k};
    Moments hottest;
    Moments active;
    Moments dropped[4];
    for (int b = 0; b < kBatches; ++b) {
      const std::vector<std::int64_t> tokens =
          replay_batch(trace, order, batch, 1, static_cast<std::uint64_t>(b));
      double layer_hottest = 0.0;
      double layer_active = 0.0;
      double layer_dropped[4] = {};
      for (std::size_t l = 0; l < trace.layers.size(); ++l) {
        std::vector<std::int64_t> loads(static_cast<std::size_t>(trace.experts), 0);
        count_selections(gather_sets(trace, l, tokens), loads);
        layer_hottest += max_over_mean(std::vector<double>(loads.begin(), loads.end())) / 26.0;
        for (const std::int64_t n : loads) {
          layer_active += n > 0 ? 1.0 / 26.0 : 0.0;
        }
        for (std::size_t f = 0; f < 4; ++f) {
          const CapacityRule rule = {.factor = factors[f], .overflow = OverflowPolicy::drop};
          layer_dropped[f] += static_cast<double>(overflow_of(loads, rule.capacity(gate, batch))) /
                              static_cast<double>(batch * trace.top_k) / 26.0;
        }
      }
      hottest.add(layer_hottest);
      active.add(layer_active);
      for (std::size_t f = 0; f < 4; ++f) {
        dropped[f].add(layer_dropped[f]);
      }
    }
    SCOPED_TRACE(rows[i][0] + " " + rows[i][1] + " " + rows[i][2]);
    const double scale = std::sqrt(1.0 + kBatches / number(rows[i][3]));
    EXPECT_NEAR(hottest.mean(), number(rows[i][4]),
                3.0 * std::hypot(hottest.error(), number(rows[i][5])) + 6e-5);
    EXPECT_NEAR(active.mean(), number(rows[i][6]), 3.0 * active.error() * scale + 6e-4);
    for (std::size_t f = 0; f < 4; ++f) {
      EXPECT_NEAR(dropped[f].mean(), number(rows[i][7 + f]),
                  3.0 * dropped[f].error() * scale + 6e-5)
          << "capacity factor " << factors[f];
    }
  }
}

TEST(ReplayedTraces, DropTheFractionsOfPhysicsBySection3) {
  // PHYSICS.md section 3: consecutive 1,024-token batches in trace order, the last partial one left
  // out, mean over batches and layers; capacity factors 1, 1.25, 1.5, 2, 4; within 1e-3.
  const double factors[] = {1.0, 1.25, 1.5, 2.0, 4.0};
  const std::map<std::string, std::vector<double>> wanted = {
      {"law", {.2236, .1426, .0942, .0466, .0062}},
      {"translation", {.4107, .3449, .2912, .2086, .0489}}};
  for (const auto& [task, fractions] : wanted) {
    SKIP_WITHOUT(data_file("trace_deepseek_v2_lite_" + task + ".csv.gz"));
    const TokenTrace& trace = trace_of(task);
    const GateShape gate = {.experts = trace.experts, .top_k = trace.top_k};
    const std::int64_t batches = trace.num_tokens() / 1024;
    for (std::size_t f = 0; f < 5; ++f) {
      const CapacityRule rule = {.factor = factors[f], .overflow = OverflowPolicy::drop};
      double sum = 0.0;
      for (std::int64_t b = 0; b < batches; ++b) {
        const std::vector<std::int64_t> tokens =
            replay_batch(trace, ReplayOrder::token, 1024, 0, static_cast<std::uint64_t>(b));
        for (std::size_t l = 0; l < trace.layers.size(); ++l) {
          const CapacityOutcome outcome =
              apply_capacity(gate, rule, gather_sets(trace, l, tokens), trace.top_k);
          EXPECT_EQ(outcome.selections, outcome.processed + outcome.dropped);
          sum += outcome.dropped_fraction();
        }
      }
      const double fraction = sum / static_cast<double>(batches) / 26.0;
      EXPECT_NEAR(fraction, fractions[f], 1e-3) << task << " " << factors[f];
    }
  }
}

TEST(TraceRouting, AgreesAtAllThreeResolutions) {
  TokenTrace trace{
      .name = "small", .experts = 4, .top_k = 2, .layers = {3, 7}, .sequence = {0, 0, 0, 1}};
  trace.sets = {0, 1, 0, 2, 0, 3, 1, 0, /* layer 7 */ 3, 2, 3, 1, 2, 0, 1, 3};
  RoutingSpec spec = {.kind = RoutingKind::trace,
                      .gate = {.experts = 4, .top_k = 2},
                      .trace = std::make_shared<const TokenTrace>(trace),
                      .replay = ReplayOrder::token};
  const LayerRouting first(spec, 0);
  const LayerRouting second(spec, 1);
  EXPECT_EQ(std::vector<double>(first.inclusion().begin(), first.inclusion().end()),
            (std::vector<double>{1.0, 0.5, 0.25, 0.25}));
  // Batch 1 of two tokens is tokens 2 and 3; batch 2 starts again.
  EXPECT_EQ(first.draw_tokens(2, 1), (std::vector<std::int16_t>{0, 3, 1, 0}));
  EXPECT_EQ(second.draw_tokens(2, 1), (std::vector<std::int16_t>{2, 0, 1, 3}));
  EXPECT_EQ(first.draw_tokens(2, 2), (std::vector<std::int16_t>{0, 1, 0, 2}));
  const std::vector<std::int64_t> sources = {3, 1};
  const RoutedCounts counts = first.draw_counts(sources, 0);
  EXPECT_EQ(counts.counts, (std::vector<std::int32_t>{3, 1, 1, 1, 1, 1, 0, 0}));
  spec.replay = ReplayOrder::sequence;
  for (std::uint64_t draw = 0; draw < 8; ++draw) {  // whole sequences: {0 1 2} then 3, or 3 first
    const std::vector<std::int64_t> batch =
        replay_batch(*spec.trace, ReplayOrder::sequence, 4, 5, draw);
    EXPECT_TRUE((batch == std::vector<std::int64_t>{0, 1, 2, 3}) ||
                (batch == std::vector<std::int64_t>{3, 0, 1, 2}));
  }
  spec.gate = {.experts = 4, .top_k = 3};
  EXPECT_THROW(check_routing(spec, "s.json", "/routing"), InputError);
}

}  // namespace
}  // namespace moesim
