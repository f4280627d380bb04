// SPDX-License-Identifier: Apache-2.0
#include "sim/run/step_metrics.h"

#include <algorithm>
#include <cmath>

#include "sim/base/quantity_text.h"
#include "sim/base/random.h"
#include "sim/base/text_hash.h"

namespace moesim {
namespace {

/// Basis of a figure that mixes several: the weakest that carries at least a tenth of the time.
Basis mixed_basis(const std::array<double, 4>& by_basis) {
  double total = 0;
  for (const double share : by_basis) {
    total += share;
  }
  Basis basis = Basis::measured;
  for (std::size_t i = 0; i < by_basis.size(); ++i) {
    if (by_basis[i] >= 0.1 * total && total > 0) {
      basis = static_cast<Basis>(i);
    }
  }
  return basis;
}

/// Tokens accepted from one sequence and step: the real one and the run of right drafts, 1 + a +
/// a^2 + ... + a^d.
double accepted_tokens(const WorkloadSpec& workload) {
  double tokens = 1;
  double chance = 1;
  double drafts = workload.draft_tokens;
  while (drafts > 0) {
    chance *= workload.acceptance;
    tokens += chance * std::min(1.0, drafts);
    drafts -= 1;
  }
  return tokens;
}

void add(SimulationResult& result, std::string name, std::string unit, std::string doc,
         Metric metric) {
  result.metrics.push_back({std::move(name), std::move(unit), std::move(doc), metric});
}

void add(SimulationResult& result, std::string name, std::string unit, std::string doc,
         double value, Basis basis) {
  Metric metric;
  metric.value = value;
  metric.basis = basis;
  add(result, std::move(name), std::move(unit), std::move(doc), metric);
}

/// A step has one length: its distribution over requests is a point.
void add_point(SimulationResult& result, std::string name, std::string doc, const Metric& metric) {
  result.metrics.push_back(
      {std::move(name), "s", std::move(doc), Distribution{metric, metric, metric, metric}});
}

constexpr double kExtrapolatedShare = 0.1;  // of the step's time, from which figures are marked

/// Makes figures that go with the step's time or its inverse: same band in log space.
class TimedFigure {
 public:
  TimedFigure(const StepOutcome& outcome, Basis basis)
      : factor_(portable_exp(outcome.band.log_half_width)),
        basis_(basis),
        extrapolated_(outcome.band.extrapolated_s > kExtrapolatedShare * outcome.seconds.value()) {}

  Metric operator()(double value) const {
    Metric metric;
    metric.value = value;
    metric.basis = basis_;
    metric.extrapolated = extrapolated_;
    if (factor_ > 1.0) {
      metric.low = value / factor_;
      metric.high = value * factor_;
    }
    return metric;
  }

