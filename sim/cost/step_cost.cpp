// SPDX-License-Identifier: Apache-2.0
#include "sim/cost/step_cost.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "sim/cost/device_peaks.h"
#include "sim/cost/step_part.h"
#include "sim/cost/step_plan.h"
#include "sim/cost/two_batch.h"

namespace moesim {
namespace {

// 80% half-widths of communication, log space. Fits of exchange kernels miss multi-node rows by
// 3.0-5.4% (PHYSICS.md section 2) on the fabric they were fitted to; another fabric is taken as
// twice that. Two-parameter lines of collectives miss by 10-29% between 1 and 16 MiB. Estimates.
constexpr double kExchangeError = 0.10;
constexpr double kSyncError = 0.20;
// Everything on a machine together: eight 8 x H100 systems with the same software differ by 3.6% in
// throughput (MLPerf Inference v4.1, Mixtral 8x7B).
constexpr double kMachineError = 0.036;

ExchangeKernel kernel_for(DispatchKernel dispatch, Phase phase) {
  switch (dispatch) {
    case DispatchKernel::low_latency:
      return ExchangeKernel::low_latency;
    case DispatchKernel::normal:
      return ExchangeKernel::normal;
    case DispatchKernel::nvlink_one_sided:
      return ExchangeKernel::nvlink_one_sided;
    case DispatchKernel::nvlink_two_sided:
      return ExchangeKernel::nvlink_two_sided;
    case DispatchKernel::automatic:
      break;
  }
  return phase == Phase::decode ? ExchangeKernel::low_latency : ExchangeKernel::normal;
}

}  // namespace

double ErrorSource::half_width_s() const { return std::sqrt(shared_s * shared_s + own_squared); }

/// One pass over the template; the band is collected when `band` is given, and single ops when
/// `ops` is.
class StepCostModel::Evaluation {
 public:
  Evaluation(const StepCostModel& model, const StepBatch& batch, OverlapRule overlap,
             StepBand* band, std::vector<ExposedOp>* ops = nullptr)
      : model_(model),
        plan_(*model.plan_),
        overlap_(overlap),
        band_(band),
        ops_(ops),
        memo_(CostMemo::of_thread()),
        whole_(batch),
        half_(batch.split(2.0)),
        points_(2 * plan_.shapes.size()) {}

  StepCost run() {
    const StepTemplate& step = model_.template_;
    expect(plan_.ends, false);
    for (std::size_t i = 0; i < step.layers.size(); ++i) {
      expect(plan_.layers[i], splits(step.layers[i], overlap_));
    }
    LayerTemplate no_layer;
    add_layer(no_layer, plan_.ends, OverlapRule::serial);
    for (std::size_t i = 0; i < step.layers.size(); ++i) {
      add_layer(step.layers[i], plan_.layers[i], overlap_);
    }
    total_.seconds += Seconds(model_.host_overhead_s_);
    total_.by_kind[static_cast<std::size_t>(OpKind::host)] += model_.host_overhead_s_;
    total_.by_basis[static_cast<std::size_t>(Basis::estimate)] += model_.host_overhead_s_;
    if (band_ != nullptr) {
      finish_band();
    }
    return total_;
  }

 private:
  /// An op of one shape for one batch: evaluated when first used.
  struct Point {
    CostEstimate cost;
    double flops = 0;
    double exposed_s = 0;  ///< over all layers, weighted by the step's sensitivity
    OpFamily family = OpFamily::gemm;
    bool known = false;
    bool has_key = false;
    MemoKey key;  ///< of the estimate
  };

  static bool splits(const LayerTemplate& layer, OverlapRule overlap) {
    return overlap == OverlapRule::two_batch && layer.experts && layer.experts->has_exchange;
  }

  /// The op's estimate and FLOPs, both 0 for an op without rows.
  RememberedCost make(const Op& op, const CurvePick& curve) const {
    RememberedCost made;
    made.cost = band_ != nullptr ? model_.cost_.estimate(op, curve) : model_.cost_.point(op, curve);
    made.flops = made.cost.seconds.value() > 0 ? work_of(op).flops.value() : 0.0;
    return made;
  }

