// SPDX-License-Identifier: Apache-2.0
#include "sim/study/plan_request.h"

#include <cmath>

namespace moesim {

std::span<const Choice<ServingMode>> choices_of(ServingMode) {
  static constexpr Choice<ServingMode> kChoices[] = {
      {ServingMode::aggregated, "aggregated", "the same GPUs read prompts and generate"},
      {ServingMode::disaggregated, "disaggregated",
       "prompts are read on GPUs of their own; caches travel over the network"},
  };
  return kChoices;
}

const Fields<LoadForecast>& fields_of(const LoadForecast*) {
  static const Fields<LoadForecast> table =
      Fields<LoadForecast>("load", "what arrives")
          .add("requests_per_s", &LoadForecast::requests_per_s,
               {.doc = "arrivals (Poisson) at a multiplier of 1",
                .required = true,
                .min = 0,
                .max = 1e9,
                .min_exclusive = true})
          .add("prompt_tokens", &LoadForecast::prompt_tokens,
               {.doc = "new tokens of a prompt, mean", .min = 1, .max = 1e7})
          .add("output_tokens", &LoadForecast::output_tokens,
               {.doc = "tokens that a request generates, mean", .min = 1, .max = 1e7})
          .add("cached_prompt_tokens", &LoadForecast::cached_prompt_tokens,
               {.doc = "tokens of a prompt that are in the cache already, mean",
                .min = 0,
                .max = 1e7})
          .add("uncertainty", &LoadForecast::uncertainty,
               {.doc = "standard deviation of ln(real load / forecast)", .min = 0, .max = 3})
          .add(
              "by_hour", &LoadForecast::by_hour,
              {.doc = "multipliers of the periods of a day, such as 24 hours; absent: one period"});
  return table;
}

const Fields<ServiceLimits>& fields_of(const ServiceLimits*) {
  static const Fields<ServiceLimits> table =
      Fields<ServiceLimits>("slo", "what requests must meet")
          .add("ttft_s", &ServiceLimits::ttft_s,
               {.doc = "time to first token",
                .unit = "s",
                .min = 0,
                .max = 1e5,
                .min_exclusive = true})
          .add("tpot_s", &ServiceLimits::tpot_s,
               {.doc = "time per output token",
                .unit = "s",
                .min = 0,
                .max = 1e4,
                .min_exclusive = true})
          .add("quantile", &ServiceLimits::quantile,
               {.doc = "share of the requests that must meet them",
                .unit = "fraction",
                .min = 0.5,
                .max = 0.9999});
  return table;
}

const Fields<ServiceRequest>& fields_of(const ServiceRequest*) {
  static const Fields<ServiceRequest> table =
      Fields<ServiceRequest>("service", "one model and its users")
          .add("name", &ServiceRequest::name, {.doc = "for people; absent: the model's id"})
          .add("model", &ServiceRequest::model,
               {.doc = "id of a model card, or the path of one", .required = true})
          .add("model_edits", &ServiceRequest::model_edits, {.doc = "what-ifs on the model card"})
          .add("load", &ServiceRequest::load, {.doc = "what arrives", .required = true})
          .add("slo", &ServiceRequest::slo, {.doc = "what requests must meet"})
          .add("routing", &ServiceRequest::routing, {.doc = "which experts the tokens choose"})
          .add("placement", &ServiceRequest::placement,
               {.doc = "where experts live, in every layout whose GPUs divide the slots"})
          .add("precision", &ServiceRequest::precision, {.doc = "number formats"});
  return table;
}

const Fields<HardwareChoice>& fields_of(const HardwareChoice*) {
  static const Fields<HardwareChoice> table =
      Fields<HardwareChoice>("hardware", "GPUs that may be used")
          .add("cluster", &HardwareChoice::cluster,
               {.doc = "id of a cluster profile, or the path of one", .required = true})
          .add("max_gpus", &HardwareChoice::max_gpus,
               {.doc = "quota, owned ones included", .min = 1, .max = 1048576})
          .add("owned_gpus", &HardwareChoice::owned_gpus,
               {.doc = "in the inventory: used before any other, without a price",
                .min = 0,
                .max = 1048576})
          .add("usd_per_gpu_hour", &HardwareChoice::usd_per_gpu_hour,
               {.doc = "price on demand; absent: the device profile's", .min = 0, .max = 1e6})
          .add("usd_per_reserved_gpu_hour", &HardwareChoice::usd_per_reserved_gpu_hour,
               {.doc = "price of GPUs that are paid around the clock; absent: none can be reserved",
                .min = 0,
                .max = 1e6})
          .add("price_source", &HardwareChoice::price_source,
               {.doc = "where the prices come from, with their date"});
  return table;
}

const Fields<PlanSearch>& fields_of(const PlanSearch*) {
  static const Fields<PlanSearch> table =
      Fields<PlanSearch>("search", "which deployments are tried")
          .add("modes", &PlanSearch::modes, {.doc = "who reads prompts"})
          .add("gpus_per_instance", &PlanSearch::gpus_per_instance,
               {.doc = "GPUs of one copy of the model; absent: powers of two up to max_gpus"})
          .add("tensor", &PlanSearch::tensor, {.doc = "GPUs that split attention"})
          .add("overlap", &PlanSearch::overlap, {.doc = "what hides the expert exchange"})
          .add("batch_per_gpu", &PlanSearch::batch_per_gpu,
               {.doc = "limits of sequences in flight a GPU; absent: 1 to 1,024, four an octave"})
          .add("chunk_tokens", &PlanSearch::chunk_tokens,
               {.doc = "aggregated: prompt tokens in one step of a replica"})
          .add("prompts_per_step", &PlanSearch::prompts_per_step,
               {.doc = "disaggregated: prompts in one step of a prefill replica"});
  return table;
}

const Fields<FailureRates>& fields_of(const FailureRates*) {
  static const Fields<FailureRates> table =
      Fields<FailureRates>("failures", "GPUs that break")
          .add("gpu_mtbf_hours", &FailureRates::gpu_mtbf_hours,
               {.doc = "mean hours between failures of one GPU; 0: none", .min = 0, .max = 1e9})
          .add("repair_hours", &FailureRates::repair_hours,
               {.doc = "until the instance serves again", .min = 0, .max = 1e5});
  return table;
}

const Fields<PlanRequest>& fields_of(const PlanRequest*) {
  static const Fields<PlanRequest> table =
      Fields<PlanRequest>("plan_request", "a question to the planner")
          .add("schema", &PlanRequest::schema, {.doc = "moesim/plan_request/1", .required = true})
          .add("name", &PlanRequest::name, {.doc = "one line, for people"})
          .add("services", &PlanRequest::services,
               {.doc = "models and their users", .required = true})
          .add("hardware", &PlanRequest::hardware,
               {.doc = "GPUs that may be used", .required = true})
          .add("search", &PlanRequest::search, {.doc = "which deployments are tried"})
          .add("failures", &PlanRequest::failures, {.doc = "GPUs that break"})
          .add("confidence", &PlanRequest::confidence,
               {.doc = "fleets: chance of meeting the limits that GPUs and spares are sized for",
                .unit = "fraction",
                .min = 0.5,
                .max = 0.9999})
          .add("model_error", &PlanRequest::model_error,
               {.doc = "standard deviation of ln(real time / predicted) of what the bands of steps "
                       "leave out, such as an engine's scheduler; adds to them as squares",
                .min = 0,
                .max = 2})
          .add("seed", &PlanRequest::seed, {.doc = "of routing and of confirming runs", .min = 0});
  return table;
}

PlanRequest read_plan_request(const Json& json, const std::string& file) {
  Diagnostics diagnostics;
  PlanRequest request = read_object<PlanRequest>(json, file, diagnostics);
  if (json.find("schema") != nullptr && request.schema != "moesim/plan_request/1") {
    diagnostics.add(
        file, "/schema",
        "\"" + request.schema.substr(0, 80) + "\" is not a plan request of this version",
        "allowed: moesim/plan_request/1");
  }
  const auto need = [&](bool good, const std::string& pointer, const std::string& problem,
                        const std::string& allowed) {
    if (!good) {
      diagnostics.add(file, pointer, problem, allowed);
    }
  };
  need(json.find("services") == nullptr || !request.services.empty(), "/services", "is empty",
       "name at least one model");
  need(json.find("hardware") == nullptr || !request.hardware.empty(), "/hardware", "is empty",
       "name at least one cluster");
  need(!request.search.modes.empty(), "/search/modes", "is empty", "leave the key out for both");
  need(!request.search.tensor.empty(), "/search/tensor", "is empty", "leave the key out");
  need(!request.search.overlap.empty(), "/search/overlap", "is empty", "leave the key out");
  need(!request.search.chunk_tokens.empty(), "/search/chunk_tokens", "is empty",
       "leave the key out");
  need(!request.search.prompts_per_step.empty(), "/search/prompts_per_step", "is empty",
       "leave the key out");
  const auto positive = [&](const auto& values, const std::string& pointer) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      need(values[i] > 0 && values[i] <= 1048576, pointer + "/" + std::to_string(i),
           number_text(static_cast<double>(values[i])) + " is out of range",
           "allowed: > 0 and <= 1048576");
    }
  };
  positive(request.search.gpus_per_instance, "/search/gpus_per_instance");
  positive(request.search.tensor, "/search/tensor");
  positive(request.search.batch_per_gpu, "/search/batch_per_gpu");
  positive(request.search.chunk_tokens, "/search/chunk_tokens");
  positive(request.search.prompts_per_step, "/search/prompts_per_step");
  std::size_t periods = 0;
  for (std::size_t s = 0; s < request.services.size(); ++s) {
    ServiceRequest& service = request.services[s];
    const std::string at = "/services/" + std::to_string(s);
    service.name = service.name.empty() ? service.model : service.name;
    const std::vector<double>& hours = service.load.by_hour;
    for (std::size_t h = 0; h < hours.size(); ++h) {
      need(hours[h] >= 0 && std::isfinite(hours[h]), at + "/load/by_hour/" + std::to_string(h),
           number_text(hours[h]) + " is negative", "allowed: multipliers >= 0");
    }
    need(hours.empty() || periods == 0 || hours.size() == periods, at + "/load/by_hour",
         "has " + std::to_string(hours.size()) + " periods, another service has " +
             std::to_string(periods),
         "give every service the same periods, or none");
    periods = std::max(periods, hours.size());
  }
  for (std::size_t h = 0; h < request.hardware.size(); ++h) {
    need(request.hardware[h].owned_gpus <= request.hardware[h].max_gpus,
         "/hardware/" + std::to_string(h) + "/owned_gpus",
         std::to_string(request.hardware[h].owned_gpus) + " is more than max_gpus",
         "max_gpus counts owned ones too");
  }
  diagnostics.throw_if_any();
  if (request.search.batch_per_gpu.empty()) {
    for (double octave = 1; octave <= 1024; octave *= 2) {
      for (const double step : {1.0, 1.25, 1.5, 1.75}) {
        if (octave * step <= 1024) {
          request.search.batch_per_gpu.push_back(octave * step);
        }
      }
    }
  }
  return request;
}

