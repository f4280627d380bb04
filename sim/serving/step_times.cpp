// SPDX-License-Identifier: Apache-2.0
#include "sim/serving/step_times.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <string>

namespace moesim {
namespace {

// Kernels that one op of the template stands for when a framework launches them one by one. A fused
// MoE layer: top-k, two for the sort by expert, two grouped products, activation, weighted sum; its
// inputs quantised twice where the experts take 8 or 4 bits (vllm/model_executor/layers/fused_moe:
// moe_align_block_size, invoke_fused_moe_kernel, moe_sum). Latent attention: joins query and key
// halves and writes the latent to the cache (vllm/v1/attention/backends/mla: concat_and_cache_mla).
constexpr double kKernelsOfExperts = 7;
constexpr double kKernelsOfLatentAttention = 4;

std::vector<double> geometric(double first, double ratio, double last) {
  std::vector<double> nodes = {0};
  for (double node = first; node < last; node *= ratio) {
    nodes.push_back(node);
  }
  return nodes;
}

/// 0, 1, 2, 3, 4, 6, 8, 12 ...
std::vector<double> half_octaves(double last) {
  std::vector<double> nodes = {0, 1};
  for (double node = 2; node < last; node *= 2) {
    nodes.push_back(node);
    nodes.push_back(node * 1.5);
  }
  return nodes;
}

/// Quarter octaves from 1, whole powers of two exactly.
std::vector<double> quarter_octaves(double last) {
  const std::array<double, 4> steps = {1.0, 1.189207115002721, 1.4142135623730951,
                                       1.681792830507429};
  std::vector<double> nodes;
  for (double base = 1; base < last; base *= 2) {
    for (const double step : steps) {
      nodes.push_back(base * step);
    }
  }
  return nodes;
}

const std::vector<double>& decode_contexts() {
  static const std::vector<double> nodes = geometric(64, 1.25, 2e8);
  return nodes;
}
const std::vector<double>& mixed_contexts() {
  static const std::vector<double> nodes = geometric(256, 2, 2e8);
  return nodes;
}
const std::vector<double>& mixed_batches() {
  static const std::vector<double> nodes = half_octaves(1e6);
  return nodes;
}
const std::vector<double>& mixed_tokens() {
  static const std::vector<double> nodes = quarter_octaves(2e8);
  return nodes;
}

struct Bracket {
  std::size_t low = 0;
  double weight = 0;  ///< of the node above
};

Bracket bracket(const std::vector<double>& nodes, double value) {
  const auto above = std::upper_bound(nodes.begin(), nodes.end(), value);
  if (above == nodes.begin()) {
    return {0, 0};
  }
  const std::size_t low = static_cast<std::size_t>(above - nodes.begin()) - 1;
  if (low + 1 >= nodes.size()) {
    return {nodes.size() - 1, 0};
  }
  return {low, (value - nodes[low]) / (nodes[low + 1] - nodes[low])};
}

std::size_t nearest(const std::vector<double>& nodes, double value) {
  const Bracket at = bracket(nodes, value);
  return at.weight > 0.5 ? at.low + 1 : at.low;
}

/// Whether a product with such weights has its activations quantised by a kernel of its own.
bool quantises_inputs(NumberFormat weights) {
  switch (weights) {
    case NumberFormat::fp8:
    case NumberFormat::fp8_block:
    case NumberFormat::int8:
    case NumberFormat::nvfp4:
      return true;
    default:
      return false;  // 16 bits and more, and 4-bit weights beside 16-bit activations
  }
}

double kernels_of(const Op& op) {
  if (const auto* elementwise = std::get_if<ElementwiseOp>(&op)) {
    return elementwise->kernels;
  }
  if (const auto* gemm = std::get_if<GemmOp>(&op)) {
    return quantises_inputs(gemm->weights) ? 2 : 1;
  }
  return std::holds_alternative<MlaPrefillOp>(op) || std::holds_alternative<MlaDecodeOp>(op)
             ? kKernelsOfLatentAttention
             : 1;
}

/// Kernels that a step starts, collectives included.
double num_kernels(const StepTemplate& step) {
  const auto count = [](const std::vector<TemplateOp>& ops) {
    double kernels = 0;
    for (const TemplateOp& op : ops) {
      kernels += kernels_of(op.prototype);
    }
    return kernels;
  };
  double kernels = count(step.first) + count(step.last);
  for (const LayerTemplate& layer : step.layers) {
    double one = count(layer.before) + count(layer.shared) + count(layer.after) +
                 static_cast<double>(layer.after_attention.size() + layer.after_ffn.size());
    if (layer.experts) {
      one += kKernelsOfExperts + (quantises_inputs(layer.experts->prototype.weights) ? 2 : 0) +
             (layer.experts->has_exchange ? 2 : 0);
    }
    kernels += one * static_cast<double>(layer.count);
  }
  return kernels;
}

/// How much longer the slowest GPU of the scenario's faults takes for what it computes.
double compute_slowdown(const Scenario& scenario) {
  std::map<std::string, double> left;
  double least = 1;
  for (const FaultSpec& fault : scenario.spec.faults) {
    if (fault.compute_fraction) {
      const auto gpu = left.try_emplace(fault.where, 1.0).first;
      gpu->second *= *fault.compute_fraction;
      least = std::min(least, gpu->second);
    }
  }
  return 1 / least;
}

bool is_computed(OpKind kind) {
  switch (kind) {
    case OpKind::dispatch:
    case OpKind::combine:
    case OpKind::tensor_sync:
    case OpKind::host:
    case OpKind::expert_swap:
      return false;
    default:
      return true;
  }
}

Scenario in_phase(const Scenario& scenario, Phase phase) {
  Scenario phased = scenario;
  phased.spec.workload.phase = phase;
  return phased;
}

}  // namespace

StepShape StepShape::of(double decoding, double context, const StepPlan& plan) {
  StepShape shape;
  shape.decoding = plan.decodes ? decoding : 0;
  shape.context = plan.decodes ? context : 0;
  shape.prompts = plan.prompts;
  shape.prompt_tokens = plan.prompt_tokens;
  if (plan.prompts > 0) {
    shape.cached_tokens =
        std::max(0.0, plan.pair_sum / plan.prompt_tokens - plan.prompt_tokens / plan.prompts / 2);
  }
  return shape;
}

StepTimes::StepTimes(const Scenario& scenario, const EngineRules& rules, const StepTimes* like,
                     const LoadView* loads)
    : rules_(rules),
      speculation_(
          Speculation::of(scenario.spec.workload.draft_tokens, scenario.spec.workload.acceptance)),
      two_batch_min_tokens_(scenario.spec.serving.two_batch_min_tokens) {
  if (like != nullptr) {
    decode_ = like->decode_;
    prompt_ = like->prompt_;
  } else {
    decode_ = std::make_shared<const StepCostModel>(
        in_phase(scenario, Phase::decode), loads != nullptr ? RoutingSpec{} : routing_of(scenario),
        loads);
    prompt_ = std::make_shared<const StepCostModel>(*decode_, Phase::prefill);
  }
  slowdown_ = compute_slowdown(scenario);
  num_layers_ = 0;
  for (const LayerTemplate& layer : decode_->step_template().layers) {
    num_layers_ += static_cast<double>(layer.count);
  }
  eager_floor_s_ = num_kernels(decode_->step_template()) *
                   std::max(rules.host_kernel_s, scenario.device->launch_eager.value.value());
  double last = 0;
  const auto add_row = [&](double batch, bool captured) {
    rows_.push_back({batch, captured, {}});
    last = batch;
  };
  if (rules_.graphs) {
    for (const double size : rules_.graph_sizes) {
      add_row(size / (1 + speculation_.drafts), true);
    }
  }
  for (double batch = std::floor(last) + 1; batch <= 64; batch += 1) {
    add_row(batch, false);
  }
  while (last < 2e6) {
    add_row(std::max(last + 1, last * 1.0442737824274138), false);  // 2^(1/16)
  }
}

OverlapRule StepTimes::overlap_for(const StepCostModel& model, double tokens) const {
  const bool is_small = tokens < two_batch_min_tokens_;
  return model.overlap() == OverlapRule::two_batch && is_small ? OverlapRule::serial
                                                               : model.overlap();
}

/// Drafts come from prediction layers like the model's own, one pass a draft, and share the head
/// (DeepSeek-V3 technical report, 2.2).
double StepTimes::draft_seconds(const StepCostModel& model, const StepBatch& batch) const {
  if (speculation_.drafts <= 0 || batch.decode_sequences <= 0) {
    return 0;
  }
  StepBatch one = batch;
  one.decode_new_tokens = 1;
  one.prefill_sequences = 0;
  const StepCost cost = model.evaluate(one, OverlapRule::serial);
  const double head = cost.by_kind[static_cast<std::size_t>(OpKind::lm_head)];
  const double host = cost.by_kind[static_cast<std::size_t>(OpKind::host)];
  return speculation_.drafts * ((cost.seconds.value() - head - host) / num_layers_ + head);
}

StepCost StepTimes::evaluate_cost(const StepBatch& batch) const {
  const StepCostModel& model = batch.prefill_sequences > 0 ? *prompt_ : *decode_;
  StepCost cost = model.evaluate(batch, overlap_for(model, batch.tokens()));
  if (slowdown_ > 1) {
    double more = 0;
    for (std::size_t kind = 0; kind < kNumOpKinds; ++kind) {
      if (is_computed(static_cast<OpKind>(kind))) {
        more += (slowdown_ - 1) * cost.by_kind[kind];
        cost.by_kind[kind] *= slowdown_;
      }
    }
    cost.seconds += Seconds(more);
    cost.by_basis[static_cast<std::size_t>(Basis::estimate)] += more;
  }
  return cost;
}

StepTime StepTimes::evaluate(const StepBatch& batch, bool captured) {
  ++evaluations_;
  const StepCostModel& model = batch.prefill_sequences > 0 ? *prompt_ : *decode_;
  const StepCost cost = evaluate_cost(batch);
  StepTime time;
  for (const OpKind kind : {OpKind::experts, OpKind::dispatch, OpKind::combine}) {
    time.common += cost.by_kind[static_cast<std::size_t>(kind)];
  }
  // Scheduling, sampling and the like: before and after the launches, on the same host thread.
  const double engine =
      rules_.host_overhead_s +
      rules_.host_overhead_per_sequence_s * (batch.decode_sequences + batch.prefill_sequences);
  time.own = cost.seconds.value() - time.common + slowdown_ * draft_seconds(model, batch) + engine;
  if (!captured) {
    const double host = engine + cost.by_kind[static_cast<std::size_t>(OpKind::host)];
    time.own += std::max(0.0, eager_floor_s_ - (time.total() - host));
  }
  if (swap_ != nullptr) {
    time.layer =
        (time.total() - engine) / static_cast<double>(model.step_template().num_moe_layers);
    time.common += swap_
                       ->at(batch.decode_sequences,
                            batch.prefill_sequences * batch.prefill_new_tokens, time.layer)
                       .stall_s;
  }
  return time;
}

const StepTime& StepTimes::decode_node(Row& row, std::size_t node) {
  if (row.nodes.size() <= node) {
    row.nodes.resize(node + 1, StepTime{-1, 0});
  }
  StepTime& time = row.nodes[node];
  if (time.own < 0) {
    StepBatch batch;
    batch.decode_sequences = row.batch;
    batch.decode_new_tokens = 1 + speculation_.drafts;
    batch.decode_context = decode_contexts()[node];
    time = evaluate(batch, row.captured);
  }
  return time;
}

StepTimes::Row& StepTimes::row_for(double decoding) {
  const auto found =
      std::lower_bound(rows_.begin(), rows_.end(), decoding - 1e-9,
                       [](const Row& row, double value) { return row.batch < value; });
  return found == rows_.end() ? rows_.back() : *found;
}

DecodeLine StepTimes::decode(double decoding, double context) {
  Row& row = row_for(decoding);
  if (!row.captured && row.batch != decoding) {
    DecodeLine own = decode_own(decoding, context, decoding);
    const DecodeLine common = decode_common(decoding, context);
    own.seconds += common.seconds;
    own.per_token += common.per_token;
    own.valid_to = std::min(own.valid_to, common.valid_to);
    return own;
  }
  // A padded step reads the same cache with more rows.
  const double scale = decoding / row.batch;
  const Bracket at = bracket(decode_contexts(), context * scale);
  const double low = decode_node(row, at.low).total();
  const double high = decode_node(row, at.low + 1).total();
  const double width = decode_contexts()[at.low + 1] - decode_contexts()[at.low];
  DecodeLine line;
  line.seconds = (low + (high - low) * at.weight) * scale_;
  line.per_token = (high - low) / width * scale * scale_;
  line.valid_to = decode_contexts()[at.low + 1] / scale;
  return line;
}

DecodeLine StepTimes::decode_own(double decoding, double context, double longest) {
  Row& above = row_for(longest);
  if (above.captured) {
    const double scale = decoding / above.batch;
    const Bracket at = bracket(decode_contexts(), context * scale);
    const double low = decode_node(above, at.low).own;
    const double high = decode_node(above, at.low + 1).own;
    const double width = decode_contexts()[at.low + 1] - decode_contexts()[at.low];
    return {(low + (high - low) * at.weight) * scale_, (high - low) / width * scale * scale_,
            decode_contexts()[at.low + 1] / scale};
  }
  Row& row = row_for(decoding);
  const std::size_t index = static_cast<std::size_t>(&row - rows_.data());
  const bool between = index > 0 && row.batch != decoding;
  const double share =
      between ? (decoding - rows_[index - 1].batch) / (row.batch - rows_[index - 1].batch) : 1.0;
  const Bracket at = bracket(decode_contexts(), context);
  const double width = decode_contexts()[at.low + 1] - decode_contexts()[at.low];
  DecodeLine line;
  line.valid_to = decode_contexts()[at.low + 1];
  for (const auto& [part, weight] :
       {std::pair{&row, share}, std::pair{&row - (between ? 1 : 0), 1 - share}}) {
    if (weight <= 0) {
      continue;
    }
    const double low = decode_node(*part, at.low).own;
    const double high = decode_node(*part, at.low + 1).own;
    line.seconds += weight * (low + (high - low) * at.weight) * scale_;
    line.per_token += weight * (high - low) / width * scale_;
  }
  return line;
}

DecodeLine StepTimes::decode_common(double decoding, double context) {
  Row& row = row_for(decoding);
  const std::size_t index = static_cast<std::size_t>(&row - rows_.data());
  const bool between = index > 0 && row.batch != decoding;
  const double below = between ? rows_[index - 1].batch : 0.0;
  const double share = between ? (decoding - below) / (row.batch - below) : 1.0;
  const Bracket at = bracket(decode_contexts(), context);
  const double width = decode_contexts()[at.low + 1] - decode_contexts()[at.low];
  DecodeLine line;
  line.valid_to = decode_contexts()[at.low + 1];
  for (const auto& [part, weight] :
       {std::pair{&row, share}, std::pair{&row - (between ? 1 : 0), 1 - share}}) {
    if (weight <= 0) {
      continue;
    }
    const double low = decode_node(*part, at.low).common;
    const double high = decode_node(*part, at.low + 1).common;
    line.seconds += weight * (low + (high - low) * at.weight) * scale_;
    line.per_token += weight * (high - low) / width * scale_;
  }
  return line;
}

StepTime StepTimes::mixed(const StepShape& shape) {
  const std::array<Bracket, 4> at = {
      bracket(mixed_batches(), shape.decoding),
      shape.decoding > 0 ? bracket(mixed_contexts(), shape.context) : Bracket{},
      bracket(mixed_tokens(), shape.prompt_tokens), bracket(mixed_contexts(), shape.cached_tokens)};
  const std::size_t prompts = std::max<std::size_t>(1, nearest(mixed_batches(), shape.prompts));
  StepTime time;
  for (unsigned corner = 0; corner < 16; ++corner) {
    double weight = 1;
    std::array<std::size_t, 4> index{};
    for (std::size_t i = 0; i < 4 && weight > 0; ++i) {
      const bool above = (corner >> i & 1) != 0;
      weight *= above ? at[i].weight : 1 - at[i].weight;
      index[i] = at[i].low + (above ? 1 : 0);
    }
    if (weight <= 0) {
      continue;
    }
    const std::uint64_t key =
        (((index[0] << 8 | index[1]) << 8 | index[2]) << 8 | index[3]) << 8 | prompts;
    auto [found, is_new] = mixed_.try_emplace(key);
    if (is_new) {
      StepBatch batch;
      batch.decode_sequences = mixed_batches()[index[0]];
      batch.decode_new_tokens = 1 + speculation_.drafts;
      batch.decode_context = mixed_contexts()[index[1]];
      batch.prefill_sequences = mixed_batches()[prompts];
      batch.prefill_new_tokens = mixed_tokens()[index[2]] / batch.prefill_sequences;
      batch.prefill_cached_tokens = mixed_contexts()[index[3]];
      found->second = evaluate(batch, false);
    }
    time.own += weight * found->second.own * scale_;
    time.common += weight * found->second.common * scale_;
    time.layer += weight * found->second.layer;
  }
  return time;
}

SwapCost StepTimes::swaps(const StepShape& shape) {
  if (shape.prompts > 0) {
    return swap_->at(shape.decoding, shape.prompt_tokens, mixed(shape).layer);
  }
  Row& row = row_for(shape.decoding);
  const double scale = row.captured ? shape.decoding / row.batch : 1.0;
  const Bracket at = bracket(decode_contexts(), shape.context * scale);
  const double low = decode_node(row, at.low).layer;
  const double high = decode_node(row, at.low + 1).layer;
  return swap_->at(row.captured ? row.batch : shape.decoding, 0, low + (high - low) * at.weight);
}

StepBatch StepTimes::batch_for(const StepShape& shape) const {
  StepBatch batch;
  batch.decode_sequences = shape.decoding;
  batch.decode_new_tokens = 1 + speculation_.drafts;
  batch.decode_context = shape.context;
  if (shape.prompts > 0) {
    batch.prefill_sequences = shape.prompts;
    batch.prefill_new_tokens = shape.prompt_tokens / shape.prompts;
    batch.prefill_cached_tokens = shape.cached_tokens;
  }
  return batch;
}

StepCost StepTimes::cost(const StepShape& shape) {
  StepCost cost = evaluate_cost(batch_for(shape));
  if (swap_ != nullptr) {
    const double stall = swaps(shape).stall_s;
    cost.seconds += Seconds(stall);
    cost.by_kind[static_cast<std::size_t>(OpKind::expert_swap)] += stall;
    cost.by_basis[static_cast<std::size_t>(Basis::estimate)] += stall;
  }
  return cost;
}

double StepTimes::log_half_width(const StepShape& shape) const {
  StepBand band;
  (shape.prompts > 0 ? *prompt_ : *decode_).evaluate(batch_for(shape), band);
  return band.log_half_width;
}

}  // namespace moesim
