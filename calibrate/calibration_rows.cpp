// SPDX-License-Identifier: Apache-2.0
#include "calibrate/calibration_rows.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <initializer_list>

#include "calibrate/expert_load_sampling.h"

namespace moesim {
namespace {

constexpr double kFastestOfPeak = 1.05;

std::uint64_t key_of(std::initializer_list<double> parts) {
  std::uint64_t hash = 1469598103934665603ULL;  // FNV-1a, 64 bits
  for (const double part : parts) {
    for (auto value = static_cast<std::uint64_t>(part); true; value >>= 8) {
      hash = (hash ^ (value & 0xff)) * 1099511628211ULL;
      if (value < 256) {
        break;
      }
    }
    hash = (hash ^ 0x2c) * 1099511628211ULL;
  }
  return hash ^ (hash >> 29);
}

struct Stored {
  NumberFormat format;
  NumberFormat arithmetic;
  std::string_view variant;
};

Stored weights_format(std::string_view dtype) {
  using enum NumberFormat;
  struct Entry {
    std::string_view name;
    Stored stored;
  };
  static constexpr Entry kEntries[] = {
      {"bfloat16", {bf16, bf16, ""}},
      {"float16", {fp16, fp16, ""}},
      {"fp8", {fp8, fp8, ""}},
      {"fp8_block", {fp8_block, fp8_block, ""}},
      {"nvfp4", {nvfp4, nvfp4, ""}},
      {"int8_wo", {int8, bf16, ""}},
      {"sq", {int8, int8, "smoothquant"}},
      {"int4_wo", {int4, bf16, ""}},
      {"w4a16_mxfp4", {mxfp4, bf16, ""}},
      {"w4a8_mxfp4_mxfp8", {mxfp4, fp8, "activations_fp8"}},
  };
  for (const Entry& entry : kEntries) {
    if (entry.name == dtype) {
      return entry.stored;
    }
  }
  return {bf16, bf16, "unknown"};
}

/// Two matrices an expert instead of three: named so by TensorRT-LLM, by shape elsewhere (README).
bool is_plain_moe(std::string_view framework, std::string_view kernel, double hidden, double inter,
                  double top_k, double experts) {
  if (framework == "trtllm") {
    return kernel == "moe_torch_flow_nongated";
  }
  return top_k == 22 || (hidden == 2688 && inter == 1856 && top_k == 6 && experts == 128);
}

class RowBuilder {
 public:
  RowBuilder(const MeasurementTable& table, const std::unordered_set<std::string>& slow_rows)
      : table_(table), slow_rows_(slow_rows), name_(table.identity().table) {
    if (name_ == "gemm") {
      first_ = {table.numbers("m"), table.numbers("n"), table.numbers("k")};
    } else if (name_.ends_with("moe")) {
      for (const char* column : {"num_tokens", "hidden_size", "inter_size", "topk", "num_experts",
                                 "moe_tp_size", "moe_ep_size"}) {
        first_.push_back(table.numbers(column));
      }
      slots_ = table.numbers_or("num_slots", 0);
      rank_tokens_ = table.numbers_or("rank0_num_tokens", 0);
    } else if (name_.ends_with("attention") || name_.ends_with("mla")) {
      for (const char* column : {"batch_size", "isl", "num_heads", "step"}) {
        first_.push_back(table.numbers(column));
      }
      if (name_.ends_with("attention")) {
        first_.push_back(table.numbers("num_key_value_heads"));
        first_.push_back(table.numbers("head_dim"));
        window_ = table.numbers_or("window_size", 0);
      }
    } else if (name_ == "mla_bmm") {
      first_ = {table.numbers("num_tokens"), table.numbers("num_heads")};
    } else {
      first_ = {table.numbers("m"), table.numbers("k")};
    }
  }

  /// Fills `row` and the identity part of `curve`.
  void build(std::size_t i, CalibrationRow& row, CurveRows& curve) const {
    curve.variant.clear();
    if (name_ == "gemm") {
      build_gemm(i, row, curve);
    } else if (name_.ends_with("moe")) {
      build_moe(i, row, curve);
    } else if (name_.ends_with("attention")) {
      build_attention(i, row, curve);
    } else if (name_.ends_with("mla")) {
      build_mla(i, row, curve);
    } else if (name_ == "mla_bmm") {
      build_batched(i, row, curve);
    } else {
      build_stream(i, row, curve);
    }
    row.seconds = table_.latency_s(i);
    row.file_row = table_.file_row(i);
  }

 private:
  double at(std::size_t column, std::size_t i) const { return first_[column][i]; }

  static void set(CurveRows& curve, OpFamily family, const Stored& stored, std::string_view dtype) {
    curve.family = family;
    curve.format = stored.format;
    curve.arithmetic = stored.arithmetic;
    curve.variant = stored.variant;
    curve.dtype = dtype;
  }

