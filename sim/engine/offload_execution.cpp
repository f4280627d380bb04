// SPDX-License-Identifier: Apache-2.0
#include "sim/engine/offload_execution.h"

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <optional>

#include "sim/base/error.h"
#include "sim/base/stop.h"
#include "sim/engine/flow_network.h"

namespace moesim {
namespace {

/// One expert on its way to a GPU.
struct Move {
  int key = 0;
  bool is_in_host = true;  ///< false while it is read from a drive
};

/// A GPU: its cache, its copy stream and where it is in the trace.
struct Gpu {
  Gpu(const ExpertTrace& demand, const OffloadSpec& spec, const CacheSpec& host_spec)
      : trace(demand),
        cache(demand, spec.cache),
        host(demand, host_spec),
        predictor(demand, spec.prefetch),
        is_moving(static_cast<std::size_t>(demand.num_keys()), false),
        is_waited_for(is_moving),
        is_unused(is_moving) {}

  const ExpertTrace& trace;
  ExpertCache cache, host;
  Predictor predictor;
  std::deque<Move> queue;       // the front is being copied, or waits for its drive
  bool is_copying = false;      // the front's latency or flow is under way
  std::vector<bool> is_moving;  // [keys] in the queue
  std::vector<bool> is_waited_for;
  std::vector<bool> is_unused;  // prefetched, not needed yet
  std::vector<int> unused;      // the keys of is_unused, some stale
  int step = 0;
  int layer = 0;
  int missing = 0;  // experts that the layer still waits for
  std::int64_t access = 0;
  bool is_computing = false;
  SimTime layer_begin;  // when the layer's experts were asked for
  SimTime cpu_end;      // of experts that the CPU computes
  SimTime ready;        // when its experts had arrived
  SimTime begin;        // of the counted time
  OffloadReport report;
};

class OffloadEngine {
 public:
  OffloadEngine(const Topology& node, std::span<const ExpertTrace> demand, const OffloadNode& spec,
                int warm_up_steps)
      : spec_(spec.gpu),
        is_in_lockstep_(spec.is_in_lockstep && demand.size() > 1),
        warm_up_steps_(warm_up_steps),
        plan_(std::make_unique<SharedPlan>(node.routes(RoutePolicy::shortest), spec.background)),
        network_(*plan_),
        layer_time_(SimTime::from_seconds(spec.gpu.layer_seconds)),
        dispatch_time_(SimTime::from_seconds(spec.gpu.host_dispatch)),
        step_time_(SimTime::from_seconds(spec.gpu.step_seconds)),
        latency_(SimTime::from_seconds(spec.gpu.link_latency)) {
    const std::vector<std::uint32_t> ranks = node.ranks();
    for (std::uint32_t rank = 0; rank < ranks.size(); ++rank) {
      const NodeKind kind = node.nodes()[ranks[rank]].kind;
      memory_ = kind == NodeKind::host_memory ? rank : memory_;
      drives_ = kind == NodeKind::nvme ? rank : drives_;
    }
    MOESIM_CHECK(memory_ != kNoIndex && node.num_gpus() >= demand.size(),
                 "a node with host memory and a GPU for every trace");
    MOESIM_CHECK(spec_.host_slots < 0 || drives_ != kNoIndex, "experts below memory need drives");
    if (!spec.background.empty()) {
      network_.start(SimTime(), plan_->transfer());
    }
    CacheSpec host;
    host.scope = CacheScope::global;
    host.slots = std::max(spec_.host_slots, 0);
    host.is_preloaded = true;
    MOESIM_CHECK(spec.popularity.empty() || spec.popularity.size() == demand.size(),
                 "one popularity a GPU");
    OffloadSpec own = spec_;
    for (std::size_t g = 0; g < demand.size(); ++g) {
      if (!spec.popularity.empty()) {
        own.cache.popularity = spec.popularity[g];
      }
      host.popularity = own.cache.popularity;
      gpus_.push_back(std::make_unique<Gpu>(demand[g], own, host));
    }
  }