  MemoKey key_of(const Op& op, const Plan::Pick& pick) const {
    MemoKey key = pick.key;
    key.add(std::uint64_t{band_ != nullptr}).add(op);
    return key;
  }

  RememberedCost estimate(const MoeOp& moe, const Plan::Pick& pick) const {
    const Op op = moe;
    // The physical form is no slower than looking it up; experts of two formats take a part from
    // it.
    if (pick.curve.curve == nullptr || moe.load.cold_experts > 0) {
      return make(op, pick.curve);
    }
    return memo_.get(key_of(op, pick), [&] { return make(op, pick.curve); });
  }

  /// Has the remembered estimates of a layer's shapes on their way before the first is used.
  void expect(const Plan::Layer& uses, bool halved) {
    for (const std::vector<Plan::Use>* list : {&uses.before, &uses.shared, &uses.after}) {
      for (const Plan::Use& use : *list) {
        Point& point = points_[2 * use.shape + (halved ? 1 : 0)];
        const Plan::Shape& entry = plan_.shapes[use.shape];
        if (!point.has_key && entry.pick.curve.curve != nullptr) {
          point.key = key_of(entry.item.bind(halved ? half_ : whole_), entry.pick);
          point.has_key = true;
          memo_.expect(point.key);
        }
      }
    }
  }

  Point& point(std::size_t shape, bool halved) {
    Point& point = points_[2 * shape + (halved ? 1 : 0)];
    if (!point.known) {
      const Plan::Shape& entry = plan_.shapes[shape];
      const auto evaluated = [&] {
        return make(entry.item.bind(halved ? half_ : whole_), entry.pick.curve);
      };
      const RememberedCost known = point.has_key ? memo_.get(point.key, evaluated) : evaluated();
      point.known = true;
      point.family = entry.family;
      point.cost = known.cost;
      point.flops = known.flops;
    }
    return point;
  }

  void add_ops(Part& part, const std::vector<Plan::Use>& uses, bool halved) {
    for (const Plan::Use& use : uses) {
      const Point& one = point(use.shape, halved);
      const double seconds = one.cost.seconds.value();
      part.add(use.kind, seconds, one.cost.basis);
      part.by_family[static_cast<std::size_t>(one.family)] += seconds;
      part.flops += one.flops;
    }
  }

  /// Returns the seconds of the collectives.
  double add_syncs(Part& part, const std::vector<TemplateSync>& syncs, const StepBatch& batch) {
    double sum = 0;
    const double tokens = batch.tokens();
    for (const TemplateSync& sync : syncs) {
      if (tokens > 0) {
        const double seconds =
            model_.collectives_.collective(sync.op, sync.ranks, sync.bytes_per_token * tokens)
                .value();
        part.add(OpKind::tensor_sync, seconds, Basis::fitted);
        sum += seconds;
      }
    }
    return sum;
  }

  void expose(const std::vector<Plan::Use>& uses, bool halved, double times) {
    for (const Plan::Use& use : uses) {
      Point& one = point(use.shape, halved);
      one.exposed_s += one.cost.seconds.value() * times;
    }
  }

  void add_layer(const LayerTemplate& layer, const Plan::Layer& uses, OverlapRule overlap) {
    const bool halved = splits(layer, overlap);
    const double parts = halved ? 2.0 : 1.0;
    const StepBatch& batch = halved ? half_ : whole_;
    const double count = static_cast<double>(layer.count);

    Part fixed;
    add_ops(fixed, uses.before, halved);
    double sync_s = add_syncs(fixed, layer.after_attention, batch);
    add_ops(fixed, uses.after, halved);
    sync_s += add_syncs(fixed, layer.after_ffn, batch);
    Part shared;
    add_ops(shared, uses.shared, halved);
    accumulate(total_, fixed, parts * count);
    accumulate(total_, shared, parts * count);

    double fixed_times = parts * count;
    double shared_times = parts * count;
    if (layer.experts) {
      fixed_times = 0;
      shared_times = 0;
      add_experts(layer, uses.experts, overlap, parts, batch, fixed, shared, fixed_times,
                  shared_times);
    }
    if (band_ != nullptr) {
      expose(uses.before, halved, fixed_times);
      expose(uses.after, halved, fixed_times);
      expose(uses.shared, halved, shared_times);
      band_->sync.exposed_s += sync_s * fixed_times;
    }
  }