  void build_gemm(std::size_t i, CalibrationRow& row, CurveRows& curve) const {
    const std::string_view dtype = table_.word("gemm_dtype", i);
    const Stored stored = weights_format(dtype);
    set(curve, OpFamily::gemm, stored, dtype);
    if (table_.identity().framework == "vllm" && stored.format == NumberFormat::fp8_block) {
      curve.variant = "eager";  // timed launch by launch, with a floor of host time (README)
    }
    row.op = GemmOp{at(0, i), at(1, i), at(2, i), stored.format};
    row.shape = key_of({at(1, i), at(2, i)});
  }

  void build_moe(std::size_t i, CalibrationRow& row, CurveRows& curve) const {
    const std::string_view dtype = table_.word("moe_dtype", i);
    const std::string_view kernel = table_.word("kernel_source", i);
    const std::string distribution(table_.word("distribution", i));
    const Stored stored = weights_format(dtype);
    set(curve, OpFamily::grouped_gemm, stored, dtype);
    const bool plain =
        is_plain_moe(table_.identity().framework, kernel, at(1, i), at(2, i), at(3, i), at(4, i));
    MoeOp op;
    op.tokens = at(0, i);
    op.hidden = at(1, i);
    op.width = at(2, i);
    op.top_k = at(3, i);
    op.experts = at(4, i);
    op.tensor_ways = at(5, i);
    op.expert_ways = at(6, i);
    op.gated = !plain;
    op.weights = stored.format;
    op.load = sampled_expert_load(op.tokens, static_cast<int>(op.top_k),
                                  static_cast<int>(op.experts), static_cast<int>(op.expert_ways),
                                  distribution, static_cast<int>(slots_[i]));
    if (name_ == "wideep_moe") {
      // The experts see only the tokens that touch the rank.
      op.tokens = std::max(1.0, rank_tokens_[i]);
      curve.variant = "wideep";
    } else if (kernel.ends_with("_min_latency")) {
      curve.variant = "min_latency";
    } else if (name_ == "wideep_context_moe") {
      curve.variant = "deepep_normal";
    } else if (name_ == "wideep_generation_moe") {
      curve.variant = "deepep_low_latency";
    }
    if (curve.variant == "min_latency") {
      curve.dtype += " min_latency";
    }
    row.op = op;
    row.shape = key_of({op.hidden, op.width, op.top_k, op.experts, op.tensor_ways, op.expert_ways});
    row.model = key_of({op.hidden, op.width, op.experts, op.top_k});
    row.what = table_.word("distribution", i);
    if (!slow_rows_.empty()) {
      std::string key =
          table_.identity().system + "," + std::string(dtype) + "," + std::string(kernel);
      for (std::size_t column = 0; column < 7; ++column) {
        key += "," + std::to_string(static_cast<long>(at(column, i)));
      }
      row.slow = slow_rows_.contains(key + "," + distribution);
    }
  }

  void build_attention(std::size_t i, CalibrationRow& row, CurveRows& curve) const {
    const std::string dtype = std::string(table_.word("attn_dtype", i)) + "/" +
                              std::string(table_.word("kv_cache_dtype", i));
    const NumberFormat cache = weights_format(table_.word("kv_cache_dtype", i)).format;
    const NumberFormat arithmetic = weights_format(table_.word("attn_dtype", i)).format;
    set(curve, OpFamily::attention_prefill,
        {cache, arithmetic, arithmetic == NumberFormat::fp8 ? "fp8_math" : ""}, dtype);
    row.shape = key_of({at(2, i), at(4, i), at(5, i)});
    if (name_ == "context_attention") {
      row.op = AttentionPrefillOp{at(0, i), at(1, i), at(3, i),   at(2, i),
                                  at(4, i), at(5, i), window_[i], cache};
      return;
    }
    curve.family = OpFamily::attention_decode;
    const double context = at(3, i) + 1.0;
    AttentionDecodeOp op;
    op.sequences = at(0, i);
    op.context = window_[i] > 0 ? std::min(context, window_[i]) : context;
    op.heads = at(2, i);
    op.kv_heads = at(4, i);
    op.head_dim = at(5, i);
    op.window = window_[i];
    op.kv_cache = cache;
    row.op = op;
  }

  void build_mla(std::size_t i, CalibrationRow& row, CurveRows& curve) const {
    const std::string dtype = std::string(table_.word("mla_dtype", i)) + "/" +
                              std::string(table_.word("kv_cache_dtype", i));
    const NumberFormat cache = weights_format(table_.word("kv_cache_dtype", i)).format;
    const NumberFormat arithmetic = weights_format(table_.word("mla_dtype", i)).format;
    set(curve, OpFamily::mla_prefill,
        {cache, arithmetic, arithmetic == NumberFormat::fp8 ? "fp8_math" : ""}, dtype);
    row.shape = key_of({at(2, i)});
    if (name_ == "context_mla") {
      MlaPrefillOp op;
      op.sequences = at(0, i);
      op.new_tokens = at(1, i);
      op.cached_tokens = at(3, i);
      op.heads = at(2, i);
      // SGLang on Hopper multiplies in the latent space (README, "More traps").
      op.absorbed =
          table_.identity().framework == "sglang" && table_.identity().system.starts_with("h");
      op.kv_cache = cache;
      row.op = op;
      return;
    }
    curve.family = OpFamily::mla_decode;
    MlaDecodeOp op;
    op.sequences = at(0, i);
    op.context = at(3, i) + 1.0;
    op.heads = at(2, i);
    op.kv_cache = cache;
    row.op = op;
  }

