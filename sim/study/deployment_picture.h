// SPDX-License-Identifier: Apache-2.0
// What an explorer draws of a deployment beside its figures: who gets how many tokens, what every
// pair of GPUs exchanges and which links carry it, what an expert cache holds, request by request
// latencies.
//
// Plain values made from the same models as the answer itself (StepCostModel, drawn passes, routes
// of the cluster), so that no view computes anything of its own. A serving scenario is pictured by
// one decode step of its steady batch: concurrency over GPUs where it is given.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "sim/input/scenario.h"
#include "sim/run/result.h"

namespace moesim {

struct ServingRecord;

/// Experts of every MoE layer and where they live. Loads are expectations over their mean (1:
/// even).
struct ExpertPicture {
  bool layers_are_alike = false;  ///< then there is one row for all
  std::int64_t num_moe_layers = 0;
  std::int64_t experts = 0;
  std::int64_t ranks = 0;  ///< that share out the experts
  std::int64_t ranks_per_node = 1;
  std::vector<std::vector<double>> expert_load;  ///< [rows][experts]
  std::vector<std::vector<double>> rank_load;    ///< [rows][ranks]
  std::vector<std::vector<int>> slot_expert;     ///< [rows][slots], slots in rank order
  std::vector<std::vector<int>> slot_rank;       ///< [rows][slots]
};

/// A node of the cluster's graph.
struct PictureNode {
  std::string name;
  std::string kind;  ///< "gpu", "gpu_switch", "leaf" ...
  int machine = -1;  ///< server that holds it, where one does
};

/// One duplex link. Utilisations are bytes over (capacity x step), by direction.
struct PictureLink {
  int a = 0;
  int b = 0;
  double capacity_bytes_per_s = 0;
  double forward_bytes = 0;  ///< of a step, a to b
  double back_bytes = 0;
  double utilisation = 0;  ///< the busier direction
};

/// One pass through a MoE layer: drawn tokens, the scenario's seed.
struct TrafficPicture {
  std::int64_t moe_layer = 0;
  int gpus = 0;
  std::vector<float> copies;  ///< [gpus, gpus] copies of a token, row = source
  double bytes_per_copy = 0;  ///< of the dispatch
  double combine_bytes_per_copy = 0;
  std::vector<PictureNode> nodes;  ///< empty where the cluster has no graph
  std::vector<PictureLink> links;
  std::string note;  ///< why there is no graph
};

/// A cache of one layer's experts on the first GPU, step by step.
struct CachePicture {
  std::int64_t moe_layer = 0;
  int slots = 0;
  std::vector<int> experts;  ///< ids that live on the GPU, rows of the states
  /// [steps][experts] 0 absent, 1 held, 2 held and used, 3 missed.
  std::vector<std::vector<std::uint8_t>> states;
  std::vector<double> hit_rate;  ///< [steps] running, of this layer
};

/// Latencies of every request of a serving run, sorted.
struct LatencySamples {
  std::vector<double> ttft_s;
  std::vector<double> tpot_s;
  std::vector<double> latency_s;
};

/// Answers questions about one deployment; the compiled step is shared by all of them. Const
/// members are thread-safe. Throws InputError as StepCostModel does.
class DeploymentPicture {
 public:
  explicit DeploymentPicture(const Scenario& scenario);
  ~DeploymentPicture();

  ExpertPicture experts() const;
  /// Draws one pass and routes its copies; every layer is taken to look like it. `step_s` is the
  /// time that utilisations refer to. Some 10 ms; 0.3 s for a thousand GPUs.
  TrafficPicture traffic(std::int64_t moe_layer, double step_s) const;
  /// Empty unless experts live below GPU memory. Up to `steps` steps.
  CachePicture cache(std::int64_t moe_layer, int steps) const;
  /// GPU memory that may be planned for.
  double available_bytes() const;
  double usd_per_gpu_hour() const;  ///< on demand, newest; 0: no price is known
  std::int64_t num_gpus() const;

 private:
  struct State;
  std::unique_ptr<const State> state_;
};

/// Sorted latencies of the requests that finished after the warm-up.
LatencySamples latency_samples(const ServingRecord& record, std::int64_t warmup_requests);

/// Loads of the ranks over their mean [ranks] when `slot_expert` [slots] (rank by rank, equal
/// numbers) holds experts of `expert_load`; an expert's slots share its tokens evenly.
std::vector<double> rank_loads_of(const std::vector<int>& slot_expert,
                                  const std::vector<double>& expert_load, std::int64_t ranks);

}  // namespace moesim