  /// Routed experts and exchanges of all layers of a class; adds to `fixed_times` and
  /// `shared_times` how many times the step feels the seconds of the class's other ops.
  void add_experts(const LayerTemplate& layer, const Plan::Pick& pick, OverlapRule overlap,
                   double parts, const StepBatch& batch, const Part& fixed, const Part& shared,
                   double& fixed_times, double& shared_times) {
    const TemplateExperts& experts = *layer.experts;
    const StepTemplate& step = model_.template_;
    const std::int64_t distinct = model_.loads_.layers_are_alike() ? 1 : layer.count;
    const double repeat = parts * static_cast<double>(layer.count) / static_cast<double>(distinct);
    const double ranks = static_cast<double>(step.ways.expert);
    // All tokens of the step, spread over the ranks of the exchange.
    const double tokens = batch.tokens() * static_cast<double>(step.ways.data);
    ErrorSource error;  // own errors add up first: all layers of the class are one shape
    double own_s = 0;
    for (std::int64_t i = 0; i < distinct; ++i) {
      const LayerLoad load = model_.loads_.at(experts.first_moe_layer + i, tokens / ranks);
      MoeOp op = experts.prototype;
      op.tokens = tokens;
      op.arriving = experts.has_exchange ? load.exchange.rank_copies : 0.0;
      op.load = load.experts;
      const RememberedCost known = estimate(op, pick);
      const CostEstimate& cost = known.cost;
      Part work;
      if (cost.seconds.value() > 0) {
        work.add(OpKind::experts, cost.seconds.value(), cost.basis);
        work.by_family[static_cast<std::size_t>(OpFamily::grouped_gemm)] += cost.seconds.value();
        work.flops += known.flops;
      }
      accumulate(total_, work, repeat);
      PeriodWeights weight;
      if (experts.has_exchange) {
        HalfBatch half;
        half.before = fixed.seconds;
        half.experts = work.seconds;
        half.shared = shared.seconds;
        weight = add_exchange(experts, load, overlap, repeat, half);
      }
      fixed_times += repeat * weight.fixed;
      shared_times += repeat * weight.shared;
      const double exposed = work.seconds * repeat * weight.experts;
      if (ops_ != nullptr) {
        ops_->push_back({op, pick.curve, OpKind::experts, cost, exposed});
      }
      error.exposed_s += exposed;
      error.shared_s += exposed * cost.shared_uncertainty;
      own_s += exposed * cost.own_uncertainty;
      if (band_ != nullptr && pick.curve.curve != nullptr && !cost.in_range) {
        band_->extrapolated_s += exposed;
      }
    }
    if (band_ != nullptr) {
      ErrorSource& family = band_->families[static_cast<std::size_t>(OpFamily::grouped_gemm)];
      family.exposed_s += error.exposed_s;
      family.shared_s += error.shared_s;
      family.own_squared += own_s * own_s;
    }
  }

