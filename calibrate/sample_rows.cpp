// SPDX-License-Identifier: Apache-2.0
#include "calibrate/sample_rows.h"

#include <algorithm>
#include <map>
#include <optional>

#include "sim/base/error.h"

namespace moesim {
namespace {

using gpu::Sample;

double number_of(const Sample& sample, std::string_view key, double otherwise = 0.0) {
  const Json* value = sample.params.find(key);
  return value != nullptr && value->is_number() ? value->as_number() : otherwise;
}

std::string word_of(const Sample& sample, std::string_view key) {
  const Json* value = sample.params.find(key);
  return value != nullptr && value->is_text() ? value->as_text() : "";
}

NumberFormat format_of(const std::string& dtype) {
  for (const Choice<NumberFormat>& choice : choices_of(NumberFormat{})) {
    if (choice.name == dtype) {
      return choice.value;
    }
  }
  return NumberFormat::fp32;
}

double device_number(const Sample& sample, std::string_view key, double otherwise) {
  const Json* value = sample.device.find(key);
  return value != nullptr && value->is_number() ? value->as_number() : otherwise;
}

std::string device_name(const Sample& sample) {
  const Json* name = sample.device.find("name");
  return name != nullptr && name->is_text() ? name->as_text() : "";
}

/// FNV-1a of a text: keys of shapes and curves.
std::uint64_t key_of(std::string_view text) {
  std::uint64_t hash = 1469598103934665603ULL;
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  }
  return hash ^ (hash >> 29);
}

/// Experts with rows, from the bytes that the kernel's header counts (rows, weights of active
/// experts, results): kernels/grouped_gemm.h.
double active_experts(const Sample& sample, double rows, double n, double k, NumberFormat format) {
  const double in = format == NumberFormat::fp32 ? 4.0 : bytes_per_element(format);
  const double out = format == NumberFormat::fp32 ? 4.0 : 2.0;
  const double weights = sample.bytes.value() - in * k * rows - out * rows * n;
  return std::clamp(weights / (in * n * k), 1.0, std::max(1.0, number_of(sample, "experts", 1.0)));
}

/// What a sample is as an op; the shape text names what folds are left out by.
struct SampleOp {
  OpFamily family = OpFamily::elementwise;
  NumberFormat format = NumberFormat::bf16;
  std::string way;  ///< how it ran: "plain", "copy driver", "" when there is one way only
  Op op;
  std::string shape;
};

std::optional<SampleOp> op_of(const Sample& sample) {
  SampleOp out;
  const auto of = [&](const char* key) { return number_of(sample, key); };
  const auto shape = [&](std::initializer_list<const char*> keys) {
    for (const char* key : keys) {
      out.shape += number_text(of(key)) + ",";
    }
  };
  if (sample.op == "gemm") {
    out.family = OpFamily::gemm;
    out.format = format_of(word_of(sample, "dtype"));
    out.way = word_of(sample, "path");
    out.op = GemmOp{of("m"), of("n"), of("k"), out.format};
    shape({"n", "k"});
  } else if (sample.op == "grouped_gemm") {
    out.family = OpFamily::batched_gemm;
    out.format = format_of(word_of(sample, "dtype"));
    out.way = word_of(sample, "path");
    const double active = active_experts(sample, of("rows"), of("n"), of("k"), out.format);
    out.op = BatchedGemmOp{active, of("rows") / active, of("n"), of("k"), out.format};
    shape({"rows", "experts", "n", "k"});
    out.shape += word_of(sample, "balance");
  } else if (sample.op == "attention_decode") {
    out.family = OpFamily::attention_decode;
    out.op = AttentionDecodeOp{
        of("sequences"), 1.0, of("context"),     of("query_heads"), of("kv_heads"),
        of("head_size"), 0.0, NumberFormat::bf16};
    shape({"sequences", "context", "query_heads", "kv_heads"});
  } else if (sample.op == "router_gate") {
    out.family = OpFamily::routing;
    out.way = word_of(sample, "score") + (of("groups") > 1 ? " grouped" : "");
    out.op = RoutingOp{of("tokens"), of("experts"), of("top_k")};
    shape({"tokens", "experts"});
  } else if (sample.op == "permute_plan" || sample.op == "permute_rows" ||
             sample.op == "combine_rows") {
    // What a token costs depends on its width, which the op does not know: one curve a width.
    out.family = OpFamily::routing;
    out.way = sample.op + " " + number_text(of("hidden"));
    out.op = RoutingOp{of("tokens"), of("experts"), of("top_k")};
    shape({"tokens", "experts"});
  } else if (sample.bytes.value() > 0) {
    // Copies and collectives: bytes through a link or through memory.
    out.op = ElementwiseOp{sample.bytes, 1.0};
    out.way = sample.op == "memory_copy" ? "" : sample.op;
    for (const char* key : {"engine", "direction", "memory", "kind", "pairs", "mode"}) {
      const std::string word = word_of(sample, key);
      if (!word.empty() && !(sample.op == "memory_copy" && word == "kernel")) {
        out.way += (out.way.empty() ? "" : " ") + word;
      }
    }
    for (const char* key : {"streams", "ranks"}) {
      if (sample.params.find(key) != nullptr) {
        out.way += " x" + number_text(of(key));
      }
    }
    out.shape = number_text(sample.bytes.value());
  } else {
    return std::nullopt;
  }
  return out;
}

void note_device(const Sample& sample, SampledDevice& device) {
  device.memory_bytes = std::max(device.memory_bytes, device_number(sample, "memory_bytes", 0.0));
  const double seconds = sample_seconds(sample);
  if (sample.op == "launch_overhead") {
    const std::string mode = word_of(sample, "mode");
    if (mode == "graph") {
      device.launch_gap_s = seconds;
    } else if (mode == "enqueue") {
      device.launch_eager_s = seconds;
    }
  } else if (sample.op == "host_copy" && word_of(sample, "memory") == "pinned" &&
             word_of(sample, "direction") == "h2d" && number_of(sample, "streams", 1.0) == 1.0) {
    device.host_link_bytes_per_s =
        std::max(device.host_link_bytes_per_s, sample.bytes.value() / seconds);
  }
}

/// The fastest way of each (family, format) gets the variant "", by the best rate it reached.
std::map<std::string, std::string> usual_ways(std::span<const Sample> samples) {
  std::map<std::string, std::pair<double, std::string>> best;
  for (const Sample& sample : samples) {
    const std::optional<SampleOp> op = op_of(sample);
    if (!op || sample.is_cold ||
        (op->family != OpFamily::gemm && op->family != OpFamily::batched_gemm &&
         sample.op != "router_gate")) {
      continue;
    }
    const double rate = (sample.flops.value() + 1.0) / sample_seconds(sample);
    auto& entry = best[choice_name(op->family) + choice_name(op->format)];
    if (rate > entry.first) {
      entry = {rate, op->way};
    }
  }
  std::map<std::string, std::string> ways;
  for (const auto& [key, entry] : best) {
    ways[key] = entry.second;
  }
  return ways;
}

}  // namespace

