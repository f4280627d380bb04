// SPDX-License-Identifier: Apache-2.0
// One pool of a deployment: copies ("instances") of the model on a cluster, all laid out and loaded
// alike, that read prompts, generate, or do both.
//
// A layout is compiled once per phase; a pool point is the layout at a batch limit, evaluated in
// closed form. With G GPUs an instance, D attention replicas, b sequences a GPU, P prompt and O
// output tokens:
//     decode      step T(b): G b / (O T) requests/s, a token every T
//     prefill     step T(m): D m / T requests/s with m prompts a replica's step
//     aggregated  mean step T(b, b/O prompts a GPU); a prompt is read in ceil(P/C) steps of C
//                 tokens, each as long as a step that carries one chunk
// `size` then finds the fewest instances that carry a load within limits.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "sim/study/plan_request.h"
#include "sim/study/time_error.h"

namespace moesim {

class StepCostModel;
struct StepBatch;

enum class PoolRole : std::uint8_t { aggregated, prefill, decode };
std::span<const Choice<PoolRole>> choices_of(PoolRole);

/// How one instance is laid out.
struct PoolLayout {
  std::string cluster;
  std::int64_t gpus = 8;
  std::int64_t tensor = 1;
  OverlapRule overlap = OverlapRule::serial;
};

/// An instance of a layout at a batch limit.
struct PoolPoint {
  PoolRole role = PoolRole::decode;
  PoolLayout layout;
  double batch_per_gpu = 0;     ///< decode, aggregated: limit of sequences in flight a GPU
  double prompts_per_step = 0;  ///< prefill: of a replica
  double chunk_tokens = 0;      ///< aggregated: prompt tokens a replica's step
  double step_s = 0;            ///< at the limit; aggregated: the mean step
  double prompt_s = 0;  ///< prefill, aggregated: from the first step of a prompt to its token
  double slot_requests_per_s = 0;    ///< of an instance, limited by its sequences in flight
  double prompt_requests_per_s = 0;  ///< of an instance, limited by reading prompts
  double prompt_servers = 0;         ///< prompts that an instance reads at the same time
  double transfer_s = 0;             ///< prefill: the cache on its way to the decode pool
  double memory_fraction = 0;        ///< of the fullest GPU, of what may be planned for
  TimeError error;                   ///< of `step_s`, taken for the other times too
};

/// What a pool must carry.
struct PoolLoad {
  double requests_per_s = 0;
  double output_tokens = 0;
  ServiceLimits slo;
};

/// How a sized pool answers.
struct PoolAnswer {
  double ttft_s = 0;        ///< quantile; 0 for decode pools
  double tpot_s = 0;        ///< at the batch limit; 0 for prefill pools
  double slots_needed = 0;  ///< sequences in flight that the quantile needs, over the slots
  double prompt_use = 0;    ///< utilisation of prompt reading
  bool tpot_ok = true;
  bool slots_ok = true;    ///< enough sequences in flight
  bool prompts_ok = true;  ///< prompts are read as fast as they come
  bool ttft_ok = true;

  bool meets() const { return tpot_ok && slots_ok && prompts_ok && ttft_ok; }
};

/// The scenario of one instance under the service's load. `file` names the request in messages.
ScenarioSpec pool_scenario(const ServiceRequest& service, PoolRole role, const PoolLayout& layout,
                           std::int64_t gpus_per_node, std::int64_t seed);

class PoolModel {
 public:
  /// Throws InputError when the layout breaks a rule. `model_error`: of what step bands leave out.
  PoolModel(const ServiceRequest& service, PoolRole role, const PoolLayout& layout,
            const CardLibrary& cards, std::int64_t seed, double model_error = 0);
  /// One instance as `scenario` lays it out; of `layout` only the number of GPUs counts.
  PoolModel(const ServiceRequest& service, PoolRole role, const PoolLayout& layout,
            Scenario scenario, double model_error = 0);
  ~PoolModel();
  PoolModel(PoolModel&&) noexcept;

  /// A point at a batch limit (and chunk), or at so many prompts a step; `fits` is false when it is
  /// out of memory.
  PoolPoint generating(double batch_per_gpu, double chunk_tokens, bool& fits) const;
  PoolPoint reading(double prompts_per_step, bool& fits) const;
  const Scenario& scenario() const { return scenario_; }

 private:
  PoolPoint make_point() const;
  /// Evaluates the point's own step, its error included.
  void evaluate(PoolPoint& point, const StepBatch& batch) const;

  ServiceRequest service_;
  PoolRole role_;
  PoolLayout layout_;
  double model_error_;
  Scenario scenario_;
  std::unique_ptr<const StepCostModel> model_;
};

/// `instances` of `point` under `load`, every time of the step multiplied by `time_factor`.
PoolAnswer answer(const PoolPoint& point, double instances, const PoolLoad& load,
                  double time_factor = 1);
/// Fewest instances that meet the limits; 0 when no number does (a limit that more GPUs do not
/// help) or more than `most` are needed.
std::int64_t instances_needed(const PoolPoint& point, const PoolLoad& load, std::int64_t most,
                              double time_factor = 1);
/// Output tokens/s/GPU at the batch limit; prompts of a decode point are read by `reading`
/// requests/s and GPU elsewhere.
double limit_rate(const PoolPoint& point, double output_tokens, double reading = 0);
/// Most requests/s that `instances` carry within the limits; 0 when none.
double capacity(const PoolPoint& point, double instances, PoolLoad load, double time_factor = 1);

}  // namespace moesim