  /// Dispatch and combine of one part of one layer, `repeat` times; `half` has the compute that may
  /// hide them.
  PeriodWeights add_exchange(const TemplateExperts& experts, const LayerLoad& load,
                             OverlapRule overlap, double repeat, HalfBatch half) {
    const double compute = half.compute();
    const double hidden = model_.template_.hidden;
    const ExchangeCost dispatch =
        model_.collectives_.exchange(model_.kernel_, ExchangeDirection::dispatch, load.exchange,
                                     hidden, experts.dispatch_format);
    const ExchangeCost combine = model_.collectives_.exchange(
        model_.kernel_, ExchangeDirection::combine, load.exchange, hidden, experts.combine_format);
    const double out_s = dispatch.seconds.value();
    const double back_s = combine.seconds.value();
    const double exchange = out_s + back_s;
    double exposed = exchange;  // seconds that nothing hides
    PeriodWeights weight;
    const auto communication_decides = [&] { weight = {0, 0, 0, 1, 1}; };
    switch (overlap) {
      case OverlapRule::serial:
        break;
      case OverlapRule::shared_expert:
        exposed = exchange - std::min(out_s, half.shared);
        (half.shared < out_s ? weight.shared : weight.dispatch) = 0;
        break;
      case OverlapRule::two_batch:
        half.dispatch = out_s;
        half.combine = back_s;
        half.dispatch_sm_fraction = dispatch.sm_fraction;
        half.combine_sm_fraction = combine.sm_fraction;
        exposed = two_batch_period(half) / 2.0 - compute;
        if (band_ != nullptr) {
          weight = two_batch_weights(half);
        }
        break;
      case OverlapRule::perfect:
        exposed = std::max(0.0, exchange - compute);
        if (exchange > compute) {
          communication_decides();
        } else {
          weight.dispatch = 0;
          weight.combine = 0;
        }
        break;
    }
    total_.exchange += Seconds(exchange * repeat);
    const double dispatch_share = exchange > 0 ? out_s / exchange : 0.0;
    total_.seconds += Seconds(exposed * repeat);
    total_.by_kind[static_cast<std::size_t>(OpKind::dispatch)] += exposed * dispatch_share * repeat;
    total_.by_kind[static_cast<std::size_t>(OpKind::combine)] +=
        exposed * (1.0 - dispatch_share) * repeat;
    total_.by_basis[static_cast<std::size_t>(Basis::fitted)] += exposed * repeat;
    if (band_ != nullptr) {
      band_->exchange.exposed_s += (out_s * weight.dispatch + back_s * weight.combine) * repeat;
    }
    return weight;
  }

  void finish_band() {
    for (std::size_t i = 0; i < points_.size(); ++i) {
      const Point& one = points_[i];
      if (!one.known || one.exposed_s <= 0) {
        continue;
      }
      ErrorSource& family = band_->families[static_cast<std::size_t>(one.family)];
      const double own = one.exposed_s * one.cost.own_uncertainty;
      family.exposed_s += one.exposed_s;
      family.shared_s += one.exposed_s * one.cost.shared_uncertainty;
      family.own_squared += own * own;
      const Plan::Shape& shape = plan_.shapes[i / 2];
      if (!one.cost.in_range && shape.pick.curve.curve != nullptr) {
        band_->extrapolated_s += one.exposed_s;
      }
      if (ops_ != nullptr) {
        ops_->push_back({shape.item.bind(i % 2 == 0 ? whole_ : half_), shape.pick.curve,
                         shape.item.kind, one.cost, one.exposed_s});
      }
    }
    band_->machine.exposed_s = total_.seconds.value() - model_.host_overhead_s_;
    band_->machine.shared_s = band_->machine.exposed_s * kMachineError;
    band_->exchange.shared_s = band_->exchange.exposed_s * kExchangeError;
    band_->sync.shared_s = band_->sync.exposed_s * kSyncError;
    double squares = 0;
    const auto add = [&](const ErrorSource& source) {
      const double half = source.half_width_s();
      squares += half * half;
    };
    for (const ErrorSource& family : band_->families) {
      add(family);
    }
    add(band_->exchange);
    add(band_->sync);
    add(band_->machine);
    const double seconds = total_.seconds.value();
    band_->log_half_width = seconds > 0 ? std::sqrt(squares) / seconds : 0.0;
  }

