// SPDX-License-Identifier: Apache-2.0
#include "sim/study/measured_load.h"

namespace moesim {

ScenarioSpec at_measured_load(const ScenarioSpec& spec, const ServingMeasurement& row) {
  ScenarioSpec result = spec;
  if (spec.workload.kind != WorkloadKind::serving) {
    return result;
  }
  if (const auto concurrency = plain_number(row.load)) {
    result.workload.concurrency = *concurrency;
    result.workload.requests_per_s.reset();
    result.workload.arrivals = ArrivalProcess::closed;
  } else if (row.load.starts_with("qps ")) {
    if (const auto rate = plain_number(std::string_view(row.load).substr(4))) {
      result.workload.requests_per_s = *rate;
      result.workload.concurrency.reset();
      result.workload.arrivals = ArrivalProcess::poisson;
    }
  }
  if (const auto input = plain_number(row.input_tokens)) {
    result.workload.prompt_tokens = *input;
  }
  if (const auto output = plain_number(row.output_tokens)) {
    result.workload.output_tokens = *output;
  }
  return result;
}

}  // namespace moesim
