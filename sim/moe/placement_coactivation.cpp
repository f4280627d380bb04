// SPDX-License-Identifier: Apache-2.0
// Graph partitioning of one layer: vertices are slots (an expert's replicas share its pairs), an
// edge weighs how many tokens its two experts serve together, and the parts are GPUs inside nodes.
// From the best-balanced placement, swaps that raise the weight kept inside GPUs (and, at a lower
// rate, inside nodes) are taken while no GPU exceeds its load limit: Kernighan-Lin's pairwise
// exchange [Bell System Technical Journal 49 (1970)] by steepest ascent.
#include <algorithm>
#include <boost/graph/adjacency_list.hpp>
#include <cstddef>

#include "sim/base/stop.h"
#include "sim/moe/placement_policies.h"

namespace moesim {
namespace {

// A visit to another GPU of the same node costs less than one to another node: NVLink carries about
// 5-8 times what a NIC does (376/49 GB/s measured), so a kept pair inside a node counts as this
// much of one in a GPU.
constexpr double kSameNodeGain = 5.0;
constexpr double kSameGpuGain = 1.0;
// Enough for any start seen; each step scans all pairs of slots.
constexpr int kMaxSwapsPerSlot = 4;
constexpr std::int64_t kStartEvaluations = 100'000;

using ExpertGraph =
    boost::adjacency_list<boost::vecS, boost::vecS, boost::undirectedS, boost::no_property,
                          boost::property<boost::edge_weight_t, double>>;

ExpertGraph pair_graph(const PlacementRequest& request, std::size_t layer) {
  ExpertGraph graph(static_cast<std::size_t>(request.experts()));
  for (const ExpertPair& pair : request.coactivation[layer]) {
    if (pair.count > 0.0) {
      boost::add_edge(static_cast<std::size_t>(pair.first), static_cast<std::size_t>(pair.second),
                      pair.count, graph);
    }
  }
  return graph;
}

class Partition {
 public:
  Partition(const PlacementRequest& request, const ExpertGraph& graph,
            const std::vector<double>& weights, std::vector<int> slots, double max_overload)
      : gpus_(request.gpus),
        gpus_per_node_(request.gpus / request.nodes),
        slots_per_gpu_(request.slots_per_gpu()),
        experts_(request.experts()),
        keep_nodes_(request.is_hierarchical()),
        slots_(std::move(slots)),
        pair_(static_cast<std::size_t>(experts_) * static_cast<std::size_t>(experts_), 0.0),
        share_(weights.size()),
        load_(static_cast<std::size_t>(gpus_), 0.0),
        speed_(request.gpu_speed.empty() ? std::vector<double>(static_cast<std::size_t>(gpus_), 1.0)
                                         : request.gpu_speed) {
    std::vector<int> replicas(weights.size(), 0);
    for (const int e : slots_) {
      ++replicas[static_cast<std::size_t>(e)];
    }
    for (std::size_t e = 0; e < weights.size(); ++e) {
      share_[e] = weights[e] / replicas[e];
    }
    const auto weight_of = boost::get(boost::edge_weight, graph);
    const auto [first, last] = boost::edges(graph);
    for (auto edge = first; edge != last; ++edge) {
      const std::size_t a = boost::source(*edge, graph);
      const std::size_t b = boost::target(*edge, graph);
      const double weight = weight_of[*edge] / (replicas[a] * replicas[b]);
      total_pairs_ += weight;
      pair(static_cast<int>(a), static_cast<int>(b)) += weight;
      pair(static_cast<int>(b), static_cast<int>(a)) += weight;
    }
    kept_.assign(slots_.size() * static_cast<std::size_t>(gpus_), 0.0);
    for (int s = 0; s < num_slots(); ++s) {
      load_[static_cast<std::size_t>(gpu_of(s))] += share(s);
      for (int t = 0; t < num_slots(); ++t) {
        kept(s, gpu_of(t)) += pair(expert(s), expert(t));
      }
    }
    double busiest = 0.0;
    for (std::size_t g = 0; g < load_.size(); ++g) {
      busiest = std::max(busiest, load_[g] / speed_[g]);
    }
    limit_ = busiest * max_overload;
  }

  std::vector<int> improved() {
    for (int swaps = 0; swaps < kMaxSwapsPerSlot * num_slots() && swap_best(); ++swaps) {
    }
    return slots_;
  }

 private:
  int num_slots() const { return static_cast<int>(slots_.size()); }
  int expert(int slot) const { return slots_[static_cast<std::size_t>(slot)]; }
  int gpu_of(int slot) const { return slot / slots_per_gpu_; }
  int node_of(int gpu) const { return gpu / gpus_per_node_; }
  double share(int slot) const { return share_[static_cast<std::size_t>(expert(slot))]; }
  double& pair(int a, int b) {
    return pair_[static_cast<std::size_t>(a) * static_cast<std::size_t>(experts_) +
                 static_cast<std::size_t>(b)];
  }
  /// Weight between a slot's expert and the experts of a GPU.
  double& kept(int slot, int gpu) {
    return kept_[static_cast<std::size_t>(slot) * static_cast<std::size_t>(gpus_) +
                 static_cast<std::size_t>(gpu)];
  }
  double kept_in_node(int slot, int node) {
    double sum = 0.0;
    for (int g = node * gpus_per_node_; g < (node + 1) * gpus_per_node_; ++g) {
      sum += kept(slot, g);
    }
    return sum;
  }
  bool holds(int gpu, int wanted) const {
    const auto first = slots_.begin() + gpu * slots_per_gpu_;
    return std::find(first, first + slots_per_gpu_, wanted) != first + slots_per_gpu_;
  }

