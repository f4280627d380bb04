// SPDX-License-Identifier: Apache-2.0
#include "sim/study/diagnose.h"

#include <tbb/parallel_for.h>
#include <algorithm>
#include <cmath>
#include <functional>

#include "sim/base/error.h"
#include "sim/run/simulate.h"
#include "sim/study/measured_load.h"

namespace moesim {
namespace {

// Half-width of a prediction without a band, log space: the median error of zero-shot predictions
// is near 10%, 80% lie within about twice that. Estimate.
constexpr double kDefaultHalfWidth = 0.15;
// A cause must explain about a third of a half-width to be named.
constexpr double kPrice = 0.7;
// Causes whose size nobody knows are simulated at a size that is bad but seen: two fifths of a
// rail's rate, 5 ms of host time a step, a fifth of the clock, half the cache. Estimates.
constexpr double kSlowRail = 0.4;
constexpr double kHostSeconds = 5e-3;
constexpr double kLowClock = 0.8;
constexpr double kSmallCache = 0.5;

struct Cause {
  const char* name;
  const char* change;
  bool (*applies)(const Scenario& scenario);
  void (*apply)(Scenario& scenario);
};

bool is_serving(const Scenario& scenario) {
  return scenario.spec.workload.kind == WorkloadKind::serving;
}

bool has_experts(const Scenario& scenario) {
  return std::any_of(scenario.model->layers.begin(), scenario.model->layers.end(),
                     [](const LayerClass& layer) { return layer.ffn.kind == FfnKind::moe; });
}

void slow_rail(Scenario& scenario) {
  auto cluster = std::make_shared<ClusterProfile>(*scenario.cluster);
  for (NodeGroup& group : cluster->node_groups) {
    group.nics.rate.value = group.nics.rate.value * kSlowRail;
    if (group.nics.achieved) {
      group.nics.achieved->value = group.nics.achieved->value * kSlowRail;
    }
  }
  for (CollectiveFit& fit : cluster->collectives) {
    if (fit.scope == CollectiveScope::scale_out) {
      fit.rate = fit.rate * kSlowRail;
    }
  }
  if (cluster->expert_kernels) {
    for (LowLatencyExchange* kernel : {&cluster->expert_kernels->low_latency.dispatch,
                                       &cluster->expert_kernels->low_latency.combine}) {
      kernel->nic_rate = kernel->nic_rate * kSlowRail;
    }
    for (NormalExchange* kernel :
         {&cluster->expert_kernels->normal.dispatch, &cluster->expert_kernels->normal.combine}) {
      kernel->nic_rate = kernel->nic_rate * kSlowRail;
    }
  }
  scenario.cluster = std::move(cluster);
}

void low_clock(Scenario& scenario) {
  auto device = std::make_shared<DeviceProfile>(*scenario.device);
  PeakFlops& peak = device->peak;
  for (std::optional<Sourced<FlopsPerSecond>>* rate :
       {&peak.fp64, &peak.fp32, &peak.tf32, &peak.bf16, &peak.fp16, &peak.fp8, &peak.int8,
        &peak.fp6, &peak.fp4, &peak.int4}) {
    if (*rate) {
      (*rate)->value = (*rate)->value * kLowClock;
    }
  }
  scenario.device = std::move(device);
}

/// Half of what the run had; the caller measured that (0: unknown).
void small_cache(Scenario& scenario) {
  if (scenario.spec.serving.kv_cache_tokens) {
    scenario.spec.serving.kv_cache_tokens = *scenario.spec.serving.kv_cache_tokens * kSmallCache;
  }
}

constexpr Cause kCauses[] = {
    {"CUDA graphs are off", "/serving/cuda_graphs = false",
     [](const Scenario& s) { return is_serving(s) && s.spec.serving.cuda_graphs.value_or(true); },
     [](Scenario& s) { s.spec.serving.cuda_graphs = false; }},
    {"experts are skewed", "/routing/sigma = 1.1 (DeepSeek-R1 in decode)",
     [](const Scenario& s) {
       return has_experts(s) && s.ways.expert > 1 && s.spec.routing.trace.empty() &&
              !(s.spec.routing.kind == RoutingModel::gumbel && s.spec.routing.sigma >= 1.1);
     },
     [](Scenario& s) {
       s.spec.routing.kind = RoutingModel::gumbel;
       s.spec.routing.sigma = 1.1;
     }},
    {"the network is slow", "every network card at 0.4 of its rate",
     [](const Scenario& s) { return s.spec.nodes > 1; }, slow_rail},
    {"the host is slow", "/runtime/host_overhead_s + 5 ms", [](const Scenario&) { return true; },
     [](Scenario& s) { s.spec.runtime.host_overhead_s += kHostSeconds; }},
    {"the cache limits the batch", "/serving/kv_cache_tokens halved",
     [](const Scenario& s) { return is_serving(s); }, small_cache},
    {"clocks are low", "arithmetic at 0.8 of the peak", [](const Scenario&) { return true; },
     low_clock},
    {"communication is not hidden", "/communication/overlap = serial",
     [](const Scenario& s) {
       return s.spec.communication.overlap != OverlapRule::serial && s.ways.data > 1 &&
              s.ways.expert > 1;
     },
     [](Scenario& s) { s.spec.communication.overlap = OverlapRule::serial; }},
    {"prompts are not chunked", "/serving/chunked_prefill = false",
     [](const Scenario& s) {
       return is_serving(s) && s.spec.serving.engine != EnginePreset::tensorrt_llm &&
              s.spec.serving.chunked_prefill.value_or(true);
     },
     [](Scenario& s) { s.spec.serving.chunked_prefill = false; }},
    {"prefix hits are missing", "/serving/prefix_cache = false",
     [](const Scenario& s) {
       return is_serving(s) && s.spec.serving.prefix_cache &&
              s.spec.workload.shared_prefix_tokens > 0;
     },
     [](Scenario& s) { s.spec.serving.prefix_cache = false; }},
    {"drafts are refused", "/workload/acceptance = 0.3",
     [](const Scenario& s) {
       return s.spec.workload.draft_tokens > 0 && s.spec.workload.acceptance > 0.3;
     },
     [](Scenario& s) { s.spec.workload.acceptance = 0.3; }},
};

const Metric* metric_of(const SimulationResult& result, const std::string& name) {
  const NamedMetric* named = result.find(name);
  if (named == nullptr) {
    return nullptr;
  }
  if (const auto* distribution = std::get_if<Distribution>(&named->value)) {
    return &distribution->mean;
  }
  return std::get_if<Metric>(&named->value);
}

/// Predicted values of `points` that belong to `row`, in order; nothing where the run fails.
void fill(const SimulationResult& result, const std::string& row,
          const std::vector<MeasuredPoint>& points, std::vector<double>& values) {
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (points[i].row == row) {
      const Metric* metric = metric_of(result, points[i].quantity);
      values[i] = metric == nullptr || metric->value <= 0 ? points[i].predicted : metric->value;
    }
  }
}

/// Strengths in [0, 1] by coordinate descent; the problem is convex, so it ends where it must.
std::vector<double> fit_strengths(const std::vector<std::vector<double>>& effects,
                                  const std::vector<double>& residual,
                                  const std::vector<double>& sigma) {
  std::vector<double> strength(effects.size(), 0.0);
  std::vector<double> left = residual;
  for (int round = 0; round < 500; ++round) {
    double moved = 0;
    for (std::size_t c = 0; c < effects.size(); ++c) {
      double along = 0;
      double norm = 0;
      for (std::size_t i = 0; i < left.size(); ++i) {
        const double effect = effects[c][i] / sigma[i];
        along += effect * (left[i] / sigma[i] + effect * strength[c]);
        norm += effect * effect;
      }
      if (norm <= 0) {
        continue;
      }
      const double next = std::clamp((along - kPrice / 2 * std::sqrt(norm)) / norm, 0.0, 1.0);
      const double change = next - strength[c];
      strength[c] = next;
      moved = std::max(moved, std::fabs(change));
      for (std::size_t i = 0; i < left.size(); ++i) {
        left[i] -= change * effects[c][i];
      }
    }
    if (moved < 1e-9) {
      break;
    }
  }
  return strength;
}

class Diagnosing {
 public:
  Diagnosing(const ScenarioSpec& spec, const std::string& file, const CardLibrary& cards)
      : spec_(spec), file_(file), cards_(cards) {}