  OffloadNodeReport run() {
    for (std::size_t g = 0; g < gpus_.size(); ++g) {
      begin_step(g);
    }
    while (num_done_ < gpus_.size()) {
      check_stopped();
      const std::optional<SimTime> change = network_.next_change();
      const SimTime timer = timers_.empty() ? SimTime::max() : timers_.begin()->first.first;
      now_ = change ? std::min(*change, timer) : timer;
      MOESIM_CHECK(now_ < SimTime::max(), "a GPU waits for nothing that will come");
      for (const RankCompletion& completion : network_.advance_to(now_)) {
        arrive(completion);
      }
      while (!timers_.empty() && timers_.begin()->first.first <= now_) {
        const auto [key, kind] = *timers_.begin();
        timers_.erase(timers_.begin());
        fire(key.second, kind);
      }
    }
    OffloadNodeReport report;
    for (const std::unique_ptr<Gpu>& gpu : gpus_) {
      for (std::size_t key = 0; key < gpu->is_unused.size(); ++key) {
        if (gpu->is_unused[key]) {
          gpu->report.wasted_bytes += spec_.expert_bytes;
        }
      }
      report.gpus.push_back(gpu->report);
      if (report.gpus.back().elapsed > report.gpus[report.slowest].elapsed) {
        report.slowest = report.gpus.size() - 1;
      }
    }
    const std::span<const double> bytes = network_.link_bytes();
    const std::span<const FlowLink> links = plan_->links();
    for (std::size_t l = 0; l < links.size() && now_ > SimTime(); ++l) {
      report.busiest_link_utilisation =
          std::max(report.busiest_link_utilisation,
                   bytes[l] / links[l].capacity.value() / now_.seconds().value());
    }
    return report;
  }

 private:
  enum class Timer { layer_begins, copy_starts, layer_ends };

  void set_timer(SimTime time, std::size_t g, Timer kind) {
    timers_.emplace(std::pair(time, g), kind);
  }

  void begin_step(std::size_t g) {
    Gpu& gpu = *gpus_[g];
    if (gpu.step == warm_up_steps_) {
      gpu.report = OffloadReport{};
      gpu.begin = now_;
    }
    gpu.layer = 0;
    gpu.layer_begin = now_ + step_time_ + dispatch_time_;
    set_timer(gpu.layer_begin, g, Timer::layer_begins);
  }

  void fire(std::size_t g, Timer kind) {
    switch (kind) {
      case Timer::layer_begins:
        begin_layer(g);
        break;
      case Timer::copy_starts:
        start_flow(g);
        break;
      case Timer::layer_ends:
        end_layer(g);
        break;
    }
  }

  /// The gate has run: this layer's misses are asked for first, then guesses for a later one.
  void begin_layer(std::size_t g) {
    Gpu& gpu = *gpus_[g];
    gpu.cpu_end = now_;
    gpu.missing = 0;
    for (const std::int16_t expert : gpu.trace.at(gpu.step, gpu.layer)) {
      const int key = gpu.trace.key(gpu.layer, expert);
      ++gpu.report.accesses;
      if (spec_.on_miss == MissHandling::cpu && !gpu.cache.holds(key)) {
        ++gpu.report.misses;
        ++gpu.report.cpu_experts;
        gpu.cpu_end += SimTime::from_seconds(spec_.expert_bytes / spec_.cpu_rate);
        ++gpu.access;
        continue;
      }
      need(g, key);
    }
    for (const std::int16_t guess : gpu.predictor.guesses(gpu.step, gpu.layer)) {
      prefetch(g, gpu.trace.key(gpu.layer + spec_.prefetch.lookahead_layers, guess));
    }
    if (gpu.missing == 0) {
      experts_are_there(g);
    }
  }

  void need(std::size_t g, int key) {
    Gpu& gpu = *gpus_[g];
    const auto k = static_cast<std::size_t>(key);
    gpu.is_unused[k] = false;
    if (gpu.cache.access(key, gpu.access++)) {
      if (!gpu.is_moving[k]) {
        ++gpu.report.hits;
        return;
      }
      ++gpu.report.late_prefetches;
    } else {
      forget_given_up(gpu);
      ++gpu.report.misses;
      gpu.report.demand_bytes += spec_.expert_bytes;
      if (!gpu.is_moving[k]) {  // else it was given up while it still moves
        enqueue(g, key);
      }
    }
    gpu.is_waited_for[k] = true;
    ++gpu.missing;
  }

  void prefetch(std::size_t g, int key) {
    Gpu& gpu = *gpus_[g];
    const auto k = static_cast<std::size_t>(key);
    if (gpu.cache.holds(key) || gpu.is_moving[k]) {
      return;
    }
    if (gpu.cache.prefetch(key, gpu.access - 1) == key) {
      return;  // the policy would not keep it
    }
    forget_given_up(gpu);
    gpu.report.prefetched_bytes += spec_.expert_bytes;
    gpu.is_unused[k] = true;
    gpu.unused.push_back(key);
    enqueue(g, key);
  }

  /// Prefetched experts that were given up before use are waste.
  void forget_given_up(Gpu& gpu) const {
    std::erase_if(gpu.unused, [&](int key) {
      const auto k = static_cast<std::size_t>(key);
      if (!gpu.is_unused[k]) {
        return true;
      }
      if (gpu.cache.holds(key)) {
        return false;
      }
      gpu.is_unused[k] = false;
      gpu.report.wasted_bytes += spec_.expert_bytes;
      return true;
    });
  }

