// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/expert_cache_timing.h"

#include <algorithm>
#include <string>
#include <vector>

#include "sim/base/error.h"
#include "sim/base/sim_time.h"

namespace moesim {
namespace {

void check_here(const OffloadSpec& spec) {
  Diagnostics diagnostics;
  const auto not_negative = [&](const char* key, double value) {
    if (!(value >= 0.0)) {
      diagnostics.add("", key, std::to_string(value), "0 or more");
    }
  };
  const auto positive = [&](const char* key, double value) {
    if (!(value > 0.0)) {
      diagnostics.add("", key, std::to_string(value), "above 0");
    }
  };
  positive("/expert_cache/expert_bytes", spec.expert_bytes.value());
  positive("/expert_cache/link_rate_bytes_per_s", spec.link_rate.value());
  not_negative("/expert_cache/link_latency_s", spec.link_latency.value());
  not_negative("/expert_cache/layer_seconds", spec.layer_seconds.value());
  not_negative("/expert_cache/step_seconds", spec.step_seconds.value());
  not_negative("/expert_cache/host_dispatch_s", spec.host_dispatch.value());
  if (spec.on_miss == MissHandling::cpu) {
    positive("/expert_cache/cpu_rate_bytes_per_s", spec.cpu_rate.value());
  }
  if (spec.host_slots >= 0) {
    positive("/expert_cache/nvme_rate_bytes_per_s", spec.nvme_rate.value());
  }
  if (!(spec.prefetch.accuracy >= 0.0 && spec.prefetch.accuracy <= 1.0)) {
    diagnostics.add("", "/expert_cache/prefetch/accuracy", std::to_string(spec.prefetch.accuracy),
                    "0 to 1");
  }
  if (spec.prefetch.lookahead_layers < 0) {
    diagnostics.add("", "/expert_cache/prefetch/lookahead_layers",
                    std::to_string(spec.prefetch.lookahead_layers), "0 or more");
  }
  diagnostics.throw_if_any();
}

CacheSpec host_cache(const OffloadSpec& spec) {
  CacheSpec host;
  host.scope = CacheScope::global;
  host.slots = std::max(spec.host_slots, 0);
  host.is_preloaded = true;
  host.popularity = spec.cache.popularity;
  return host;
}

class OffloadRun {
 public:
  OffloadRun(const ExpertTrace& trace, const OffloadSpec& spec)
      : trace_(trace),
        spec_(spec),
        cache_(trace, spec.cache),
        host_(trace, host_cache(spec)),
        predictor_(trace, spec.prefetch),
        ready_(static_cast<std::size_t>(trace.num_keys())),
        is_unused_(static_cast<std::size_t>(trace.num_keys()), false),
        layer_time_(SimTime::from_seconds(spec.layer_seconds)),
        step_time_(SimTime::from_seconds(spec.step_seconds)),
        dispatch_time_(SimTime::from_seconds(spec.host_dispatch)),
        link_time_(SimTime::from_seconds(spec.link_latency + spec.expert_bytes / spec.link_rate)),
        cpu_time_(spec.on_miss == MissHandling::cpu
                      ? SimTime::from_seconds(spec.expert_bytes / spec.cpu_rate)
                      : SimTime()),
        nvme_time_(spec.host_slots >= 0 ? SimTime::from_seconds(spec.expert_bytes / spec.nvme_rate)
                                        : SimTime()) {}

  void run_step(int step) {
    now_ += step_time_;
    for (int layer = 0; layer < trace_.layers(); ++layer) {
      now_ += dispatch_time_;
      report_.stall += spec_.host_dispatch;
      SimTime start = now_;
      SimTime cpu_end = now_;
      for (const std::int16_t expert : trace_.at(step, layer)) {
        const int key = trace_.key(layer, expert);
        ++report_.accesses;
        if (spec_.on_miss == MissHandling::cpu && !cache_.holds(key)) {
          ++report_.misses;
          ++report_.cpu_experts;
          cpu_end += cpu_time_;
          ++access_;
        } else {
          start = std::max(start, arrival(key));
        }
      }
      // The gate has run: the link serves this layer's misses first, then guesses for a later one.
      for (const std::int16_t guess : predictor_.guesses(step, layer)) {
        prefetch(trace_.key(layer + spec_.prefetch.lookahead_layers, guess));
      }
      const SimTime end = std::max(start + layer_time_, cpu_end);
      report_.stall += (end - now_ - layer_time_).seconds();
      now_ = end;
    }
    ++report_.steps;
    report_.elapsed = (now_ - begin_).seconds();
  }

