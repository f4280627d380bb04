// SPDX-License-Identifier: Apache-2.0
// A question to the planner: which models must serve which load within which limits, on what
// hardware at what price. File format "moesim/plan_request/1"; `moesim plan --init` prints one with
// comments.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/input/json_schema.h"
#include "sim/input/scenario.h"

namespace moesim {

enum class ServingMode : std::uint8_t { aggregated, disaggregated };
std::span<const Choice<ServingMode>> choices_of(ServingMode);

struct LoadForecast {
  double requests_per_s = 1;    ///< at a multiplier of 1
  double prompt_tokens = 2000;  ///< mean
  double output_tokens = 500;   ///< mean
  double cached_prompt_tokens = 0;
  double uncertainty = 0;       ///< standard deviation of ln(real load / forecast)
  std::vector<double> by_hour;  ///< multipliers of the periods of a day; empty: one period
};

struct ServiceLimits {
  double ttft_s = 2;      ///< time to first token ...
  double tpot_s = 0.05;   ///< ... and per output token
  double quantile = 0.9;  ///< that so many of the requests must meet
};

struct ServiceRequest {
  std::string name;
  std::string model;
  ModelEdits model_edits;
  LoadForecast load;
  ServiceLimits slo;
  RoutingConfig routing;
  PlacementConfig placement;
  PrecisionSpec precision;
};

struct HardwareChoice {
  std::string cluster;
  std::int64_t max_gpus = 512;                      ///< that may be used, owned ones included
  std::int64_t owned_gpus = 0;                      ///< in the inventory: no price is paid for them
  std::optional<double> usd_per_gpu_hour;           ///< absent: on demand, from the device profile
  std::optional<double> usd_per_reserved_gpu_hour;  ///< paid around the clock
  std::string price_source;
};

struct PlanSearch {
  std::vector<ServingMode> modes = {ServingMode::aggregated, ServingMode::disaggregated};
  std::vector<std::int64_t> gpus_per_instance;  ///< empty: powers of two up to max_gpus
  std::vector<std::int64_t> tensor = {1, 2, 4, 8};
  std::vector<OverlapRule> overlap = {OverlapRule::serial, OverlapRule::two_batch};
  std::vector<double> batch_per_gpu;                 ///< empty: 1 to 1,024, four an octave
  std::vector<double> chunk_tokens = {2048, 8192};   ///< of a prompt in one step, aggregated
  std::vector<double> prompts_per_step = {1, 2, 4};  ///< of a prefill replica
};

struct FailureRates {
  double gpu_mtbf_hours = 0;  ///< 0: no failures
  double repair_hours = 24;
};

struct PlanRequest {
  std::string schema = "moesim/plan_request/1";
  std::string name;
  std::vector<ServiceRequest> services;
  std::vector<HardwareChoice> hardware;
  PlanSearch search;
  FailureRates failures;
  double confidence = 0.9;  ///< fleets: of meeting the limits, load and model error considered
  /// Standard deviation of ln(real / predicted time) beyond the bands of the steps. With 0.25 four
  /// fifths of the published serving points lie inside an option's band (`validate --suite front`).
  double model_error = 0.25;
  std::int64_t seed = 1;
};

// Parts of a scenario that a request has too (sim/input/scenario_fields.cpp).
const Fields<RoutingConfig>& fields_of(const RoutingConfig*);
const Fields<PlacementConfig>& fields_of(const PlacementConfig*);
const Fields<PrecisionSpec>& fields_of(const PrecisionSpec*);
const Fields<ModelEdits>& fields_of(const ModelEdits*);

const Fields<LoadForecast>& fields_of(const LoadForecast*);
const Fields<ServiceLimits>& fields_of(const ServiceLimits*);
const Fields<ServiceRequest>& fields_of(const ServiceRequest*);
const Fields<HardwareChoice>& fields_of(const HardwareChoice*);
const Fields<PlanSearch>& fields_of(const PlanSearch*);
const Fields<FailureRates>& fields_of(const FailureRates*);
const Fields<PlanRequest>& fields_of(const PlanRequest*);

/// Reads a request and checks it. Throws InputError with every problem.
PlanRequest read_plan_request(const Json& json, const std::string& file);
PlanRequest load_plan_request(const std::string& path);
/// Kind, schema and committed file of a request, for `show --schema`.
FileFormat plan_request_format();
/// A request to start from, with a "$comment" for every part.
std::string plan_request_template();

/// Price of an hour of one GPU on demand, and where it comes from. Throws InputError when neither
/// request nor profile has one.
struct GpuPrice {
  double usd_per_hour = 0;
  std::string source;
};
GpuPrice price_of(const HardwareChoice& hardware, const DeviceProfile& device,
                  const std::string& file);

}  // namespace moesim