  void build_batched(std::size_t i, CalibrationRow& row, CurveRows& curve) const {
    const std::string_view dtype = table_.word("bmm_dtype", i);
    const Stored stored = weights_format(dtype);
    set(curve, OpFamily::batched_gemm, stored, dtype);
    const bool before = table_.word("op_name", i) == "mla_gen_pre";
    row.op = BatchedGemmOp{at(1, i), at(0, i), before ? 512.0 : 128.0, before ? 128.0 : 512.0,
                           stored.format};
    row.shape = key_of({at(1, i)});
  }

  void build_stream(std::size_t i, CalibrationRow& row, CurveRows& curve) const {
    // Static scaling reads bf16 and writes fp8; the absmax pass only reads.
    const double bytes = at(0, i) * at(1, i) * (name_ == "scale_matrix" ? 3.0 : 2.0);
    set(curve, OpFamily::elementwise,
        {NumberFormat::bf16, NumberFormat::bf16, name_ == "scale_matrix" ? "" : "absmax"},
        table_.word("quant_dtype", i));
    row.op = ElementwiseOp{Bytes(bytes), 1.0};
    row.shape = key_of({at(1, i)});
  }

  const MeasurementTable& table_;
  const std::unordered_set<std::string>& slow_rows_;
  const std::string name_;
  std::vector<std::span<const double>> first_;
  std::vector<double> window_, slots_, rank_tokens_;
};

/// Bytes that any implementation must move from device memory; 0 where caches may hold them.
double necessary_bytes(const Op& op, const DevicePeaks& device) {
  double bytes = 0;
  if (const auto* gemm = std::get_if<GemmOp>(&op)) {
    bytes = gemm->n * gemm->k * bytes_per_element(gemm->weights);
  } else if (const auto* moe = std::get_if<MoeOp>(&op)) {
    bytes = moe->load.active_experts * (moe->gated ? 3.0 : 2.0) * moe->hidden * moe->width /
            moe->tensor_ways * bytes_per_element(moe->weights);
  }
  // What fits in L2 need not come from memory when an op is repeated.
  return bytes > 2.0 * device.l2_bytes ? bytes - device.l2_bytes : 0.0;
}

}  // namespace

std::unordered_set<std::string> read_slow_rows(const std::string& folder) {
  namespace fs = std::filesystem;
  std::unordered_set<std::string> keys;
  fs::path at(folder);
  for (int up = 0; up < 3 && keys.empty(); ++up, at = at.parent_path()) {
    for (const char* name : {"moe_trtllm_slow_rows.csv.gz", "moe_trtllm_slow_rows.csv"}) {
      std::error_code error;
      if (!fs::is_regular_file(at / name, error)) {
        continue;
      }
      const std::string text = read_maybe_gzip((at / name).string());
      for (std::size_t from = 0; from < text.size();) {
        const std::size_t end = std::min(text.size(), text.find('\n', from));
        const std::string_view line = std::string_view(text).substr(from, end - from);
        keys.emplace(line.substr(0, line.rfind(',')));
        from = end + 1;
      }
    }
  }
  return keys;
}

std::vector<CurveRows> calibration_rows(const MeasurementTable& table, const DevicePeaks& device,
                                        const std::unordered_set<std::string>& slow_rows,
                                        std::vector<RejectedRow>& rejected) {
  std::vector<CurveRows> curves;
  const TableIdentity& identity = table.identity();
  const RowBuilder builder(table, slow_rows);
  CurveRows key;
  key.file = identity.path;
  key.system = identity.system;
  key.software = identity.framework + "-" + identity.version;
  key.table = identity.table;
  for (std::size_t i = 0; i < table.num_rows(); ++i) {
    CalibrationRow row;
    builder.build(i, row, key);
    if (row.seconds <= 0) {
      continue;  // a difference of two equal times: nothing to fit in log space
    }
    const double bytes = necessary_bytes(row.op, device);
    if (bytes > kFastestOfPeak * device.bytes_per_s * row.seconds) {
      rejected.push_back({identity.path, row.file_row,
                          "needs " + std::to_string(bytes / row.seconds / 1e12) +
                              " TB/s, above 1.05 x the peak: the kernel did less work than the row "
                              "says"});
      continue;
    }
    const auto same = [&](const CurveRows& curve) {
      return curve.format == key.format && curve.variant == key.variant && curve.dtype == key.dtype;
    };
    auto found = std::find_if(curves.begin(), curves.end(), same);
    if (found == curves.end()) {
      curves.push_back(key);
      found = curves.end() - 1;
    }
    found->rows.push_back(std::move(row));
  }
  return curves;
}

}  // namespace moesim