  Diagnosis run(const std::vector<ServingMeasurement>& rows, const std::string& experts_file) {
    predict(rows);
    std::vector<double> residual;
    std::vector<double> sigma;
    for (const MeasuredPoint& point : result_.points) {
      residual.push_back(std::log(point.measured / point.predicted));
      sigma.push_back(point.low && point.high && *point.low > 0
                          ? std::max(0.02, std::log(*point.high / *point.low) / 2)
                          : kDefaultHalfWidth);
    }
    if (!experts_file.empty()) {
      spec_.routing.kind = RoutingModel::counts;
      spec_.routing.trace = experts_file;
      DiagnosedCause cause;
      cause.name = "experts as recorded";
      cause.change = "/routing/kind = counts, /routing/trace = " + experts_file;
      cause.evidence = true;
      cause.strength = 1;
      cause.log_effect = effect_of([](Scenario&) {});
      for (std::size_t i = 0; i < residual.size(); ++i) {
        residual[i] -= cause.log_effect[i];
        base_[i] *= std::exp(cause.log_effect[i]);
      }
      result_.causes.push_back(std::move(cause));
    }
    std::vector<const Cause*> tried;
    std::vector<std::vector<double>> effects;
    const Scenario scenario = resolve(spec_, cards_, file_);
    for (const Cause& cause : kCauses) {
      if (cause.applies(scenario)) {
        tried.push_back(&cause);
        effects.push_back(effect_of(cause.apply));
      }
    }
    const std::vector<double> strength = fit_strengths(effects, residual, sigma);
    for (std::size_t c = 0; c < tried.size(); ++c) {
      if (strength[c] < 0.01) {
        result_.ruled_out.push_back(tried[c]->name);
        continue;
      }
      DiagnosedCause cause{tried[c]->name, tried[c]->change, false, strength[c], {}};
      for (std::size_t i = 0; i < residual.size(); ++i) {
        cause.log_effect.push_back(strength[c] * effects[c][i]);
        residual[i] -= cause.log_effect.back();
      }
      result_.causes.push_back(std::move(cause));
    }
    std::stable_sort(result_.causes.begin(), result_.causes.end(),
                     [](const DiagnosedCause& a, const DiagnosedCause& b) {
                       const auto size = [](const DiagnosedCause& cause) {
                         double sum = 0;
                         for (const double effect : cause.log_effect) {
                           sum += std::fabs(effect);
                         }
                         return sum;
                       };
                       return a.evidence != b.evidence ? a.evidence : size(a) > size(b);
                     });
    result_.log_unexplained = residual;
    return std::move(result_);
  }

