// SPDX-License-Identifier: Apache-2.0
// Expert caches on recorded routing and against published hit rates; skipped without the shared
// data.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <sstream>
#include <string>

#include "sim/input/measurement_tables.h"
#include "sim/moe/expert_cache.h"

namespace moesim {
namespace {

std::filesystem::path routing_file(const std::string& name) {
  const char* given = std::getenv("MOESIM_DATA_DIR");
  return (given != nullptr ? std::filesystem::path(given)
                           : std::filesystem::path(MOESIM_SOURCE_DIR) / "../shared/data") /
         "routing" / name;
}

std::vector<std::string> cells(const std::string& line) {
  std::vector<std::string> row;
  std::stringstream in(line);
  for (std::string cell; std::getline(in, cell, ',');) {
    row.push_back(cell);
  }
  return row;
}

// DeepSeek-V2-Lite, 26 MoE layers of 64 experts, top-6: seq,pos,layer,e0..e5.
ExpertTrace recorded_trace(const std::string& task, int steps) {
  std::stringstream in(
      read_maybe_gzip(routing_file("trace_deepseek_v2_lite_" + task + ".csv.gz").string()));
  std::string line;
  std::getline(in, line);
  ExpertTrace trace(26, 64);
  while (trace.steps() < steps && std::getline(in, line)) {
    std::vector<std::int16_t> set;
    const std::vector<std::string> row = cells(line);
    for (std::size_t c = 3; c < row.size(); ++c) {
      set.push_back(static_cast<std::int16_t>(std::stoi(row[c])));
    }
    trace.add_layer(set);
  }
  return trace;
}

double hit_rate(const ExpertTrace& trace, std::string_view policy, CacheScope scope, int slots) {
  CacheSpec spec;
  spec.policy = policy;
  spec.scope = scope;
  spec.slots = slots;
  return replay_expert_cache(trace, spec).hit_rate();
}

TEST(ExpertCacheData, PoliciesRankAsPublishedAtAThirdOfTheExperts) {
  // tinyserve, gpt-oss-20b, 31% of the experts in one global cache: LFRU 0.897, SLRU 0.894, LRU
  // 0.878, LFU 0.764.
  if (!std::filesystem::exists(routing_file("trace_deepseek_v2_lite_law.csv.gz"))) {
    GTEST_SKIP() << "no recorded traces (MOESIM_DATA_DIR)";
  }
  for (const char* task : {"law", "translation"}) {
    SCOPED_TRACE(task);
    const ExpertTrace trace = recorded_trace(task, 600);
    for (const auto& [scope, slots] :
         {std::pair{CacheScope::per_layer, 20}, std::pair{CacheScope::global, 516}}) {
      const double belady = hit_rate(trace, "belady", scope, slots);
      const double lfru = hit_rate(trace, "lfru", scope, slots);
      const double slru = hit_rate(trace, "slru", scope, slots);
      const double lru = hit_rate(trace, "lru", scope, slots);
      RecordProperty(std::string(task) + (scope == CacheScope::global ? "_global" : "_per_layer"),
                     "belady " + std::to_string(belady) + " lfru " + std::to_string(lfru) +
                         " slru " + std::to_string(slru) + " lru " + std::to_string(lru));
      EXPECT_GE(belady, lfru);
      EXPECT_GE(lfru, lru);
      EXPECT_GE(slru, lru);
      EXPECT_GE(lru, hit_rate(trace, "lfu", scope, slots));
    }
    // One token needs 156 experts: a global LRU of 155 or fewer never hits, 156 does.
    EXPECT_DOUBLE_EQ(hit_rate(trace, "lru", CacheScope::global, 100), 0.0);
    EXPECT_GT(hit_rate(trace, "lru", CacheScope::global, 156), 0.1);
  }
}

TEST(ExpertCacheData, OlmoeGlobalCachesHitAsPublished) {
  // mkvn_olmoe: 16 layers x 64 experts, top-8, global slots 20 and 51: LRU 0 and 0; static by
  // frequency 0.0625 and 0.1348. The popularity of layers 0, 7 and 15 over general web text (c4)
  // stands in for the layers near them.
  if (!std::filesystem::exists(routing_file("load_counts.csv"))) {
    GTEST_SKIP() << "no load_counts.csv (MOESIM_DATA_DIR)";
  }
  std::map<int, std::vector<double>> counts;
  std::stringstream in(read_maybe_gzip(routing_file("load_counts.csv").string()));
  for (std::string line; std::getline(in, line);) {
    const std::vector<std::string> row = cells(line);
    if (row[1] == "OLMoE-1B-7B-0924" && row[2] == "c4" && row[3] == "topk") {
      counts[std::stoi(row[4])].push_back(std::stod(row[6]));
    }
  }
  ASSERT_EQ(counts.size(), 3u);
  StickyTraceSpec spec;
  spec.layers = 16;
  spec.experts = 64;
  spec.top_k = 8;
  spec.steps = 1000;
  spec.repeat_fraction = 0.25;  // neighbours share 0.25-0.47 of their experts, by layer
  for (int layer = 0; layer < 16; ++layer) {
    spec.popularity.push_back(counts.at(layer < 4 ? 0 : layer < 12 ? 7 : 15));
  }
  const ExpertTrace trace = sticky_trace(spec);
  EXPECT_DOUBLE_EQ(hit_rate(trace, "lru", CacheScope::global, 20), 0.0);
  EXPECT_DOUBLE_EQ(hit_rate(trace, "lru", CacheScope::global, 51), 0.0);
  EXPECT_NEAR(hit_rate(trace, "static", CacheScope::global, 20), 0.0625, 0.05);
  EXPECT_NEAR(hit_rate(trace, "static", CacheScope::global, 51), 0.1348, 0.05);
  RecordProperty("static_20", std::to_string(hit_rate(trace, "static", CacheScope::global, 20)));
  RecordProperty("static_51", std::to_string(hit_rate(trace, "static", CacheScope::global, 51)));
}

}  // namespace
}  // namespace moesim
