// SPDX-License-Identifier: Apache-2.0
#include "sim/cost/cost_model.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "sim/base/random.h"
#include "sim/cost/device_peaks.h"

namespace moesim {
namespace {

// Widening of a curve's band per e-fold between the datasheets that it is carried across. An
// estimate from fits to A100, H100 and B200 tables: each predicted from the others misses by about
// 10% in the median and 30% at P90 over ratios of 2-3.
constexpr double kTransferError = 0.25;
constexpr double kLeastTransferError = 0.1;
constexpr double kLargestTransferError = 0.6;
// Below this the two datasheets are the same.
constexpr double kSameDatasheet = 0.005;
// A norm or an activation by the curve of another streaming kernel (static quantisation): estimate.
constexpr double kStandInError = 0.3;
// Nobody said which stack runs: half-width of the 80% band from one stack to another, by family.
// Two releases of one framework differ by 1% (GEMM) and 6.5% (fused MoE) in the median, times 1.9;
// other families: estimates between those.
constexpr std::array<double, kNumOpFamilies> kUnnamedStack = {0.02, 0.12, 0.06, 0.06, 0.06,
                                                              0.06, 0.06, 0.06, 0.06};
// 80% of a normal error lies within 1.28 / 0.674 times its median.
constexpr double kBandOverMedian = 1.9;

// Half-width (log space) of the 80% band of the physical form, by family: left-out H100 shapes with
// fitted efficiencies miss by median/P90 13/35% (GEMM), 25/70% (fused MoE), 23/65% and 25/84%
// (attention over prompts and in decode), 14/48% and 8.8/34% (MLA); P80 of a normal error with
// those two. Per-head products, streams and top-k: assumed as bad as attention.
constexpr std::array<double, kNumOpFamilies> kPhysicalBand = {0.26, 0.51, 0.47, 0.56, 0.33,
                                                              0.24, 0.45, 0.45, 0.60};

Basis basis_of(Origin origin) {
  switch (origin) {
    case Origin::measured:
      return Basis::measured;
    case Origin::fitted:
      return Basis::fitted;
    case Origin::datasheet:
    case Origin::transferred:
      return Basis::datasheet;
    case Origin::estimate:
      return Basis::estimate;
  }
  return Basis::estimate;
}

/// Whether anything runs at all.
struct HasRows {
  bool operator()(const GemmOp& op) const { return op.m > 0; }
  bool operator()(const MoeOp& op) const { return op.load.assignments > 0; }
  bool operator()(const BatchedGemmOp& op) const { return op.m > 0; }
  bool operator()(const ElementwiseOp& op) const { return op.bytes.value() > 0; }
  bool operator()(const RoutingOp& op) const { return op.tokens > 0; }
  bool operator()(const AttentionDecodeOp& op) const { return op.sequences * op.new_tokens > 0; }
  bool operator()(const MlaDecodeOp& op) const { return op.sequences * op.new_tokens > 0; }
  bool operator()(const AttentionPrefillOp& op) const { return op.sequences * op.new_tokens > 0; }
  bool operator()(const MlaPrefillOp& op) const { return op.sequences * op.new_tokens > 0; }
};

/// Range of a named feature, or null when the family has no such feature.
const FeatureRange* range_of(const CostCurve& curve, std::string_view feature) {
  const auto names = feature_names(curve.family);
  for (std::size_t i = 0; i < names.size() && i < curve.ranges.size(); ++i) {
    if (names[i] == feature) {
      return &curve.ranges[i];
    }
  }
  return nullptr;
}

/// Whether a curve was fitted to kernels of the same form as `op`: prompts of latent attention are
/// read expanded or absorbed (one key-value head), experts are gated or plain.
bool same_form(const CostCurve& curve, const Op& op) {
  if (const auto* prefill = std::get_if<MlaPrefillOp>(&op)) {
    const FeatureRange* heads = range_of(curve, "log_kv_heads");
    return heads == nullptr || (heads->high <= 0.0F) == prefill->absorbed;
  }
  return true;
}

/// SGLang's plain tables send remote selections to a local expert at expert parallelism above 1: no
/// real rank does (data's README).
bool is_real_rank(const CurveSet& set, const CostCurve& curve, const Op& op) {
  const auto* moe = std::get_if<MoeOp>(&op);
  return moe == nullptr || moe->expert_ways <= 1 || !curve.variant.empty() ||
         !set.software.starts_with("sglang");
}

/// How many powers of two the model's part of a shape (widths, heads, experts: what no batch
/// changes) lies outside the shapes that a curve was fitted to, summed.
double distance_of_shape(const CostCurve& curve, const Op& op) {
  double sum = 0;
  const auto add = [&](std::string_view feature, double value) {
    if (const FeatureRange* range = range_of(curve, feature)) {
      constexpr double kRounding = 0.01;
      sum += std::max({0.0, static_cast<double>(range->low) - kRounding - value,
                       value - kRounding - static_cast<double>(range->high)});
    }
  };
  const auto add_log = [&](std::string_view feature, double value) {
    add(feature, static_cast<double>(fast_log2(std::max(value, 1e-3))));
  };
  if (const auto* gemm = std::get_if<GemmOp>(&op)) {
    add_log("log_n", gemm->n);
    add_log("log_k", gemm->k);
  } else if (const auto* moe = std::get_if<MoeOp>(&op)) {
    add_log("log_width", moe->width / moe->tensor_ways);
    add_log("log_hidden", moe->hidden);
    add_log("log_experts", moe->experts);
    add("gated", moe->gated ? 1.0 : 0.0);
  } else if (const auto* decode = std::get_if<AttentionDecodeOp>(&op)) {
    add_log("log_heads", decode->heads);
    add_log("log_kv_heads", decode->kv_heads);
    add_log("log_head_width", decode->head_dim);
  } else if (const auto* prefill = std::get_if<AttentionPrefillOp>(&op)) {
    add_log("log_heads", prefill->heads);
    add_log("log_kv_heads", prefill->kv_heads);
    add_log("log_head_width", prefill->head_dim);
  } else if (const auto* latent = std::get_if<MlaDecodeOp>(&op)) {
    add_log("log_heads", latent->heads);
  } else if (const auto* prompt = std::get_if<MlaPrefillOp>(&op)) {
    add_log("log_heads", prompt->heads);
  } else if (const auto* batched = std::get_if<BatchedGemmOp>(&op)) {
    add_log("log_batch", batched->batch);
  }
  return sum;
}

/// How far two datasheets are apart for kernels that multiply in `format`, log space.
double datasheet_distance(const DevicePeaks& a, const DevicePeaks& b, NumberFormat format) {
  const auto apart = [](double x, double y) { return std::fabs(portable_log(x / y)); };
  return apart(a.peak(format), b.peak(format)) + apart(a.bytes_per_s, b.bytes_per_s) +
         apart(a.multiprocessors, b.multiprocessors);
}

/// Variants of an op's kernel, most fitting first.
std::span<const std::string_view> variants_of(const Op& op) {
  static constexpr std::string_view kUsual[] = {""};
  static constexpr std::string_view kNormal[] = {"deepep_normal", "wideep", ""};
  static constexpr std::string_view kLowLatency[] = {"deepep_low_latency", "wideep", ""};
  if (const auto* moe = std::get_if<MoeOp>(&op)) {
    switch (moe->layout) {
      case ExpertLayout::resident:
        return kUsual;
      case ExpertLayout::dispatched:
        return kNormal;
      case ExpertLayout::dispatched_low_latency:
        return kLowLatency;
    }
  }
  return kUsual;
}

}  // namespace

bool CurvePick::includes_routing() const {
  return curve != nullptr && curve->family == OpFamily::grouped_gemm &&
         !curve->variant.starts_with("deepep");
}

MoeOp local_experts(const MoeOp& op) {
  MoeOp local = op;
  local.layout = ExpertLayout::resident;
  local.tokens = std::max(op.arriving, 1.0);
  local.experts = op.experts / op.expert_ways;
  local.expert_ways = 1;
  local.top_k = op.load.assignments / local.tokens;
  return local;
}

CostModel::CostModel(const DeviceProfile& device,
                     std::shared_ptr<const std::vector<CurveSource>> sources, bool stack_is_named)
    : launch_gap_s_(device.launch_gap.value.value()),
      device_(device.id),
      sources_(std::move(sources)),
      stack_is_named_(stack_is_named) {
  for (const Choice<NumberFormat>& format : choices_of(NumberFormat{})) {
    peak_[static_cast<std::size_t>(format.value)] =
        device.peak_of(compute_format(format.value)).value();
  }
  for (const Choice<OpFamily>& family : choices_of(OpFamily{})) {
    const OpEfficiency& efficiency = device.efficiency.of(family.name);
    FamilyCoefficients& out = families_[static_cast<std::size_t>(family.value)];
    for (const Choice<NumberFormat>& format : choices_of(NumberFormat{})) {
      const std::size_t index = static_cast<std::size_t>(format.value);
      out.seconds_per_flop[index] =
          1.0 / (peak_[index] * efficiency.compute_fraction_of(format.value));
    }
    out.seconds_per_byte =
        1.0 / (device.memory_bandwidth.value.value() * efficiency.memory_fraction);
    out.startup_s = efficiency.startup.value();
    out.overlap_loss = efficiency.overlap;
    out.per_assignment_s = efficiency.per_assignment.value();
    out.basis = basis_of(efficiency.origin);
  }
  if (sources_ != nullptr && !sources_->empty()) {
    peaks_ = known_peaks(device);
    const DevicePeaks& fallback = sources_->front().set->peaks;
    peaks_.multiprocessors = device.sm_count ? peaks_.multiprocessors : fallback.multiprocessors;
    peaks_.l2_bytes = device.l2 ? peaks_.l2_bytes : fallback.l2_bytes;
  }
}

FlopsPerSecond CostModel::peak(NumberFormat format) const {
  return FlopsPerSecond(peak_[static_cast<std::size_t>(format)]);
}

const CurveSource* CostModel::source_of(const Op& prototype, NumberFormat format,
                                        std::string_view variant, const CostCurve*& curve) const {
  // A named stack's own curve is stretched by an octave before another stack's is asked; shapes of
  // special kernels are not stretched at all.
  const double reach = stack_is_named_ && variant.empty() ? 1.0 : 0.0;
  constexpr double kNotARank = 100;  // further than any shape
  const CurveSource* best = nullptr;
  double best_distance = 0;
  double first_p90 = 0;
  for (const CurveSource& source : *sources_) {
    const CostCurve* candidate = source.set->find(family_of(prototype), format, variant);
    if (candidate == nullptr || !same_form(*candidate, prototype)) {
      continue;
    }
    const double distance = is_real_rank(*source.set, *candidate, prototype)
                                ? std::max(0.0, distance_of_shape(*candidate, prototype) - reach)
                                : kNotARank;
    if (!variant.empty() && distance > 0) {
      continue;
    }
    const bool closer = distance < best_distance;
    // Any stack may be meant: the most complete one, unless another errs half as much.
    const bool surer = !stack_is_named_ && best != nullptr && distance == best_distance &&
                       candidate->record.p90_ape < curve->record.p90_ape &&
                       candidate->record.p90_ape < 0.5 * first_p90;
    if (best == nullptr || closer || surer) {
      first_p90 = surer ? first_p90 : candidate->record.p90_ape;
      best = &source;
      best_distance = distance;
      curve = candidate;
    }
  }
  return best;
}

CurvePick CostModel::pick(const Op& prototype) const {
  CurvePick pick;
  if (sources_ == nullptr) {
    return pick;
  }
  NumberFormat format = CurveSet::stored_format(prototype);
  format = format == NumberFormat::fp16 ? NumberFormat::bf16 : format;  // the same rates
  for (const std::string_view variant : variants_of(prototype)) {
    pick.source = source_of(prototype, format, variant, pick.curve);
    if (pick.source != nullptr) {
      break;
    }
  }
  if (pick.source == nullptr) {
    return pick;
  }
  const CostCurve& curve = *pick.curve;
  const CurveSet& set = *pick.source->set;
  const auto* moe = std::get_if<MoeOp>(&prototype);
  pick.basis = curve.basis;
  pick.as_local_experts =
      moe != nullptr && curve.variant.empty() && moe->layout != ExpertLayout::resident;
  // Everything that all ops of the family share, but for the fit's own part; squares.
  double shared = curve.transfer_uncertainty * curve.transfer_uncertainty;
  const double distance = datasheet_distance(peaks_, set.peaks, curve.arithmetic);
  const bool is_carried = distance > kSameDatasheet || set.device != device_;
  if (is_carried) {
    const double error =
        std::clamp(kTransferError * distance, kLeastTransferError, kLargestTransferError);
    shared += error * error;
    pick.with_residual = peaks_.multiprocessors == set.peaks.multiprocessors;
    pick.least_own_error = pick.with_residual ? 0 : kBandOverMedian * curve.record.law_median_ape;
  }
  if (is_carried || !set.transferred_from.empty()) {
    pick.basis = Basis::datasheet;
  } else if (!stack_is_named_) {
    const double unnamed = kUnnamedStack[static_cast<std::size_t>(curve.family)];
    shared += unnamed * unnamed;
  }
  if (curve.family == OpFamily::elementwise) {
    pick.basis = Basis::estimate;
    shared += kStandInError * kStandInError;
  }
  pick.shared_error = std::sqrt(shared);
  if (moe != nullptr && moe->layout == ExpertLayout::resident) {
    // TensorRT-LLM on Blackwell: deployments choose the back end of the experts for their load
    // (docs of TensorRT-LLM 1.2, "moe_config.backend": TRTLLM for low latency, CUTLASS else).
    pick.low_latency = set.find(OpFamily::grouped_gemm, format, "min_latency");
  } else if (std::holds_alternative<GemmOp>(prototype) && format == NumberFormat::fp8) {
    pick.absmax = set.find(OpFamily::elementwise, NumberFormat::bf16, "absmax");
  }
  return pick;
}

/// Seconds of the absmax pass that a table of fp8 products timed with `gemm`: it reads the
/// activations once, in bf16 (README of the tables: "fp8 ... includes the dynamic quantisation";
/// their own `computescale` rows time that pass alone). At most half of the product: an estimate
/// never leaves less than the product itself.
static double absmax_seconds(const GemmOp& gemm, const CostCurve& curve, const DevicePeaks& peaks,
                             double product_seconds) {
  const ElementwiseOp pass{Bytes(2.0 * gemm.m * gemm.k), 1.0};
  const double law = law_seconds(pass, peaks, curve.arithmetic, curve.parameters);
  FeatureVector features;
  op_features(pass, peaks, curve.arithmetic, law, features);
  return std::min(0.5 * product_seconds,
                  law * portable_exp(curve.residual.evaluate(features.data())));
}

CostEstimate CostModel::physical(const Op& op,
                                 const std::array<FamilyCoefficients, kNumOpFamilies>& families,
                                 double launch_gap_s) const {
  const OpWork work = work_of(op);
  const std::size_t index = static_cast<std::size_t>(family_of(op));
  const FamilyCoefficients& family = families[index];
  CostEstimate cost;
  cost.basis = family.basis;
  if (work.bytes.value() <= 0 || work.rows <= 0) {
    return cost;
  }
  const double compute =
      work.flops.value() * family.seconds_per_flop[static_cast<std::size_t>(work.format)];
  const double memory = work.bytes.value() * family.seconds_per_byte;
  cost.seconds = Seconds(family.startup_s + launch_gap_s + std::max(compute, memory) +
                         family.overlap_loss * std::min(compute, memory) +
                         family.per_assignment_s * work.assignments);
  // A wrong efficiency shifts all ops of a family; half of the variance is taken as that.
  cost.shared_uncertainty = kPhysicalBand[index] * std::sqrt(0.5);
  cost.own_uncertainty = cost.shared_uncertainty;
  return cost;
}

/// The picks of a stack's two kernels for one op: the usual one, then that for few tokens.
static std::pair<CurvePick, CurvePick> kernels_of(const CurvePick& pick) {
  CurvePick usual = pick;
  usual.low_latency = nullptr;
  CurvePick fast = usual;
  fast.curve = pick.low_latency;
  fast.basis = std::max(pick.basis, fast.curve->basis);  // the weaker one
  return {usual, fast};
}

/// The same work seen from the whole group, as the trees know it: the model's number of experts,
/// the mean load that the rank's rows imply.
static Op seen_by_trees(const MoeOp& local, const MoeOp& op) {
  MoeOp seen = op;
  seen.tokens = local.tokens;
  seen.top_k = local.top_k * op.expert_ways;
  return seen;
}

template <bool kWithBand>
CostEstimate CostModel::evaluate(const Op& op, const CurvePick& pick) const {
  if (pick.curve == nullptr) {
    return physical(op);
  }
  if (pick.low_latency != nullptr) {
    const auto [usual, fast] = kernels_of(pick);
    const CostEstimate first = evaluate<kWithBand>(op, usual);
    const CostEstimate second = evaluate<kWithBand>(op, fast);
    return second.seconds < first.seconds ? second : first;
  }
  const MoeOp* mixed = std::get_if<MoeOp>(&op);
  if (mixed != nullptr && mixed->load.cold_experts > 0) {
    // No table measured experts of two formats in one kernel: the curve of the warm format, scaled
    // by what the physical form says of the bytes saved.
    MoeOp warm = *mixed;
    warm.load.cold_experts = 0;
    CostEstimate cost = evaluate<kWithBand>(warm, pick);
    cost.seconds = cost.seconds * (physical(op).seconds / physical(warm).seconds);
    cost.basis = Basis::estimate;
    cost.in_range = false;
    return cost;
  }
  CostEstimate cost;
  cost.basis = pick.basis;
  if (!std::visit(HasRows(), op)) {
    return cost;
  }
  const CostCurve& curve = *pick.curve;
  double law = 0;
  FeatureVector features;
  if (pick.as_local_experts) {
    const MoeOp& moe = std::get<MoeOp>(op);
    const MoeOp local = local_experts(moe);
    law = law_seconds(local, peaks_, curve.arithmetic, curve.parameters);
    op_features(seen_by_trees(local, moe), peaks_, curve.arithmetic, law, features);
  } else {
    law = law_seconds(op, peaks_, curve.arithmetic, curve.parameters);
    op_features(op, peaks_, curve.arithmetic, law, features);
  }
  cost.seconds = Seconds(
      pick.with_residual ? law * portable_exp(curve.residual.evaluate(features.data())) : law);
  if constexpr (kWithBand) {
    const double width = curve.band_width(features, cost.in_range);
    const double shared = std::min(curve.shared_uncertainty, width);
    const double own = std::max(std::sqrt(width * width - shared * shared), pick.least_own_error);
    cost.shared_uncertainty = std::sqrt(shared * shared + pick.shared_error * pick.shared_error);
    cost.own_uncertainty = own;
  }
  if (pick.absmax != nullptr) {
    const double all = cost.seconds.value();
    const double rest = all - absmax_seconds(std::get<GemmOp>(op), *pick.absmax, peaks_, all);
    cost.seconds = Seconds(rest);
    cost.own_uncertainty *= all / rest;  // the same seconds of a smaller time
  }
  return cost;
}

CostEstimate CostModel::estimate(const Op& op, const CurvePick& pick) const {
  return evaluate<true>(op, pick);
}

CostEstimate CostModel::point(const Op& op, const CurvePick& pick) const {
  return evaluate<false>(op, pick);
}

CurvePick CostModel::running(const Op& op, const CurvePick& pick) const {
  if (pick.low_latency == nullptr) {
    return pick;
  }
  const auto [usual, fast] = kernels_of(pick);
  return point(op, fast).seconds < point(op, usual).seconds ? fast : usual;
}

std::vector<CostParameter> CostModel::parameters(const CurvePick& pick, OpFamily family) const {
  std::vector<CostParameter> parameters;
  if (pick.curve != nullptr) {
    const auto names = law_parameters(pick.curve->family);
    for (std::size_t i = 0; i < names.size(); ++i) {
      parameters.push_back({names[i].name, names[i].doc, pick.curve->parameters[i]});
    }
    return parameters;
  }
  const FamilyCoefficients& own = families_[static_cast<std::size_t>(family)];
  return {{"compute rate", "reachable arithmetic, relative to the profile's", 1.0},
          {"memory rate", "reachable bandwidth, relative to the profile's", 1.0},
          {"startup_s", "what an op costs before its first byte", own.startup_s},
          {"overlap_fraction", "0 hides the lesser of compute and memory", own.overlap_loss},
          {"per_assignment_s", "per permuted row", own.per_assignment_s},
          {"launch_gap_s", "between two kernels of one graph", launch_gap_s_}};
}

double CostModel::ratio(const Op& op, const CurvePick& pick, std::size_t index,
                        double factor) const {
  if (pick.curve != nullptr) {
    const Op seen = pick.as_local_experts ? Op(local_experts(std::get<MoeOp>(op))) : op;
    const NumberFormat arithmetic = pick.curve->arithmetic;
    std::vector<double> values = pick.curve->parameters;
    const double before = law_seconds(seen, peaks_, arithmetic, values);
    values[index] *= factor;
    const double change =
        before > 0 ? law_seconds(seen, peaks_, arithmetic, values) / before - 1.0 : 0.0;
    if (pick.absmax == nullptr) {
      return 1.0 + change;
    }
    CurvePick whole = pick;  // the product changes; the pass that is taken off it does not
    whole.absmax = nullptr;
    return 1.0 + change * point(op, whole).seconds.value() / point(op, pick).seconds.value();
  }
  std::array<FamilyCoefficients, kNumOpFamilies> families = families_;
  FamilyCoefficients& own = families[static_cast<std::size_t>(family_of(op))];
  double launch_gap_s = launch_gap_s_;
  switch (index) {
    case 0:
      for (double& seconds : own.seconds_per_flop) {
        seconds /= factor;
      }
      break;
    case 1:
      own.seconds_per_byte /= factor;
      break;
    case 2:
      own.startup_s *= factor;
      break;
    case 3:
      own.overlap_loss *= factor;
      break;
    case 4:
      own.per_assignment_s *= factor;
      break;
    default:
      launch_gap_s *= factor;
      break;
  }
  const double before = physical(op).seconds.value();
  return before > 0 ? physical(op, families, launch_gap_s).seconds.value() / before : 1.0;
}

}  // namespace moesim