 private:
  SimulationResult simulate_row(const ServingMeasurement& row,
                                const std::function<void(Scenario&)>& change) const {
    Scenario scenario = resolve(at_measured_load(spec_, row), cards_, file_);
    if (cache_tokens_ > 0) {
      scenario.spec.serving.kv_cache_tokens = cache_tokens_;
    }
    change(scenario);
    return simulate(scenario, {.what_ifs = false, .threads = 1});
  }

  /// Points that both sides have, and their predictions.
  void predict(const std::vector<ServingMeasurement>& rows) {
    for (const ServingMeasurement& row : rows) {
      const SimulationResult predicted = simulate_row(row, [](Scenario&) {});
      if (!predicted.feasibility.ok) {
        result_.notes.push_back(
            row.id + ": predicted to be impossible: " + predicted.feasibility.reasons.front());
        continue;
      }
      if (cache_tokens_ <= 0 && spec_.workload.kind == WorkloadKind::serving) {
        if (const Metric* tokens = metric_of(predicted, "kv_cache_tokens")) {
          cache_tokens_ = tokens->value;
        }
      }
      bool any = false;
      const auto add = [&](const char* quantity, const std::optional<double>& measured) {
        const Metric* metric = metric_of(predicted, quantity);
        if (measured && metric != nullptr && metric->value > 0) {
          result_.points.push_back(
              {row.id, quantity, *measured, metric->value, metric->low, metric->high});
          any = true;
        }
      };
      add("tpot_s", row.tpot_s);
      add("ttft_s", row.ttft_s);
      add("output_tokens_per_s_per_gpu", row.output_rate);
      if (any) {
        rows_.push_back(row);
      }
    }
    if (result_.points.empty()) {
      throw InputError(file_, "", "no measured row has a figure that this scenario predicts",
                       "TPOT, TTFT or output tokens/s/GPU of this deployment");
    }
    for (const MeasuredPoint& point : result_.points) {
      base_.push_back(point.predicted);
    }
  }