PlanRequest load_plan_request(const std::string& path) {
  return read_plan_request(load_json(path), path == "-" ? "standard input" : path);
}

FileFormat plan_request_format() {
  return file_format<PlanRequest>("plan_request", "moesim/plan_request/1",
                                  "scenarios/plan_request.v1.schema.json");
}

std::string plan_request_template() {
  return R"({
  "$comment": "A request to `moesim plan`. Keys that are left out have the defaults shown; $comment keys are not read.",
  "schema": "moesim/plan_request/1",
  "name": "DeepSeek-V3 for a chat product",
  "services": [
    {
      "$comment": "Several services share the hardware. by_hour: multipliers of the load over a day (here 24 hours).",
      "name": "chat",
      "model": "deepseek_v3",
      "load": {
        "$comment": "Mean lengths in tokens; uncertainty: standard deviation of ln(real load / forecast), 0.2 is about 20%.",
        "requests_per_s": 50, "prompt_tokens": 2000, "output_tokens": 500, "cached_prompt_tokens": 0, "uncertainty": 0.2,
        "by_hour": [0.4, 0.3, 0.3, 0.3, 0.3, 0.4, 0.5, 0.7, 0.9, 1, 1, 1, 0.9, 1, 1, 1, 1, 0.9, 0.9, 0.8, 0.8, 0.7, 0.6, 0.5]
      },
      "slo": {
        "$comment": "Seconds to the first token and per output token that `quantile` of the requests must meet.",
        "ttft_s": 2, "tpot_s": 0.05, "quantile": 0.9
      },
      "routing": {"$comment": "sigma 0 is exact balance, 0.7 one domain of requests", "kind": "gumbel", "sigma": 0.3},
      "precision": {"kv_cache": "bf16"}
    }
  ],
  "hardware": [
    {
      "$comment": "Without usd_per_gpu_hour the device profile's on-demand price is used. owned_gpus cost nothing more.",
      "cluster": "cluster_h100_ib400", "max_gpus": 512, "owned_gpus": 0
    },
    {"cluster": "cluster_h200_ib400", "max_gpus": 512},
    {
      "$comment": "Prices that a profile does not have are given here, with their source.",
      "cluster": "cluster_mi300x_roce400", "max_gpus": 512, "usd_per_gpu_hour": 2.5, "price_source": "an assumption"
    }
  ],
  "search": {
    "$comment": "What is tried. Other keys: gpus_per_instance, batch_per_gpu, chunk_tokens, prompts_per_step.",
    "modes": ["aggregated", "disaggregated"], "tensor": [1, 2, 4, 8], "overlap": ["serial", "two_batch"]
  },
  "failures": {"$comment": "0: no failures", "gpu_mtbf_hours": 50000, "repair_hours": 24},
  "confidence": 0.9,
  "$comment_model_error": "Steps have bands of their own; this adds what the model leaves out, 0.25 is about 25%.",
  "model_error": 0.25,
  "seed": 1
}
)";
}

GpuPrice price_of(const HardwareChoice& hardware, const DeviceProfile& device,
                  const std::string& file) {
  if (hardware.usd_per_gpu_hour) {
    return {*hardware.usd_per_gpu_hour,
            hardware.price_source.empty() ? "the request" : hardware.price_source};
  }
  for (const GpuHourPrice& price : device.prices) {
    if (price.kind == PriceKind::on_demand) {
      return {price.usd_per_gpu_hour, price.provider + (price.provider.empty() ? "" : ", ") +
                                          price.date + ", " + price.source};
    }
  }
  throw InputError(
      file, "/hardware", "neither the request nor the profile of \"" + device.id + "\" has a price",
      "add usd_per_gpu_hour and price_source to the entry of \"" + hardware.cluster + "\"");
}

}  // namespace moesim