  const StepCostModel& model_;
  const Plan& plan_;
  OverlapRule overlap_;
  StepBand* band_;
  std::vector<ExposedOp>* ops_;
  CostMemo& memo_;
  const StepBatch whole_;
  const StepBatch half_;
  std::vector<Point> points_;  ///< [shapes][whole, half]
  StepCost total_;
};

StepCostModel::StepCostModel(const Scenario& scenario, const RoutingSpec& routing,
                             const LoadView* loads)
    : compiled_(std::make_shared<const StepTemplate>(compile_step(scenario))),
      template_(*compiled_),
      cost_(*scenario.device,
            scenario.curves != nullptr ? device_curves(*scenario.curves) : nullptr,
            scenario.curves != nullptr && !scenario.curves->software.empty()),
      collectives_(*scenario.cluster,
                   scenario.device->sm_count ? scenario.device->sm_count->value : 1,
                   scenario.spec.communication.communication_sms.value_or(-1),
                   framework_of(scenario.spec.software)),
      loads_(loads != nullptr ? *loads
                              : LoadView(scenario, routing, template_, collectives_.domain_gpus())),
      overlap_(scenario.spec.communication.overlap),
      dispatch_(scenario.spec.communication.dispatch),
      kernel_(kernel_for(dispatch_, scenario.spec.workload.phase)),
      host_overhead_s_(scenario.spec.runtime.host_overhead_s) {
  auto machine = std::make_shared<Plan>();
  machine->peaks = known_peaks(*scenario.device);
  if (scenario.curves != nullptr && !(scenario.device->sm_count && scenario.device->l2)) {
    // A profile that is silent takes what the first set of curves says (CostModel).
    const auto sources = device_curves(*scenario.curves);
    if (!sources->empty()) {
      const DevicePeaks& other = sources->front().set->peaks;
      machine->peaks.multiprocessors =
          scenario.device->sm_count ? machine->peaks.multiprocessors : other.multiprocessors;
      machine->peaks.l2_bytes = scenario.device->l2 ? machine->peaks.l2_bytes : other.l2_bytes;
    }
  }
  plan_ = std::move(machine);  // what plan_step() takes over
  plan_step();
}

StepCostModel::StepCostModel(const StepCostModel& other, Phase phase) : StepCostModel(other) {
  kernel_ = kernel_for(dispatch_, phase);
  plan_step();
}

void StepCostModel::plan_step() {
  template_ = *compiled_;
  auto plan = std::make_shared<Plan>();
  plan->peaks = plan_->peaks;
  plan->ends.before = plan->add(template_.first, cost_);
  plan->ends.after = plan->add(template_.last, cost_);
  for (LayerTemplate& layer : template_.layers) {
    Plan::Layer uses;
    if (layer.experts) {
      if (layer.experts->has_exchange) {
        layer.experts->prototype.layout = kernel_ == ExchangeKernel::low_latency
                                              ? ExpertLayout::dispatched_low_latency
                                              : ExpertLayout::dispatched;
      }
      uses.experts = plan->pick(layer.experts->prototype, cost_);
      if (uses.experts.curve.includes_routing()) {
        std::erase_if(layer.before, [](const TemplateOp& item) {
          return std::holds_alternative<RoutingOp>(item.prototype);
        });
      }
    }
    uses.before = plan->add(layer.before, cost_);
    uses.shared = plan->add(layer.shared, cost_);
    uses.after = plan->add(layer.after, cost_);
    plan->layers.push_back(std::move(uses));
  }
  plan_ = std::move(plan);
}

std::vector<const CurveSource*> StepCostModel::curve_sources() const {
  std::vector<const CurveSource*> used;
  for (const Plan::Shape& shape : plan_->shapes) {
    used.push_back(shape.pick.curve.source);
  }
  for (const Plan::Layer& layer : plan_->layers) {
    used.push_back(layer.experts.curve.source);
  }
  std::erase(used, nullptr);
  std::sort(used.begin(), used.end());  // all point into one list, which is in order of preference
  used.erase(std::unique(used.begin(), used.end()), used.end());
  return used;
}

std::vector<ExposedOp> StepCostModel::exposed_ops(const StepBatch& batch) const {
  StepBand band;
  std::vector<ExposedOp> ops;
  Evaluation(*this, batch, overlap_, &band, &ops).run();
  return ops;
}

StepCost StepCostModel::evaluate(const StepBatch& batch, OverlapRule overlap) const {
  return Evaluation(*this, batch, overlap, nullptr).run();
}

StepCost StepCostModel::evaluate(const StepBatch& batch, StepBand& band) const {
  band = {};
  return Evaluation(*this, batch, overlap_, &band).run();
}

}  // namespace moesim