  /// log(with the change / before it) of every point.
  std::vector<double> effect_of(const std::function<void(Scenario&)>& change) const {
    std::vector<double> values = base_;
    std::vector<SimulationResult> results(rows_.size());
    tbb::parallel_for(std::size_t{0}, rows_.size(),
                      [&](std::size_t i) { results[i] = simulate_row(rows_[i], change); });
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      if (results[i].feasibility.ok) {
        fill(results[i], rows_[i].id, result_.points, values);
      }
    }
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = std::log(values[i] / base_[i]);
    }
    return values;
  }

  ScenarioSpec spec_;
  const std::string& file_;
  const CardLibrary& cards_;
  double cache_tokens_ = 0;
  std::vector<ServingMeasurement> rows_;
  std::vector<double> base_;  ///< predictions that effects are relative to
  Diagnosis result_;
};

}  // namespace

Diagnosis diagnose(const ScenarioSpec& spec, const std::string& file,
                   const std::vector<ServingMeasurement>& rows, const std::string& experts_file,
                   const CardLibrary& cards) {
  return Diagnosing(spec, file, cards).run(rows, experts_file);
}

Json to_json(const Diagnosis& diagnosis) {
  Json json(Json::Object{{"schema", "moesim/diagnosis/1"}});
  Json points = Json::array();
  for (std::size_t i = 0; i < diagnosis.points.size(); ++i) {
    const MeasuredPoint& point = diagnosis.points[i];
    Json item(Json::Object{{"row", point.row},
                           {"quantity", point.quantity},
                           {"predicted", point.predicted},
                           {"measured", point.measured}});
    if (point.low && point.high) {
      item.set("low", *point.low);
      item.set("high", *point.high);
    }
    Json steps = Json::array();
    double value = point.predicted;
    for (const DiagnosedCause& cause : diagnosis.causes) {
      const double next = value * std::exp(cause.log_effect[i]);
      steps.push_back(Json(Json::Object{
          {"cause", cause.name}, {"strength", cause.strength}, {"change", next - value}}));
      value = next;
    }
    item.set("waterfall", std::move(steps));
    item.set("unexplained", point.measured - value);
    points.push_back(std::move(item));
  }
  json.set("points", std::move(points));
  Json causes = Json::array();
  for (const DiagnosedCause& cause : diagnosis.causes) {
    causes.push_back(Json(Json::Object{{"cause", cause.name},
                                       {"simulated", cause.change},
                                       {"evidence", cause.evidence},
                                       {"strength", cause.strength}}));
  }
  json.set("causes", std::move(causes));
  Json out = Json::array();
  for (const std::string& name : diagnosis.ruled_out) {
    out.push_back(name);
  }
  json.set("explain_nothing", std::move(out));
  return json;
}

}  // namespace moesim