  /// Forgets statistics, keeps state.
  void start_counting() {
    report_ = OffloadReport{};
    begin_ = now_;
  }

  OffloadReport finished() {
    for (std::size_t key = 0; key < is_unused_.size(); ++key) {
      if (is_unused_[key]) {
        report_.wasted_bytes += spec_.expert_bytes;
      }
    }
    return report_;
  }

 private:
  /// When the needed expert is there.
  SimTime arrival(int key) {
    const auto k = static_cast<std::size_t>(key);
    if (cache_.access(key, access_++)) {
      is_unused_[k] = false;
      if (ready_[k] > now_) {
        ++report_.late_prefetches;
        return ready_[k];
      }
      ++report_.hits;
      return now_;
    }
    forget_given_up();
    ++report_.misses;
    report_.demand_bytes += spec_.expert_bytes;
    is_unused_[k] = false;
    return ready_[k] = move(key);
  }

  void prefetch(int key) {
    if (cache_.holds(key)) {
      return;
    }
    if (cache_.prefetch(key, access_ - 1) == key) {
      return;  // the policy would not keep it
    }
    forget_given_up();
    const auto k = static_cast<std::size_t>(key);
    report_.prefetched_bytes += spec_.expert_bytes;
    ready_[k] = move(key);
    is_unused_[k] = true;
    unused_.push_back(key);
  }

  /// Moves one expert over the links; returns when it arrives.
  SimTime move(int key) {
    SimTime from = now_;
    if (spec_.host_slots >= 0 && !host_.access(key, access_)) {
      nvme_free_ = std::max(nvme_free_, now_) + nvme_time_;
      report_.nvme_bytes += spec_.expert_bytes;
      from = nvme_free_;
    }
    link_free_ = std::max(link_free_, from) + link_time_;
    return link_free_;
  }

  /// Prefetched experts that were given up before use are waste.
  void forget_given_up() {
    std::erase_if(unused_, [&](int key) {
      const auto k = static_cast<std::size_t>(key);
      if (!is_unused_[k]) {
        return true;
      }
      if (cache_.holds(key)) {
        return false;
      }
      is_unused_[k] = false;
      report_.wasted_bytes += spec_.expert_bytes;
      return true;
    });
  }

  const ExpertTrace& trace_;
  const OffloadSpec& spec_;
  ExpertCache cache_, host_;
  Predictor predictor_;
  std::vector<SimTime> ready_;   // [keys] when the expert's last transfer ends
  std::vector<bool> is_unused_;  // [keys] prefetched, not needed yet
  std::vector<int> unused_;      // the keys of is_unused_, some stale
  std::int64_t access_ = 0;      // index of the next access
  SimTime layer_time_, step_time_, dispatch_time_, link_time_, cpu_time_, nvme_time_;
  SimTime now_, begin_, link_free_, nvme_free_;
  OffloadReport report_;
};

}  // namespace

void check_offload(const OffloadSpec& spec) { check_here(spec); }

OffloadReport simulate_offload(const ExpertTrace& trace, const OffloadSpec& spec,
                               int warm_up_steps) {
  check_offload(spec);
  OffloadRun run(trace, spec);
  for (int step = 0; step < trace.steps(); ++step) {
    if (step == warm_up_steps) {
      run.start_counting();
    }
    run.run_step(step);
  }
  return run.finished();
}

Seconds offload_step_seconds(const OffloadSpec& spec, int layers, double experts_per_layer,
                             double hit_rate) {
  check_offload(spec);
  const double misses = experts_per_layer * (1.0 - hit_rate);
  Seconds layer = spec.layer_seconds;
  if (spec.on_miss == MissHandling::cpu) {
    layer = std::max(layer, misses * (spec.expert_bytes / spec.cpu_rate));
  } else {
    layer += misses * (spec.link_latency + spec.expert_bytes / spec.link_rate);
  }
  return spec.step_seconds + static_cast<double>(layers) * (spec.host_dispatch + layer);
}

}  // namespace moesim
