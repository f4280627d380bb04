// SPDX-License-Identifier: Apache-2.0
// Placements against the shared EPLB input/output pairs (routing/eplb_golden_*.json); skipped
// without them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iostream>
#include <limits>

#include "sim/base/json.h"
#include "sim/moe/placement.h"

namespace moesim {
namespace {

namespace fs = std::filesystem;

fs::path routing_folder() {
  const char* given = std::getenv("MOESIM_DATA_DIR");
  return (given != nullptr ? fs::path(given) : fs::path(MOESIM_SOURCE_DIR) / "../shared/data") /
         "routing";
}

std::vector<fs::path> goldens() {
  std::vector<fs::path> files;
  std::error_code absent;
  for (const auto& entry : fs::directory_iterator(routing_folder(), absent)) {
    if (entry.path().filename().string().rfind("eplb_golden_", 0) == 0) {
      files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

template <class T>
std::vector<std::vector<T>> table(const Json& json) {
  std::vector<std::vector<T>> rows;
  for (const Json& row : json.items()) {
    rows.emplace_back();
    for (const Json& value : row.items()) {
      rows.back().push_back(static_cast<T>(value.as_number()));
    }
  }
  return rows;
}

PlacementRequest request_of(const Json& golden) {
  PlacementRequest request;
  request.weights = table<double>(*golden.find("weights"));
  const auto integer = [&](const char* key) {
    return static_cast<int>(golden.find(key)->as_integer());
  };
  request.slots = integer("num_slots");
  request.gpus = integer("num_gpus");
  request.nodes = integer("num_nodes");
  request.groups = integer("num_groups");
  return request;
}

double hottest(const std::vector<double>& loads) {
  return *std::max_element(loads.begin(), loads.end());
}

#define SKIP_WITHOUT_GOLDENS()                                                               \
  if (goldens().empty()) {                                                                   \
    GTEST_SKIP() << "no eplb_golden_*.json in " << routing_folder() << " (MOESIM_DATA_DIR)"; \
  }

TEST(EplbGolden, LoadsAndSlotsEqualThePublishedArithmetic) {
  SKIP_WITHOUT_GOLDENS();
  for (const fs::path& file : goldens()) {
    SCOPED_TRACE(file.filename().string());
    const Json golden = load_json(file.string());
    const Json& expected = *golden.find("expected");
    const Placement placement = place_experts(request_of(golden), "eplb");
    const auto loads = table<double>(*expected.find("gpu_load"));
    for (std::size_t l = 0; l < loads.size(); ++l) {
      for (std::size_t g = 0; g < loads[l].size(); ++g) {
        EXPECT_NEAR(placement.gpu_load[l][g], loads[l][g], 1e-5 * std::max(1.0, loads[l][g]));
      }
    }
    // The tie rules of the data are ours, so slots agree even where ties occur.
    EXPECT_EQ(placement.slot_to_expert, table<int>(*expected.find("slot_to_expert")));
    EXPECT_EQ(placement.replicas, table<int>(*expected.find("replica_count")));
  }
}

TEST(BestPlacementGolden, ClosesHalfOfEplbsExcessAndNeverExceedsIt) {
  SKIP_WITHOUT_GOLDENS();
  for (const fs::path& file : goldens()) {
    const Json golden = load_json(file.string());
    const PlacementRequest request = request_of(golden);
    const Placement eplb = place_experts(request, "eplb");
    const Placement best = place_experts(request, "best");
    double eplb_excess = 0.0;
    double best_excess = 0.0;
    for (std::size_t l = 0; l < request.weights.size(); ++l) {
      const double bound = placement_lower_bound(request.weights[l], request.slots, request.gpus);
      eplb_excess += hottest(eplb.gpu_load[l]) / bound - 1.0;
      best_excess += hottest(best.gpu_load[l]) / bound - 1.0;
      EXPECT_LE(hottest(best.gpu_load[l]), hottest(eplb.gpu_load[l]) * (1.0 + 1e-12))
          << file.filename() << " layer " << l;
      EXPECT_EQ(same_gpu_replicas(best.slot_to_expert[l], request.gpus), 0);
    }
    const double layers = static_cast<double>(request.weights.size());
    std::cout << file.filename().string() << ": mean excess over the lower bound, eplb "
              << eplb_excess / layers << ", best " << best_excess / layers << "\n";
    // One slot per GPU leaves nothing to choose; the README's 16 slots of two replicas at most
    // reach 136 and 172 (200 M moves find no better), 44% of the way to a bound that no placement
    // of theirs attains.
    if (request.slots > request.gpus && request.experts() >= 64) {
      EXPECT_LE(best_excess, 0.5 * eplb_excess) << file.filename();
    }
  }
}

/// Smallest possible hottest GPU with two slots a GPU and even splitting, by looking at every way
/// to deal the spare slots; pairing the largest share with the smallest is best for each.
double exact_optimum(const std::vector<double>& weights, int slots) {
  const int experts = static_cast<int>(weights.size());
  std::vector<int> replicas(weights.size(), 1);
  double best = std::numeric_limits<double>::infinity();
  const std::function<void(int, int)> deal = [&](int first, int spare) {
    if (spare == 0) {
      std::vector<double> shares;
      for (std::size_t e = 0; e < weights.size(); ++e) {
        shares.insert(shares.end(), static_cast<std::size_t>(replicas[e]),
                      weights[e] / replicas[e]);
      }
      std::sort(shares.begin(), shares.end());
      double busiest = 0;
      for (std::size_t i = 0; i < shares.size() / 2; ++i) {
        busiest = std::max(busiest, shares[i] + shares[shares.size() - 1 - i]);
      }
      best = std::min(best, busiest);
      return;
    }
    for (int e = first; e < experts; ++e) {
      ++replicas[static_cast<std::size_t>(e)];
      deal(e, spare - 1);
      --replicas[static_cast<std::size_t>(e)];
    }
  };
  deal(0, slots - experts);
  return best;
}

TEST(BestPlacementGolden, NoPlacementOfTheReadmeExampleClosesHalfOfTheExcess) {
  SKIP_WITHOUT_GOLDENS();
  for (const fs::path& file : goldens()) {
    if (file.filename() != "eplb_golden_readme_example.json") {
      continue;
    }
    const Json golden = load_json(file.string());
    const PlacementRequest request = request_of(golden);
    const Placement eplb = place_experts(request, "eplb");
    const Placement best = place_experts(request, "best");
    const std::vector<double> optimum = {exact_optimum(request.weights[0], request.slots),
                                         exact_optimum(request.weights[1], request.slots)};
    EXPECT_DOUBLE_EQ(optimum[0], 136.0);
    EXPECT_DOUBLE_EQ(optimum[1], 172.0);
    double eplb_excess = 0;
    double least_excess = 0;
    for (std::size_t l = 0; l < 2; ++l) {
      const double bound = placement_lower_bound(request.weights[l], request.slots, request.gpus);
      eplb_excess += hottest(eplb.gpu_load[l]) / bound - 1.0;
      least_excess += optimum[l] / bound - 1.0;
    }
    // 1,365 ways to deal four spare slots: 54% of the excess stays even at the optimum.
    EXPECT_NEAR(least_excess / eplb_excess, 0.541, 0.001);
    // The first layer reaches it; the second stays inside its nodes, since crossing them would
    // relieve the busiest GPU by less than what their traffic is taken to be worth (5%).
    EXPECT_DOUBLE_EQ(hottest(best.gpu_load[0]), optimum[0]);
    EXPECT_LE(hottest(best.gpu_load[1]), optimum[1] * 1.05);
  }
}

}  // namespace
}  // namespace moesim