 private:
  double factor_;
  Basis basis_;
  bool extrapolated_;
};

void add_feasibility(SimulationResult& result, const Scenario& scenario, const MemoryBudget& memory,
                     const StepBatch& batch) {
  if (memory.total <= memory.available) {
    return;
  }
  result.feasibility.ok = false;
  result.feasibility.reasons.push_back(
      "out of memory: a GPU needs " + quantity_text(memory.total) + " and " +
      quantity_text(memory.available) + " may be planned for (" +
      quantity_text(scenario.device->memory.value) + " times /runtime/memory_utilisation " +
      number_text(scenario.spec.runtime.memory_utilisation) + "); " +
      quantity_text(memory.total - memory.available) + " are missing");
  const auto largest =
      std::max_element(memory.kinds.begin(), memory.kinds.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  std::string hint = "largest part: " + largest->first + ", " + quantity_text(largest->second);
  const double context =
      std::max(1.0, batch.decode_sequences > 0 ? batch.decode_context : batch.prefill_new_tokens);
  const double replica_gpus =
      static_cast<double>(scenario.ways.gpus) / static_cast<double>(scenario.ways.data);
  const double sequences = std::floor(memory.kv_cache_tokens / context) / replica_gpus;
  if (memory.kv_cache_tokens > 0 && sequences > 0) {
    hint +=
        "; what would fit: /workload/batch_per_gpu " + number_text(sequences) + " at this context";
  } else {
    hint +=
        "; no batch fits: use more GPUs, smaller weights (/precision/weights), or GPUs with more "
        "memory";
  }
  result.feasibility.reasons.push_back(hint);
}

void add_cost_metrics(SimulationResult& result, const Scenario& scenario, double step_s,
                      double tokens, const TimedFigure& timed) {
  const double gpus = static_cast<double>(scenario.ways.gpus);
  if (tokens <= 0) {
    return;
  }
  for (const GpuHourPrice& price : scenario.device->prices) {
    if (price.kind == PriceKind::on_demand) {
      add(result, "usd_per_million_output_tokens", "usd", price_text(price),
          timed(price.usd_per_gpu_hour / 3600.0 * gpus * step_s / tokens * 1e6));
      break;
    }
  }
  if (scenario.device->power) {
    add(result, "joules_per_output_token", "j", "at board power: an upper bound",
        timed(scenario.device->power->value.value() * gpus * step_s / tokens));
  }
}

}  // namespace

std::string price_text(const GpuHourPrice& price) {
  return "at " + number_text(price.usd_per_gpu_hour) + " USD an hour (" +
         (price.provider.empty() ? "" : price.provider + " ") + price.date + ")";
}

double output_tokens(const Scenario& scenario, const StepBatch& batch) {
  return batch.decode_sequences * accepted_tokens(scenario.spec.workload) *
         static_cast<double>(scenario.ways.data);
}

double input_tokens(const Scenario& scenario, const StepBatch& batch) {
  return batch.prefill_sequences * batch.prefill_new_tokens *
         static_cast<double>(scenario.ways.data);
}

void add_expected_loads(StepOutcome& outcome, const StepCostModel& model, const StepBatch& batch) {
  const StepTemplate& step = model.step_template();
  if (step.num_moe_layers == 0) {
    return;
  }
  const bool has_exchange = step.ways.data > 1;
  const double parts = model.overlap() == OverlapRule::two_batch && has_exchange ? 2.0 : 1.0;
  const double tokens = batch.tokens() * static_cast<double>(step.ways.data) / parts;
  const std::int64_t layers = model.loads().layers_are_alike() ? 1 : step.num_moe_layers;
  double rank = 0;
  double expert = 0;
  double active = 0;
  double remote_copies = 0;
  double dropped = 0;
  double rerouted = 0;
  double padding = 0;
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    const LoadProfile profile = model.loads().profile(layer, tokens);
    rank += profile.rank_max_over_mean();
    expert += profile.expert_max_over_mean();
    active += profile.active_experts;
    const LayerLoad load =
        model.loads().at(layer, tokens / static_cast<double>(model.loads().ranks()));
    dropped += load.dropped_fraction;
    rerouted += load.rerouted_fraction;
    padding += load.padding_fraction;
    remote_copies += sends_rank_copies(model.exchange_kernel()) ? load.exchange.node_copies
                                                                : load.exchange.remote_selections;
  }
  const double count = static_cast<double>(layers);
  outcome.rank_max_over_mean = rank / count;
  outcome.expert_max_over_mean = expert / count;
  outcome.active_experts = active / count;
  outcome.dropped_fraction = dropped / count;
  outcome.rerouted_fraction = rerouted / count;
  outcome.padding_fraction = padding / count;
  if (has_exchange) {
    for (const LayerTemplate& layer : step.layers) {
      if (layer.experts) {
        const double copy =
            copy_bytes(step.hidden, layer.experts->dispatch_format, Bytes(0)).value() +
            copy_bytes(step.hidden, layer.experts->combine_format, Bytes(0)).value();
        outcome.nic_bytes +=
            remote_copies / count * parts * copy * static_cast<double>(layer.count);
      }
    }
  }
}

void add_breakdown(SimulationResult& result, const std::array<double, kNumOpKinds>& by_kind,
                   const std::array<double, 4>& by_basis) {
  result.breakdown.reserve(kNumOpKinds);
  for (const Choice<OpKind>& kind : choices_of(OpKind{})) {
    const double seconds = by_kind[static_cast<std::size_t>(kind.value)];
    if (seconds > 0) {
      result.breakdown.push_back({std::string(kind.name), std::string(kind.doc), seconds});
    }
  }
  double total = 0;
  for (const double seconds : by_basis) {
    total += seconds;
  }
  for (const Choice<Basis>& choice : choices_of(Basis{})) {
    const double share = by_basis[static_cast<std::size_t>(choice.value)] / total;
    if (share > 0) {
      result.basis_share.emplace_back(choice.name, share);
    }
  }
}

void add_step_metrics(SimulationResult& result, const Scenario& scenario,
                      const StepCostModel& model, const StepBatch& batch,
                      const StepOutcome& outcome, const MemoryBudget& memory) {
  const double gpus = static_cast<double>(scenario.ways.gpus);
  const double step_s = outcome.seconds.value();
  const TimedFigure timed(outcome, mixed_basis(outcome.by_basis));
  const double out = output_tokens(scenario, batch);
  const double in = input_tokens(scenario, batch);
  const bool has_experts = model.step_template().num_moe_layers > 0;
  result.metrics.reserve(24);  // a step has fewer

  add_point(result, "step_s", "time of one engine step", timed(step_s));
  if (out > 0) {
    add(result, "output_tokens_per_s_per_gpu", "", "tokens generated", timed(out / step_s / gpus));
    add_point(
        result, "tpot_s", "time per output token of a sequence",
        timed(step_s / (out / (batch.decode_sequences * static_cast<double>(scenario.ways.data)))));
  }
  if (in > 0) {
    add(result, "input_tokens_per_s_per_gpu", "", "prompt tokens read", timed(in / step_s / gpus));
    add_point(result, "ttft_s",
              "time to first token without queueing: the step that reads the prompt",
              timed(step_s));
  }
  const NumberFormat format =
      has_experts
          ? compute_format(scenario.spec.precision.experts.value_or(
                scenario.spec.precision.weights.value_or(scenario.model->weights.routed_experts)))
          : compute_format(
                scenario.spec.precision.weights.value_or(scenario.model->weights.dense_ffn));
  add(result, "mfu", "fraction", "of the " + choice_name(format) + " peak, busiest",
      timed(outcome.flops_per_gpu / step_s / model.cost_model().peak(format).value()));
  if (has_experts) {
    add(result, "rank_load_max_over_mean", "", "busiest GPU over the mean, mean over layers",
        outcome.rank_max_over_mean, Basis::estimate);
    add(result, "expert_load_max_over_mean", "", "hottest expert over the mean, mean over layers",
        outcome.expert_max_over_mean, Basis::estimate);
    add(result, "activated_experts_mean", "", "experts of a layer that get a token",
        outcome.active_experts, Basis::estimate);
    if (scenario.spec.capacity.factor) {
      add(result, "dropped_token_fraction", "fraction", "selections dropped at full experts",
          outcome.dropped_fraction, Basis::estimate);
    }
  }
  if (outcome.flows && !outcome.flows->busiest.empty()) {
    MetricGroup links;
    for (const auto& [kind, busiest] : outcome.flows->busiest) {
      Metric metric;
      metric.value = busiest.second;
      metric.basis = mixed_basis(outcome.by_basis);
      links.emplace_back(kind, metric);
    }
    result.metrics.push_back({"link_utilisation", "fraction",
                              "busiest link of each kind, mean over the step", std::move(links)});
  } else if (outcome.nic_bytes > 0) {
    const NodeGroup& node = scenario.cluster->node_groups.front();
    const double nic = node.nics.rate.value.value() * static_cast<double>(node.nics.per_node) /
                       static_cast<double>(node.gpus_per_node);
    const Metric metric = timed(outcome.nic_bytes / step_s / nic);
    result.metrics.push_back({"link_utilisation", "fraction",
                              "of the busiest GPU's line rate, mean over the step",
                              MetricGroup{{"nic", metric}}});
  }
  MetricGroup kinds;
  kinds.reserve(memory.kinds.size());
  for (const auto& [kind, bytes] : memory.kinds) {
    Metric metric;
    metric.value = bytes.value();
    metric.basis = kind == "activations" || kind == "runtime" || kind == "communication_buffers"
                       ? Basis::estimate
                       : Basis::datasheet;
    if (bytes.value() > 0) {
      kinds.emplace_back(kind, metric);
    }
  }
  result.metrics.push_back(
      {"memory_bytes", "bytes", "on the fullest GPU, by kind", std::move(kinds)});
  if (memory.kv_cache_tokens > 0) {
    add(result, "kv_cache_tokens", "", "that fit the cache of one attention replica",
        std::floor(memory.kv_cache_tokens), Basis::estimate);
  }
  add_cost_metrics(result, scenario, step_s, out, timed);

  add_breakdown(result, outcome.by_kind, outcome.by_basis);
  add_feasibility(result, scenario, memory, batch);
}

}  // namespace moesim