double sample_seconds(const Sample& sample) {
  std::vector<double> seconds = sample.seconds;
  const auto middle = seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2);
  std::nth_element(seconds.begin(), middle, seconds.end());
  return *middle;
}

DevicePeaks sample_peaks(std::span<const Sample> samples) {
  DevicePeaks peaks;
  double copied = 0;  // bytes of the copy behind peaks.bytes_per_s
  for (const Sample& sample : samples) {
    const double seconds = sample_seconds(sample);
    peaks.multiprocessors =
        std::max(peaks.multiprocessors, device_number(sample, "num_processors", 1.0));
    peaks.l2_bytes = std::max(peaks.l2_bytes, device_number(sample, "cache_bytes", 0.0));
    if (sample.op == "memory_copy" && word_of(sample, "engine") == "kernel" && seconds > 0) {
      // What fits the cache measures the cache. Beyond four times its size the fastest copy counts,
      // below that the largest.
      const double beyond = 4 * device_number(sample, "cache_bytes", 0.0);
      const double bytes = sample.bytes.value();
      const double rate = bytes / seconds;
      const bool is_better =
          bytes >= beyond && copied >= beyond ? rate > peaks.bytes_per_s : bytes > copied;
      if (is_better || (bytes == copied && rate > peaks.bytes_per_s)) {
        peaks.bytes_per_s = rate;
        copied = bytes;
      }
    }
    if ((sample.op == "gemm" || sample.op == "grouped_gemm") && seconds > 0) {
      double& peak =
          peaks.flops_per_s[static_cast<std::size_t>(format_of(word_of(sample, "dtype")))];
      peak = std::max(peak, sample.flops.value() / seconds);
    }
  }
  if (peaks.bytes_per_s <= 0) {
    throw InputError("", "", "the samples hold no memory_copy of the kernel engine",
                     "run `moesim-kernels run memory_copy` into the same file");
  }
  return peaks;
}

SampleRows sample_rows(std::span<const Sample> samples, const std::string& file,
                       const std::string& system) {
  SampleRows result;
  const auto ways = usual_ways(samples);
  std::int64_t line = 0;
  for (const Sample& sample : samples) {
    ++line;
    if (line == 1) {
      result.device.device_name = device_name(sample);
      result.device.backend = sample.backend;
    } else if (device_name(sample) != result.device.device_name ||
               sample.backend != result.device.backend) {
      throw InputError(file, "line " + std::to_string(line),
                       "sample of \"" + device_name(sample) + "\" (" + sample.backend +
                           ") after samples of \"" + result.device.device_name + "\" (" +
                           result.device.backend + ")",
                       "the samples of one device");
    }
    note_device(sample, result.device);
    const std::optional<SampleOp> op = op_of(sample);
    if (!op) {
      result.rejected.push_back(
          {file, line, sample.op + " moves no bytes: no curve is fitted to it"});
      continue;
    }
    CurveRows key;
    key.file = file;
    key.system = system;
    key.software = "moesim-kernels-" + sample.backend;
    key.table = sample.op;
    key.family = op->family;
    key.format = op->format;
    key.arithmetic = op->format;
    const auto usual = ways.find(choice_name(op->family) + choice_name(op->format));
    key.variant = usual != ways.end() && usual->second == op->way ? "" : op->way;
    if (sample.is_cold) {
      key.variant += key.variant.empty() ? "cold" : " cold";
    }
    key.dtype = choice_name(op->format) + (op->way.empty() ? "" : " " + op->way) +
                (sample.is_cold ? " cold" : "");
    CalibrationRow row;
    row.op = op->op;
    row.seconds = sample_seconds(sample);
    row.shape = key_of(op->shape);
    row.file_row = line;
    if (!(row.seconds > 0)) {
      result.rejected.push_back({file, line, "a median time of 0: below the clock's resolution"});
      continue;
    }
    auto found = std::find_if(result.curves.begin(), result.curves.end(), [&](const CurveRows& c) {
      return c.family == key.family && c.format == key.format && c.variant == key.variant &&
             c.table == key.table;
    });
    if (found == result.curves.end()) {
      result.curves.push_back(std::move(key));
      found = result.curves.end() - 1;
    }
    found->rows.push_back(std::move(row));
  }
  return result;
}

}  // namespace moesim