  void enqueue(std::size_t g, int key) {
    Gpu& gpu = *gpus_[g];
    gpu.is_moving[static_cast<std::size_t>(key)] = true;
    const bool is_in_host = spec_.host_slots < 0 || gpu.host.access(key, gpu.access);
    gpu.queue.push_back({key, is_in_host});
    if (!is_in_host) {
      gpu.report.nvme_bytes += spec_.expert_bytes;
      const TransferId read =
          network_.start(now_, TransferSet::copies({{drives_, memory_, spec_.expert_bytes}}));
      reads_.emplace(read, std::pair(g, key));
    }
    next_copy(g);
  }

  void next_copy(std::size_t g) {
    Gpu& gpu = *gpus_[g];
    if (!gpu.is_copying && !gpu.queue.empty() && gpu.queue.front().is_in_host) {
      gpu.is_copying = true;
      set_timer(now_ + latency_, g, Timer::copy_starts);
    }
  }

  void start_flow(std::size_t g) {
    const TransferId copy = network_.start(
        now_, TransferSet::copies({{memory_, static_cast<std::uint32_t>(g), spec_.expert_bytes}}));
    copies_.emplace(copy, g);
  }

  void arrive(const RankCompletion& completion) {
    if (const auto read = reads_.find(completion.transfer); read != reads_.end()) {
      if (completion.rank == memory_) {
        const auto [g, key] = read->second;
        reads_.erase(read);
        for (Move& move : gpus_[g]->queue) {
          if (move.key == key) {
            move.is_in_host = true;
          }
        }
        next_copy(g);
      }
      return;
    }
    const auto copy = copies_.find(completion.transfer);
    if (copy == copies_.end() || completion.rank != copy->second) {
      return;  // the sender's part
    }
    const std::size_t g = copy->second;
    copies_.erase(copy);
    Gpu& gpu = *gpus_[g];
    const auto k = static_cast<std::size_t>(gpu.queue.front().key);
    gpu.queue.pop_front();
    gpu.is_copying = false;
    gpu.is_moving[k] = false;
    if (gpu.is_waited_for[k]) {
      gpu.is_waited_for[k] = false;
      if (--gpu.missing == 0) {
        experts_are_there(g);
      }
    }
    next_copy(g);
  }

  /// Starts the layer, with all other GPUs where they exchange tokens.
  void experts_are_there(std::size_t g) {
    gpus_[g]->ready = now_;
    if (!is_in_lockstep_) {
      compute(g);
      return;
    }
    if (++num_ready_ == gpus_.size()) {
      num_ready_ = 0;
      for (std::size_t other = 0; other < gpus_.size(); ++other) {
        compute(other);
      }
    }
  }

  void compute(std::size_t g) {
    Gpu& gpu = *gpus_[g];
    const SimTime end = std::max(now_ + layer_time_, gpu.cpu_end);
    gpu.report.stall += (end - gpu.layer_begin - layer_time_).seconds() + spec_.host_dispatch;
    set_timer(end, g, Timer::layer_ends);
  }

  void end_layer(std::size_t g) {
    Gpu& gpu = *gpus_[g];
    if (++gpu.layer < gpu.trace.layers()) {
      gpu.layer_begin = now_ + dispatch_time_;
      set_timer(gpu.layer_begin, g, Timer::layer_begins);
      return;
    }
    ++gpu.report.steps;
    gpu.report.elapsed = (now_ - gpu.begin).seconds();
    if (++gpu.step < gpu.trace.steps()) {
      begin_step(g);
    } else {
      ++num_done_;
    }
  }

  const OffloadSpec& spec_;
  bool is_in_lockstep_;
  int warm_up_steps_;
  std::unique_ptr<SharedPlan> plan_;
  FlowNetwork network_;
  std::uint32_t memory_ = kNoIndex;
  std::uint32_t drives_ = kNoIndex;
  SimTime layer_time_, dispatch_time_, step_time_, latency_;
  SimTime now_;
  std::vector<std::unique_ptr<Gpu>> gpus_;
  std::multimap<std::pair<SimTime, std::size_t>, Timer> timers_;  // by time, then GPU
  std::map<TransferId, std::pair<std::size_t, int>> reads_;       // from drives: GPU, key
  std::map<TransferId, std::size_t> copies_;                      // to GPUs
  std::size_t num_ready_ = 0;
  std::size_t num_done_ = 0;
};

}  // namespace

OffloadNodeReport execute_offload(const Topology& node, std::span<const ExpertTrace> demand,
                                  const OffloadNode& spec, int warm_up_steps) {
  check_offload(spec.gpu);
  return OffloadEngine(node, demand, spec, warm_up_steps).run();
}

}  // namespace moesim
