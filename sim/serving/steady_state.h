// SPDX-License-Identifier: Apache-2.0
// A serving deployment in its steady state, in closed form: the batch at which requests leave as
// fast as they come, and the largest rate that has one.
//
// With n sequences generating on a replica, x requests a second each bringing k chunks of prompt:
//     step  = (1 - p) t_d(n) + p t_m(n),   p: share of steps that read prompts, from q = x k step
//     TPOT  = step / tokens a step,  TTFT = queue + rest of the step in progress + k t_m
//     n     = x (output - 1) TPOT                                  (Little's law)
// Closed loop: x = requests in flight / (TTFT + (output - 1) TPOT); the first wave, which reads all
// prompts at once, and the drain, in which slots empty one by one, are added as benchmarks count
// them. Open loop: a request sees 1 + n sequences. Only means are known; the event fidelity has
// the rest.
#pragma once

#include <string>

#include "sim/serving/request_stream.h"
#include "sim/serving/serving_loop.h"

namespace moesim {

struct SteadyState {
  bool is_stable = true;        ///< open loop: the rate is below `capacity_per_s`
  double capacity_per_s = 0;    ///< requests a second, whole system, at the largest batch
  double largest_batch = 0;     ///< sequences a replica
  std::string limited_by;       ///< what bounds that batch
  bool prefill_limits = false;  ///< the prefill pool bounds the rate
  double requests_per_s = 0;    ///< finished, ramp and drain included
  double steady_requests_per_s = 0;
  double ttft_s = 0;
  double queueing_s = 0;  ///< part of it before the first chunk
  double tpot_s = 0;
  double step_s = 0;  ///< mean
  double latency_s = 0;
  double decode_batch = 0;  ///< sequences that generate on a replica
  double context = 0;
  double prompt_step_share = 0;  ///< of busy time
  double busy = 0;
};

SteadyState steady_state(const Scenario& scenario, ServingPlan& plan, const RequestStream& stream);

}  // namespace moesim