  double gain(int s, int t, double pair_weight) {
    const int g = gpu_of(s);
    const int h = gpu_of(t);
    double value =
        kSameGpuGain * (kept(s, h) - kept(s, g) + kept(t, g) - kept(t, h) - 2.0 * pair_weight);
    if (node_of(g) != node_of(h)) {
      value +=
          kSameNodeGain * (node_kept(s, node_of(h)) - node_kept(s, node_of(g)) +
                           node_kept(t, node_of(g)) - node_kept(t, node_of(h)) - 2.0 * pair_weight);
    }
    return value;
  }
  double node_kept(int slot, int node) const {
    return node_kept_[static_cast<std::size_t>(slot) *
                          static_cast<std::size_t>(gpus_ / gpus_per_node_) +
                      static_cast<std::size_t>(node)];
  }

  bool swap_best() {
    const int nodes = gpus_ / gpus_per_node_;
    node_kept_.resize(slots_.size() * static_cast<std::size_t>(nodes));
    for (int s = 0; s < num_slots(); ++s) {
      for (int n = 0; n < nodes; ++n) {
        node_kept_[static_cast<std::size_t>(s * nodes + n)] = kept_in_node(s, n);
      }
    }
    double best_gain = 1e-12 * total_pairs_;  // rounding is no gain
    int best_s = -1;
    int best_t = -1;
    for (int s = 0; s < num_slots(); ++s) {
      const int g = gpu_of(s);
      for (int t = (g + 1) * slots_per_gpu_; t < num_slots(); ++t) {
        const int h = gpu_of(t);
        if (expert(s) == expert(t) || (keep_nodes_ && node_of(g) != node_of(h))) {
          continue;
        }
        const double value = gain(s, t, pair(expert(s), expert(t)));
        if (value <= best_gain) {
          continue;
        }
        const double difference = share(s) - share(t);
        const auto from = static_cast<std::size_t>(g);
        const auto to = static_cast<std::size_t>(h);
        if ((load_[from] - difference) / speed_[from] > limit_ ||
            (load_[to] + difference) / speed_[to] > limit_ || holds(h, expert(s)) ||
            holds(g, expert(t))) {
          continue;
        }
        best_gain = value;
        best_s = s;
        best_t = t;
      }
    }
    if (best_s < 0) {
      return false;
    }
    swap(best_s, best_t);
    return true;
  }

  void swap(int s, int t) {
    const int g = gpu_of(s);
    const int h = gpu_of(t);
    const int a = expert(s);
    const int b = expert(t);
    const double difference = share(s) - share(t);
    load_[static_cast<std::size_t>(g)] -= difference;
    load_[static_cast<std::size_t>(h)] += difference;
    std::swap(slots_[static_cast<std::size_t>(s)], slots_[static_cast<std::size_t>(t)]);
    for (int v = 0; v < num_slots(); ++v) {
      const double change = pair(expert(v), b) - pair(expert(v), a);
      kept(v, g) += change;
      kept(v, h) -= change;
    }
    for (const int moved : {s, t}) {
      for (int k = 0; k < gpus_; ++k) {
        kept(moved, k) = 0.0;
      }
      for (int v = 0; v < num_slots(); ++v) {
        kept(moved, gpu_of(v)) += pair(expert(moved), expert(v));
      }
    }
  }

  int gpus_, gpus_per_node_, slots_per_gpu_, experts_;
  bool keep_nodes_;
  std::vector<int> slots_;
  std::vector<double> pair_;   // [experts][experts] per pair of replicas
  std::vector<double> share_;  // [experts] load of one replica
  std::vector<double> load_, speed_;
  std::vector<double> kept_;       // [slots][gpus]
  std::vector<double> node_kept_;  // [slots][nodes]
  double total_pairs_ = 0.0;
  double limit_ = 0.0;
};

}  // namespace

SlotTable coactivation_slots(const PlacementRequest& request, double max_overload) {
  if (request.coactivation.empty()) {
    throw InputError("", "/coactivation", "the policy \"coactivation\" needs pair counts",
                     "[layers] lists of {first, second, count}");
  }
  const std::vector<double> speeds =
      request.gpu_speed.empty() ? std::vector<double>(static_cast<std::size_t>(request.gpus), 1.0)
                                : request.gpu_speed;
  SlotTable table;
  for (int layer = 0; layer < request.layers(); ++layer) {
    check_stopped();
    const auto l = static_cast<std::size_t>(layer);
    std::vector<int> start =
        balanced_layer(request, layer, token_costs(request, layer), speeds, kStartEvaluations);
    table.push_back(Partition(request, pair_graph(request, l), request.weights[l], std::move(start),
                              max_overload)
                        .improved());
  }
  return table;
}

}  // namespace moesim
