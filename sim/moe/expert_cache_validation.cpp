// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/expert_cache_validation.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <map>
#include <optional>

#include "sim/base/error.h"
#include "sim/input/measurement_tables.h"
#include "sim/moe/expert_cache_timing.h"

namespace moesim {
namespace {

using Row = std::map<std::string, std::string>;

/// Cells of one line; quoted cells may hold commas.
std::vector<std::string> csv_cells(std::string_view line) {
  std::vector<std::string> cells(1);
  bool is_quoted = false;
  for (const char c : line) {
    if (c == '"') {
      is_quoted = !is_quoted;
    } else if (c == ',' && !is_quoted) {
      cells.emplace_back();
    } else if (c != '\r') {
      cells.back() += c;
    }
  }
  return cells;
}

std::vector<Row> read_rows(const std::string& path, const std::vector<std::string>& needed) {
  const std::string text = read_maybe_gzip(path);
  std::vector<Row> rows;
  std::vector<std::string> header;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::vector<std::string> cells =
        csv_cells(std::string_view(text).substr(begin, end - begin));
    begin = end + 1;
    if (header.empty()) {
      header = cells;
      for (const std::string& column : needed) {
        if (std::find(header.begin(), header.end(), column) == header.end()) {
          throw InputError(path, "line 1", "no column \"" + column + "\"");
        }
      }
      continue;
    }
    Row row;
    for (std::size_t c = 0; c < header.size() && c < cells.size(); ++c) {
      row[header[c]] = cells[c];
    }
    for (const std::string& column : needed) {
      row.try_emplace(column);
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

/// The number that a cell starts with and ends with; a range ("1.9-2.5") or bound (">3") is none.
std::optional<double> number(const std::string& cell) {
  double value = 0.0;
  const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
  return error == std::errc() && end == cell.data() + cell.size() ? std::optional(value)
                                                                  : std::nullopt;
}

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

/// Both coefficients of seconds = fixed + work * per_work through two points.
struct Line {
  double fixed = 0.0;
  double per_work = 0.0;
};
Line through(double work_a, double seconds_a, double work_b, double seconds_b) {
  const double per_work = (seconds_b - seconds_a) / (work_b - work_a);
  return {seconds_a - work_a * per_work, per_work};
}

class Validation {
 public:
  explicit Validation(const std::string& folder) : folder_(folder) {}

  OffloadValidation run() {
    if (is_present("expert_cache_hit_rates.csv")) {
      hit_rates();
    }
    if (is_present("throughput.csv")) {
      rows_ = read_rows((folder_ / "offload" / "throughput.csv").string(),
                        {"system", "model", "n_gpus", "host", "phase", "context_tokens", "value",
                         "unit", "gpu_expert_budget", "hit_rate", "source_id"});
    }
    for (const Row& row : rows_) {
      throughput(row);
    }
    return std::move(result_);
  }

 private:
  static std::string row_name(const Row& row) {
    std::string name = row.at("source_id") + ": ";
    for (const char* column :
         {"system", "model", "policy", "slots", "phase", "context_tokens", "gpu_expert_budget"}) {
      const auto found = row.find(column);
      if (found != row.end() && !found->second.empty()) {
        name += (name.ends_with(": ") ? "" : ", ") + found->second;
      }
    }
    return name;
  }
  bool is_present(const std::string& table) {
    std::error_code error;
    if (std::filesystem::is_regular_file(folder_ / "offload" / table, error)) {
      return true;
    }
    result_.absent.push_back(table);
    return false;
  }
  void omit(const Row& row, std::string reason) {
    const bool is_throughput = row.count("value") > 0;
    result_.omitted.push_back(
        {is_throughput ? "offload_throughput" : "expert_cache_hit_rate", row_name(row),
         number(row.at(is_throughput ? "value" : "hit_rate")).value_or(0.0), std::move(reason)});
  }

  // --- hit rates

  void hit_rates() {
    for (const Row& row : read_rows((folder_ / "offload" / "expert_cache_hit_rates.csv").string(),
                                    {"model", "policy", "slots", "hit_rate", "source_id"})) {
      const std::string& source = row.at("source_id");
      const std::optional<double> measured = number(row.at("hit_rate"));
      const std::optional<double> slots = number(row.at("slots"));
      if (!measured || !slots) {
        omit(row, "no single figure, or the number of slots is not given");
      } else if (source == "mer_116") {
        add_hit_rate(row, *measured, uniform_hit_rate(static_cast<int>(*slots)));
      } else if (source == "bigmoe_cliff") {
        // 1,815 MiB are the 36 x 4 experts of a token; the budget holds this many of them.
        add_hit_rate(row, *measured,
                     gpt_oss_lru_hit_rate(static_cast<int>(*slots / 1815.0 * 36 * 4)));
      } else if (source == "mkvn_olmoe") {
        olmoe(row, *measured, static_cast<int>(*slots));
      } else {
        omit(row, "the trace behind it was not published");
      }
    }
  }

  void add_hit_rate(const Row& row, double measured, double predicted) {
    result_.cases.push_back(
        {"expert_cache_hit_rate", row_name(row), "fraction", measured, predicted, false});
  }

  /// Mixtral's shape under independent uniform tokens. The policy is not named; a set chosen
  /// beforehand stands for any that does not know the future and does not follow the cycle.
  static double uniform_hit_rate(int slots) {
    StickyTraceSpec spec;
    spec.layers = 32;
    spec.experts = 8;
    spec.top_k = 2;
    spec.steps = 1000;
    CacheSpec cache;
    cache.policy = "static";
    cache.scope = CacheScope::global;
    cache.slots = slots;
    cache.popularity.assign(256, 1.0);
    return replay_expert_cache(sticky_trace(spec), cache).hit_rate();
  }

  static double gpt_oss_lru_hit_rate(int slots) {
    StickyTraceSpec spec;
    spec.layers = 36;
    spec.experts = 128;
    spec.top_k = 4;
    spec.steps = 200;
    spec.repeat_fraction =
        0.45;  // of selections that repeat at the next token (locality_and_prefetch.csv)
    CacheSpec cache;
    cache.scope = CacheScope::global;
    cache.slots = slots;
    return replay_expert_cache(sticky_trace(spec), cache).hit_rate();
  }

  void olmoe(const Row& row, double measured, int slots) {
    const std::filesystem::path counts_file = folder_ / "routing" / "load_counts.csv";
    if (!std::filesystem::exists(counts_file)) {
      omit(row, "routing/load_counts.csv, which holds the popularity, is absent");
      return;
    }
    if (!olmoe_trace_) {
      std::map<int, std::vector<double>> counts;
      for (const Row& count :
           read_rows(counts_file.string(), {"model", "task", "kind", "layer", "count"})) {
        if (count.at("model") == "OLMoE-1B-7B-0924" && count.at("task") == "c4" &&
            count.at("kind") == "topk") {
          counts[std::stoi(count.at("layer"))].push_back(number(count.at("count")).value_or(0.0));
        }
      }
      StickyTraceSpec spec;
      spec.layers = 16;
      spec.experts = 64;
      spec.top_k = 8;
      spec.steps = 1000;
      spec.repeat_fraction = 0.25;
      for (int layer = 0; layer < spec.layers; ++layer) {
        spec.popularity.push_back(counts[layer < 4 ? 0 : layer < 12 ? 7 : 15]);
      }
      olmoe_trace_ = sticky_trace(spec);
    }
    CacheSpec cache;
    cache.policy = contains(row.at("policy"), "static") ? "static" : "lru";
    cache.scope = CacheScope::global;
    cache.slots = slots;
    add_hit_rate(row, measured, replay_expert_cache(*olmoe_trace_, cache).hit_rate());
  }

  // --- throughput

  void throughput(const Row& row) {
    const std::optional<double> value = number(row.at("value"));
    const std::string& source = row.at("source_id");
    const bool is_decode = contains(row.at("phase"), "decode");
    if (!value || *value <= 0.0) {
      omit(row, "no single figure");
    } else if (source == "kt_r1" && is_decode) {
      cpu_experts(row, *value);
    } else if (source == "kt_sched") {
      expert_share(row, *value);
    } else if (source == "imp_pr1365" && is_decode) {
      cached_experts(row, *value);
    } else if (source == "moe_infinity" && row.at("system") == "MoE-Infinity" &&
               row.at("model") == "Mixtral-8x7b") {
      mixtral_over_pcie(row, 1.0 / *value);
    } else if (source == "moe_infinity") {
      omit(row,
           "streams whole layers, quantises, or includes an encoder: not an expert cache alone");
    } else if (!is_decode) {
      omit(row, "prefill touches nearly all experts: a matter of compute, not of the cache");
    } else {
      omit(row, "link, model size or engine overhead is not published");
    }
  }

  void add_throughput(const Row& row, double measured, double predicted, bool is_calibration) {
    result_.cases.push_back(
        {"offload_throughput", row_name(row), "tokens/s", measured, predicted, is_calibration});
  }

  /// The value of the first row of `source` whose system contains `system` and phase is decode.
  std::optional<double> value_of(const std::string& source, std::string_view system,
                                 std::string_view budget = "") const {
    for (const Row& row : rows_) {
      if (row.at("source_id") == source && contains(row.at("system"), system) &&
          !contains(row.at("phase"), "prefill") &&
          row.at("gpu_expert_budget").starts_with(budget)) {
        return number(row.at("value"));
      }
    }
    return std::nullopt;
  }

  // DeepSeek-R1: 58 MoE layers, 3 x 7168 x 2048 weights an expert, Q4_K_M at 4.85 bits a weight
  // (llama.cpp).
  static constexpr int kR1Layers = 58;
  static constexpr double kR1ExpertBytes = 3.0 * 7168 * 2048 * 4.85 / 8;

  void cpu_experts(const Row& row, double measured) {
    const std::string& system = row.at("system");
    const auto six = value_of("kt_r1", "Single socket Ktrans (6");
    const auto eight = value_of("kt_r1", "Single socket Ktrans (8");
    if (contains(system, "llama.cpp") || contains(system, "KTrans (") || !six || !eight) {
      omit(row, "no calibration row of the same engine");
      return;
    }
    const double bytes = kR1Layers * kR1ExpertBytes;
    const Line line = through(6.0 * bytes, 1.0 / *six, 8.0 * bytes, 1.0 / *eight);
    const bool is_single = contains(system, "Single socket");
    OffloadSpec spec;
    spec.on_miss = MissHandling::cpu;
    spec.expert_bytes = Bytes(kR1ExpertBytes);
    spec.link_rate = BytesPerSecond(26e9);  // PCIe 4.0 x16, not used: activations only
    spec.cpu_rate = BytesPerSecond((is_single ? 1.0 : 2.0) / line.per_work);
    spec.step_seconds = Seconds(line.fixed);
    const double experts = contains(system, "6 experts") ? 6.0 : 8.0;
    add_throughput(row, measured, 1.0 / offload_step_seconds(spec, kR1Layers, experts, 0.0).value(),
                   is_single);
  }

  void expert_share(const Row& row, double measured) {
    const std::string& system = row.at("system");
    const std::string& budget = row.at("gpu_expert_budget");
    const auto none = value_of("kt_sched", "placement=random", "0%");
    const auto all = value_of("kt_sched", "placement=random", "100%");
    if (contains(system, "frequency") || contains(system, "dynamic") || !none || !all) {
      omit(row, "needs the popularity of the experts, which was not published");
      return;
    }
    // Experts at random, evenly or by whole layers: their share of the selections is their share of
    // the experts.
    const double share = std::stod(budget.substr(0, budget.find('%'))) / 100.0;
    const Line line = through(0.0, 1.0 / *all, 1.0, 1.0 / *none);
    add_throughput(row, measured, 1.0 / (line.fixed + (1.0 - share) * line.per_work),
                   share == 0.0 || share == 1.0);
  }

  void cached_experts(const Row& row, double measured) {
    const auto resident = value_of("imp_pr1365", "resident", "all resident");
    const auto staged = value_of("imp_pr1365", "staging only");
    const std::optional<double> hit_rate = number(row.at("hit_rate"));
    if (!resident || !staged) {
      omit(row, "no calibration rows");
      return;
    }
    // Qwen3-30B-A3B: 48 layers, 8 experts a token, 3 x 2048 x 768 weights, Q4_K_M.
    OffloadSpec spec;
    spec.expert_bytes = Bytes(3.0 * 2048 * 768 * 4.85 / 8);
    spec.link_rate = BytesPerSecond(25.6e9);
    spec.step_seconds = Seconds(1.0 / *resident);
    // The resident model runs as one captured graph. With experts on the host, where each one lies
    // is decided by the host: it reads the router's choice back and launches the layer kernel by
    // kernel, three matrices of every expert and about a dozen others.
    constexpr double kKernels = 3 * 8 + 12;
    constexpr double kEagerLaunch = 5e-6;     // estimate of the device profiles (launch_eager_s)
    constexpr double kHostRoundTrip = 20e-6;  // estimate: copy of the ids, stream synchronisation
    const double layer = 1.0 / *resident / 48;
    spec.host_dispatch = Seconds(kHostRoundTrip + std::max(0.0, kKernels * kEagerLaunch - layer));
    const double offloaded = 48 * spec.host_dispatch.value();
    const double per_miss = (1.0 / *staged - 1.0 / *resident - offloaded) / (48 * 8);
    spec.link_latency = Seconds(per_miss) - spec.expert_bytes / spec.link_rate;
    const bool is_resident = row.at("gpu_expert_budget") == "all resident";
    if (is_resident) {
      spec.host_dispatch = Seconds(0);
    }
    const double predicted =
        1.0 / offload_step_seconds(spec, 48, 8, is_resident ? 1.0 : hit_rate.value_or(0.0)).value();
    add_throughput(row, measured, predicted, is_resident || contains(row.at("system"), "staging"));
  }

  /// Mixtral in bf16 on an RTX A5000: 24 GB at 768 GB/s (NVIDIA data sheet), PCIe 4.0 x16 at 26
  /// GB/s measured.
  void mixtral_over_pcie(const Row& row, double measured) {
    constexpr double kExpertBytes = 3.0 * 4096 * 14336 * 2;
    constexpr double kOtherBytes = (46.7e9 - 32 * 8 * 3.0 * 4096 * 14336) * 2;
    constexpr double kWorkspace =
        2e9;  // estimate: CUDA context, activations, KV cache of one request
    const double slots = std::floor((24e9 - kOtherBytes - kWorkspace) / kExpertBytes);
    OffloadSpec spec;
    spec.expert_bytes = Bytes(kExpertBytes);
    spec.link_rate = BytesPerSecond(26e9);
    // Weights are read once a token: 12.9e9 active in bf16 at 0.8 of the bandwidth (typical weight
    // streaming).
    spec.step_seconds = Seconds(12.9e9 * 2 / (0.8 * 768e9));
    // Mixtral routes nearly evenly (max/mean 1.1-1.3), so experts kept by popularity are hit at
    // their share.
    add_throughput(row, measured, 1.0 / offload_step_seconds(spec, 32, 2, slots / 256.0).value(),
                   false);
  }

  std::filesystem::path folder_;
  std::vector<Row> rows_;
  std::optional<ExpertTrace> olmoe_trace_;
  OffloadValidation result_;
};

}  // namespace

double OffloadCase::error() const {
  return unit == "fraction" ? std::abs(predicted - measured) : std::abs(predicted / measured - 1.0);
}

double OffloadValidation::median_error(const std::string& group) const {
  std::vector<double> errors;
  for (const OffloadCase& row : cases) {
    if (row.group == group && !row.is_calibration) {
      errors.push_back(row.error());
    }
  }
  if (errors.empty()) {
    return 0.0;
  }
  std::sort(errors.begin(), errors.end());
  const std::size_t middle = errors.size() / 2;
  return errors.size() % 2 == 1 ? errors[middle] : (errors[middle - 1] + errors[middle]) / 2.0;
}

OffloadValidation validate_offload(const std::string& data_folder) {
  return Validation(data_folder).run();
}

}  // namespace moesim
