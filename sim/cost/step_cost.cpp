// SPDX-License-Identifier: Apache-2.0
#include "sim/cost/step_cost.h"

#include <algorithm>
#include <cmath>

namespace moesim {

namespace {

ExchangeKernel kernel_for(DispatchKernel dispatch, Phase phase) {
  const bool is_low_latency = dispatch == DispatchKernel::low_latency ||
                              (dispatch == DispatchKernel::automatic && phase == Phase::decode);
  return is_low_latency ? ExchangeKernel::low_latency : ExchangeKernel::normal;
}

}  // namespace

/// Seconds of a run of ops on one stream, by what they were for.
struct StepCostModel::Part {
  double seconds = 0;
  std::array<double, kNumOpKinds> by_kind{};
  std::array<double, kNumOpFamilies> by_family{};
  std::array<double, 4> by_basis{};
  double flops = 0;

  void add(OpKind kind, double time, Basis basis) {
    seconds += time;
    by_kind[static_cast<std::size_t>(kind)] += time;
    by_basis[static_cast<std::size_t>(basis)] += time;
  }
  void add(const Part& other) {
    seconds += other.seconds;
    flops += other.flops;
    for (std::size_t i = 0; i < kNumOpKinds; ++i) {
      by_kind[i] += other.by_kind[i];
    }
    for (std::size_t i = 0; i < kNumOpFamilies; ++i) {
      by_family[i] += other.by_family[i];
    }
    for (std::size_t i = 0; i < by_basis.size(); ++i) {
      by_basis[i] += other.by_basis[i];
    }
  }
};

StepCostModel::StepCostModel(const Scenario& scenario, const RoutingSpec& routing)
    : template_(compile_step(scenario)),
      cost_(*scenario.device),
      collectives_(*scenario.cluster,
                   scenario.device->sm_count ? scenario.device->sm_count->value : 1,
                   scenario.spec.communication.communication_sms.value_or(-1)),
      loads_(routing, template_, collectives_.domain_gpus(),
             scenario.spec.capacity.overflow == Overflow::drop
                 ? scenario.spec.capacity.factor.value_or(0)
                 : 0),
      overlap_(scenario.spec.communication.overlap),
      dispatch_(scenario.spec.communication.dispatch),
      kernel_(kernel_for(dispatch_, scenario.spec.workload.phase)),
      host_overhead_s_(scenario.spec.runtime.host_overhead_s) {}

StepCostModel::StepCostModel(const StepCostModel& other, Phase phase) : StepCostModel(other) {
  kernel_ = kernel_for(dispatch_, phase);
}

StepCostModel::Part StepCostModel::evaluate_ops(const std::vector<TemplateOp>& ops,
                                                const StepBatch& batch) const {
  Part part;
  for (const TemplateOp& item : ops) {
    const Op op = item.bind(batch);
    const CostEstimate cost = cost_.estimate(op);
    if (cost.seconds.value() <= 0) {
      continue;
    }
    part.add(item.kind, cost.seconds.value() + cost_.launch_gap().value(), cost.basis);
    part.by_family[static_cast<std::size_t>(family_of(op))] += cost.seconds.value();
    part.flops += work_of(op).flops.value();
  }
  return part;
}

StepCostModel::Part StepCostModel::evaluate_syncs(const std::vector<TemplateSync>& syncs,
                                                  const StepBatch& batch) const {
  Part part;
  for (const TemplateSync& sync : syncs) {
    const double tokens = batch.tokens();
    if (tokens > 0) {
      part.add(OpKind::tensor_sync,
               collectives_.collective(sync.op, sync.ranks, sync.bytes_per_token * tokens).value(),
               Basis::fitted);
    }
  }
  return part;
}

void StepCostModel::add_layer(const LayerTemplate& layer, const StepBatch& whole,
                              OverlapRule overlap, StepCost& total) const {
  const bool splits =
      overlap == OverlapRule::two_batch && layer.experts && layer.experts->has_exchange;
  const double parts = splits ? 2.0 : 1.0;
  const StepBatch batch = splits ? whole.split(2.0) : whole;

  Part fixed = evaluate_ops(layer.before, batch);
  fixed.add(evaluate_syncs(layer.after_attention, batch));
  fixed.add(evaluate_ops(layer.after, batch));
  fixed.add(evaluate_syncs(layer.after_ffn, batch));
  const Part shared = evaluate_ops(layer.shared, batch);

  const auto accumulate = [&](const Part& part, double times) {
    total.seconds += Seconds(part.seconds * times);
    total.flops += part.flops * times;
    for (std::size_t i = 0; i < kNumOpKinds; ++i) {
      total.by_kind[i] += part.by_kind[i] * times;
    }
    for (std::size_t i = 0; i < kNumOpFamilies; ++i) {
      total.by_family[i] += part.by_family[i] * times;
    }
    for (std::size_t i = 0; i < total.by_basis.size(); ++i) {
      total.by_basis[i] += part.by_basis[i] * times;
    }
  };
  const double count = static_cast<double>(layer.count);
  accumulate(fixed, parts * count);
  accumulate(shared, parts * count);
  if (!layer.experts) {
    return;
  }

  const TemplateExperts& experts = *layer.experts;
  const std::int64_t distinct = loads_.layers_are_alike() ? 1 : layer.count;
  const double repeat = count / static_cast<double>(distinct);
  const double data = static_cast<double>(template_.ways.data);
  const double ranks = static_cast<double>(template_.ways.expert);
  // All tokens of the step, spread over the ranks of the exchange.
  const double tokens = batch.tokens() * data;
  for (std::int64_t i = 0; i < distinct; ++i) {
    const LayerLoad load = loads_.at(experts.first_moe_layer + i, tokens / ranks);
    MoeOp op = experts.prototype;
    op.tokens = tokens;
    op.load = load.experts;
    const CostEstimate cost = cost_.estimate(op);
    Part work;
    if (cost.seconds.value() > 0) {
      work.add(OpKind::experts, cost.seconds.value() + cost_.launch_gap().value(), cost.basis);
      work.by_family[static_cast<std::size_t>(OpFamily::grouped_gemm)] += cost.seconds.value();
      work.flops += work_of(op).flops.value();
    }
    accumulate(work, parts * repeat);
    if (!experts.has_exchange) {
      continue;
    }
    const ExchangeCost dispatch =
        collectives_.exchange(kernel_, ExchangeDirection::dispatch, load.exchange, template_.hidden,
                              experts.dispatch_format);
    const ExchangeCost combine =
        collectives_.exchange(kernel_, ExchangeDirection::combine, load.exchange, template_.hidden,
                              experts.combine_format);
    const double exchange = dispatch.seconds.value() + combine.seconds.value();
    const double taxed = dispatch.seconds.value() * dispatch.sm_fraction +
                         combine.seconds.value() * combine.sm_fraction;
    const double compute = fixed.seconds + shared.seconds + work.seconds;
    double exposed = exchange;  // seconds of the exchange, all parts together, that nothing hides
    switch (overlap) {
      case OverlapRule::serial:
        break;
      case OverlapRule::shared_expert:
        exposed = exchange - std::min(dispatch.seconds.value(), shared.seconds);
        break;
      case OverlapRule::two_batch:
        // While an exchange runs, compute advances at the share of SMs it leaves: the tax is paid
        // once per exchanged second.
        exposed = std::max(parts * taxed, parts * (exchange - compute));
        break;
      case OverlapRule::perfect:
        exposed = std::max(0.0, exchange - compute);
        break;
    }
    total.exchange += Seconds(parts * exchange * repeat);
    const double dispatch_share = exchange > 0 ? dispatch.seconds.value() / exchange : 0.0;
    total.seconds += Seconds(exposed * repeat);
    total.by_kind[static_cast<std::size_t>(OpKind::dispatch)] += exposed * dispatch_share * repeat;
    total.by_kind[static_cast<std::size_t>(OpKind::combine)] +=
        exposed * (1.0 - dispatch_share) * repeat;
    total.by_basis[static_cast<std::size_t>(Basis::fitted)] += exposed * repeat;
  }
}

StepCost StepCostModel::evaluate(const StepBatch& batch, OverlapRule overlap) const {
  StepCost total;
  LayerTemplate ends;  // embedding and head, as a layer of their own
  ends.before = template_.first;
  ends.after = template_.last;
  add_layer(ends, batch, OverlapRule::serial, total);
  for (const LayerTemplate& layer : template_.layers) {
    add_layer(layer, batch, overlap, total);
  }
  total.seconds += Seconds(host_overhead_s_);
  total.by_kind[static_cast<std::size_t>(OpKind::host)] += host_overhead_s_;
  total.by_basis[static_cast<std::size_t>(Basis::estimate)] += host_overhead_s_;
  return total;
}

}  // namespace moesim
