// SPDX-License-Identifier: Apache-2.0
#include "calibrate/comm_samples.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <map>
#include <numeric>
#include <string_view>
#include <tuple>

#include "sim/base/random.h"
#include "sim/input/measurement_tables.h"

namespace moesim {
namespace {

constexpr std::size_t kMaxProblems = 100;

/// A table of text cells by column name. No cell of these files is quoted except in columns that
/// are not read.
class TextTable {
 public:
  TextTable(std::string path, CommSamples& samples)
      : path_(std::move(path)), samples_(samples), text_(read_maybe_gzip(path_)) {
    std::size_t begin = 0;
    while (begin < text_.size()) {
      std::size_t end = text_.find('\n', begin);
      end = end == std::string::npos ? text_.size() : end;
      std::string_view line(text_.data() + begin, end - begin);
      if (!line.empty() && line.back() == '\r') {
        line.remove_suffix(1);
      }
      ++line_;
      if (!line.empty()) {
        rows_.emplace_back(line_, split(line));
      }
      begin = end + 1;
    }
    if (rows_.empty()) {
      return;
    }
    for (std::size_t i = 0; i < rows_[0].second.size(); ++i) {
      columns_[std::string(rows_[0].second[i])] = i;
    }
    rows_.erase(rows_.begin());
  }

  std::size_t size() const { return rows_.size(); }
  const std::string& path() const { return path_; }
  std::int64_t file_row(std::size_t row) const { return rows_[row].first; }

  /// Reports every column that is missing.
  bool has(std::initializer_list<const char*> names) {
    bool all = true;
    for (const char* name : names) {
      if (columns_.count(name) == 0) {
        add_problem("row 1", "has no column \"" + std::string(name) + "\"");
        all = false;
      }
    }
    return all;
  }
  std::string word(std::size_t row, const char* name) const {
    const auto found = columns_.find(name);
    const auto& cells = rows_[row].second;
    return found == columns_.end() || found->second >= cells.size()
               ? ""
               : std::string(cells[found->second]);
  }
  /// A number in [low, 1e15]; an empty cell is `otherwise` when that is not negative.
  double number(std::size_t row, const char* name, double low, double otherwise = -1) {
    const std::string text = word(row, name);
    if (text.empty() && otherwise >= 0) {
      return otherwise;
    }
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || !(value >= low) ||
        value > 1e15) {
      add_problem("row " + std::to_string(file_row(row)) + ", column " + name,
                  "\"" + text.substr(0, 40) + "\" is no number of at least " + number_text(low));
      is_bad_ = true;
    }
    return value;
  }
  std::int64_t whole(std::size_t row, const char* name, std::int64_t low,
                     std::int64_t otherwise = -1) {
    const double value =
        number(row, name, static_cast<double>(low), static_cast<double>(otherwise));
    if (!is_bad_ && value != std::floor(value)) {
      add_problem("row " + std::to_string(file_row(row)) + ", column " + name,
                  number_text(value) + " is no whole number");
      is_bad_ = true;
    }
    return is_bad_ ? low : static_cast<std::int64_t>(value);
  }
  /// Whether a cell was wrong since the last call.
  bool take_bad() { return std::exchange(is_bad_, false); }

 private:
  static std::vector<std::string_view> split(std::string_view line) {
    std::vector<std::string_view> cells;
    std::size_t begin = 0;
    bool is_quoted = false;
    for (std::size_t i = 0; i <= line.size(); ++i) {
      if (i < line.size() && line[i] == '"') {
        is_quoted = !is_quoted;
      }
      if (i == line.size() || (line[i] == ',' && !is_quoted)) {
        cells.push_back(line.substr(begin, i - begin));
        begin = i + 1;
      }
    }
    return cells;
  }
  void add_problem(std::string where, std::string what) {
    if (samples_.problems.size() < kMaxProblems) {
      samples_.problems.push_back({path_, std::move(where), std::move(what), ""});
    }
  }

  std::string path_;
  CommSamples& samples_;
  std::string text_;
  std::int64_t line_ = 0;
  std::vector<std::pair<std::int64_t, std::vector<std::string_view>>> rows_;
  std::map<std::string, std::size_t, std::less<>> columns_;
  bool is_bad_ = false;
};

void read_nccl(TextTable& table, CommSamples& samples) {
  if (!table.has({"system", "op", "num_gpus", "size_bytes", "time_us"})) {
    return;
  }
  static constexpr std::pair<const char*, CollectiveOp> kOps[] = {
      {"alltoall", CollectiveOp::all_to_all},
      {"all_gather", CollectiveOp::all_gather},
      {"reduce_scatter", CollectiveOp::reduce_scatter},
      {"all_reduce", CollectiveOp::all_reduce}};
  for (std::size_t row = 0; row < table.size(); ++row) {
    CollectiveSample sample;
    const std::string op = table.word(row, "op");
    const auto* found = std::find_if(std::begin(kOps), std::end(kOps),
                                     [&](const auto& known) { return op == known.first; });
    sample.ranks = table.whole(row, "num_gpus", 2);
    sample.bytes = table.number(row, "size_bytes", 1);
    sample.seconds = 1e-6 * table.number(row, "time_us", 1e-3);
    if (table.take_bad()) {
      continue;
    }
    if (found == std::end(kOps)) {
      samples.problems.push_back({table.path(), "row " + std::to_string(table.file_row(row)),
                                  "\"" + op + "\" is no collective known here", ""});
      continue;
    }
    sample.op = found->second;
    sample.system = table.word(row, "system");
    std::string version = table.word(row, "nccl_runtime");
    if (version.empty()) {
      const std::string dataset = table.word(row, "dataset");
      version = dataset.substr(dataset.rfind('/') + 1);
    }
    sample.software = "NCCL " + version;
    sample.variant = table.word(row, "dtype");
    sample.file = table.path();
    sample.file_row = table.file_row(row);
    samples.collectives.push_back(std::move(sample));
  }
}

void read_custom(TextTable& table, CommSamples& samples) {
  if (!table.has({"system", "kernel", "num_gpus", "message_elements", "time_us"})) {
    return;
  }
  for (std::size_t row = 0; row < table.size(); ++row) {
    CollectiveSample sample;
    sample.library = CollectiveLibrary::custom;
    sample.ranks = table.whole(row, "num_gpus", 2);
    sample.bytes = 2.0 * table.number(row, "message_elements", 1);  // bf16
    sample.seconds = 1e-6 * table.number(row, "time_us", 1e-3);
    sample.system = table.word(row, "system");
    sample.software = table.word(row, "framework");
    sample.variant = table.word(row, "kernel");
    sample.file = table.path();
    sample.file_row = table.file_row(row);
    if (!table.take_bad()) {
      samples.collectives.push_back(std::move(sample));
    }
  }
}

void read_exchange(TextTable& table, bool is_low_latency, CommSamples& samples) {
  if (!table.has({"system", "nodes", "ep_size", "hidden", "tokens_per_gpu", "topk", "experts"}) ||
      !(is_low_latency ? table.has({"dispatch_us", "combine_us"})
                       : table.has({"dispatch_sms", "dispatch_transmit_us", "dispatch_notify_us",
                                    "combine_sms", "combine_transmit_us", "combine_notify_us"}))) {
    return;
  }
  std::map<std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t>,
           UniformFanOut>
      fan_outs;
  for (std::size_t row = 0; row < table.size(); ++row) {
    ExchangeSample sample;
    sample.is_low_latency = is_low_latency;
    sample.system = table.word(row, "system");
    sample.nodes = table.whole(row, "nodes", 1);
    sample.tokens = table.number(row, "tokens_per_gpu", 1);
    const std::int64_t ranks = table.whole(row, "ep_size", 1);
    const std::int64_t experts = table.whole(row, "experts", 1);
    const std::int64_t top_k = table.whole(row, "topk", 1);
    const std::int64_t groups = table.whole(row, "topk_groups", 0, 0);
    sample.top_k = static_cast<double>(top_k);
    sample.size.hidden = table.number(row, "hidden", 1);
    sample.size.is_one_node = sample.nodes == 1;
    const std::string flag = table.word(row, "flag");
    sample.is_slow_fabric = flag.find("slow_fabric") != std::string::npos;
    sample.file = table.path();
    sample.file_row = table.file_row(row);
    ExchangeDemand& demand = sample.size.demand;
    demand.ranks = ranks;
    sample.size.domain_ranks = static_cast<double>(ranks) / static_cast<double>(sample.nodes);
    demand.tokens = sample.tokens;
    demand.experts = static_cast<double>(experts);
    const double remote_share =
        static_cast<double>(sample.nodes - 1) / static_cast<double>(sample.nodes);
    demand.remote_selections = sample.tokens * sample.top_k * remote_share;
    demand.local_selections = sample.tokens * sample.top_k * (1.0 - remote_share);
    if (!is_low_latency && ranks <= experts && top_k <= experts && ranks % sample.nodes == 0) {
      const auto [found, is_new] =
          fan_outs.try_emplace({ranks, sample.nodes, experts, top_k, groups});
      if (is_new) {
        found->second = uniform_fan_out(ranks, sample.nodes, experts, top_k, groups);
      }
      demand.rank_copies = sample.tokens * found->second.ranks;
      demand.node_copies = sample.tokens * found->second.remote_nodes;
    }
    for (const ExchangeDirection direction :
         {ExchangeDirection::dispatch, ExchangeDirection::combine}) {
      const bool is_dispatch = direction == ExchangeDirection::dispatch;
      sample.direction = direction;
      sample.size.format = is_dispatch ? NumberFormat::fp8_block : NumberFormat::bf16;
      if (is_low_latency) {
        sample.seconds = 1e-6 * table.number(row, is_dispatch ? "dispatch_us" : "combine_us", 1e-3);
      } else {
        sample.size.kernel_sms = table.number(row, is_dispatch ? "dispatch_sms" : "combine_sms", 1);
        sample.seconds =
            1e-6 *
            table.number(row, is_dispatch ? "dispatch_transmit_us" : "combine_transmit_us", 1e-3);
        sample.notify_seconds =
            1e-6 *
            table.number(row, is_dispatch ? "dispatch_notify_us" : "combine_notify_us", 0, 0);
      }
      if (!table.take_bad()) {
        samples.exchanges.push_back(sample);
      }
    }
  }
}

/// Printed tables of DeepEP on H800: latencies, or rates that count copies to distinct ranks
/// ("NVLink recv bytes") or nodes, the own one included ("RDMA algo bytes"). Other libraries of the
/// file move other bytes and are not read.
void read_published(TextTable& table, CommSamples& samples) {
  if (!table.has({"library", "kernel_class", "gpu", "ep_size", "nodes", "phase", "tokens_per_gpu",
                  "hidden", "topk", "bw_GBps", "bw_kind", "latency_us"})) {
    return;
  }
  constexpr double kTestSms = 24;  // DeepEP's own test of the normal kernels
  for (std::size_t row = 0; row < table.size(); ++row) {
    const std::string kind = table.word(row, "kernel_class");
    if (table.word(row, "library") != "DeepEP V1" || !table.word(row, "gpu").starts_with("H800") ||
        (kind != "low_latency" && kind != "normal")) {
      continue;
    }
    ExchangeSample sample;
    sample.system = "h800_sxm";
    sample.is_low_latency = kind == "low_latency";
    const bool is_dispatch = table.word(row, "phase") == "dispatch";
    sample.direction = is_dispatch ? ExchangeDirection::dispatch : ExchangeDirection::combine;
    sample.nodes = table.whole(row, "nodes", 1);
    sample.tokens = table.number(row, "tokens_per_gpu", 1);
    const std::int64_t ranks = table.whole(row, "ep_size", 1);
    const std::int64_t top_k = table.whole(row, "topk", 1);
    const std::int64_t experts = table.whole(row, "experts", 1, 256);  // as DeepEP's test
    const std::int64_t groups = table.whole(row, "topk_groups", 0, 0);
    sample.top_k = static_cast<double>(top_k);
    sample.size.hidden = table.number(row, "hidden", 1);
    sample.size.format = is_dispatch ? NumberFormat::fp8_block : NumberFormat::bf16;
    sample.size.kernel_sms = kTestSms;
    sample.size.is_one_node = sample.nodes == 1;
    sample.size.domain_ranks = static_cast<double>(ranks) / static_cast<double>(sample.nodes);
    sample.file = table.path();
    sample.file_row = table.file_row(row);
    const double latency = table.number(row, "latency_us", 0, 0);
    const double rate = table.number(row, "bw_GBps", 0, 0);
    if (table.take_bad()) {
      continue;
    }
    ExchangeDemand& demand = sample.size.demand;
    demand.ranks = ranks;
    demand.tokens = sample.tokens;
    demand.experts = static_cast<double>(std::max(experts, ranks));
    const double nodes = static_cast<double>(sample.nodes);
    demand.remote_selections = sample.tokens * sample.top_k * (nodes - 1.0) / nodes;
    demand.local_selections = sample.tokens * sample.top_k / nodes;
    if (!sample.is_low_latency) {
      const UniformFanOut fan_out = uniform_fan_out(ranks, sample.nodes, experts, top_k, groups);
      demand.rank_copies = sample.tokens * fan_out.ranks;
      demand.node_copies = sample.tokens * fan_out.remote_nodes;
    }
    if (latency > 0) {
      sample.seconds = 1e-6 * latency;
    } else if (rate > 0) {
      const bool is_nvlink = table.word(row, "bw_kind").starts_with("NVLink");
      const double copies =
          is_nvlink ? demand.rank_copies : demand.node_copies * nodes / (nodes - 1.0);
      sample.seconds = copies *
                       copy_bytes(sample.size.hidden, sample.size.format, Bytes(0)).value() /
                       (1e9 * rate);
    }
    if (sample.seconds > 0) {
      samples.exchanges.push_back(std::move(sample));
    }
  }
}

}  // namespace

CommSamples read_comm_samples(const std::string& folder) {
  CommSamples samples;
  const auto read = [&](const char* name, const auto& reader) {
    const std::string path = folder + "/" + name;
    std::error_code error;
    if (!std::filesystem::exists(path, error)) {
      samples.absent.push_back(path);
      return;
    }
    TextTable table(path, samples);
    reader(table);
  };
  read("nccl_collectives.csv", [&](TextTable& table) { read_nccl(table, samples); });
  read("custom_allreduce.csv", [&](TextTable& table) { read_custom(table, samples); });
  read("deepep_low_latency.csv", [&](TextTable& table) { read_exchange(table, true, samples); });
  read("deepep_normal.csv", [&](TextTable& table) { read_exchange(table, false, samples); });
  read("ep_published.csv", [&](TextTable& table) { read_published(table, samples); });
  return samples;
}

UniformFanOut uniform_fan_out(std::int64_t ranks, std::int64_t nodes, std::int64_t experts,
                              std::int64_t top_k, std::int64_t groups) {
  // Without a limit every rank is missed by a token with chance C(E - E/R, k) / C(E, k).
  const auto hit = [&](double of_experts, double pool) {
    double missed = 1;
    for (std::int64_t i = 0; i < top_k; ++i) {
      const double left = pool - static_cast<double>(i);
      missed *= std::max(0.0, (left - of_experts) / left);
    }
    return 1.0 - missed;
  };
  const double all = static_cast<double>(experts);
  if (groups <= 0 || groups >= nodes) {
    return {static_cast<double>(ranks) * hit(all / static_cast<double>(ranks), all),
            static_cast<double>(nodes - 1) * hit(all / static_cast<double>(nodes), all)};
  }
  // With one: draw tokens as the benchmark does.
  constexpr int kTokens = 4000;
  RandomStream random(1, "calibrate/uniform_fan_out");
  const auto count = static_cast<std::size_t>(experts);
  const std::size_t per_node = count / static_cast<std::size_t>(nodes);
  const std::size_t per_rank = std::max<std::size_t>(1, count / static_cast<std::size_t>(ranks));
  std::vector<double> scores(count);
  std::vector<double> best(static_cast<std::size_t>(nodes));
  std::vector<std::size_t> node_order(best.size());
  double rank_copies = 0;
  double node_copies = 0;
  for (int token = 0; token < kTokens; ++token) {
    for (double& score : scores) {
      score = random.uniform();
    }
    for (std::size_t node = 0; node < best.size(); ++node) {
      best[node] =
          *std::max_element(scores.begin() + static_cast<std::ptrdiff_t>(node * per_node),
                            scores.begin() + static_cast<std::ptrdiff_t>((node + 1) * per_node));
    }
    std::iota(node_order.begin(), node_order.end(), 0u);
    std::sort(node_order.begin(), node_order.end(),
              [&](std::size_t a, std::size_t b) { return best[a] > best[b]; });
    std::vector<std::size_t> pool;
    for (std::int64_t g = 0; g < groups; ++g) {
      for (std::size_t e = 0; e < per_node; ++e) {
        pool.push_back(node_order[static_cast<std::size_t>(g)] * per_node + e);
      }
    }
    const auto chosen = std::min<std::size_t>(static_cast<std::size_t>(top_k), pool.size());
    std::partial_sort(pool.begin(), pool.begin() + static_cast<std::ptrdiff_t>(chosen), pool.end(),
                      [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
    std::vector<bool> rank_hit(static_cast<std::size_t>(ranks), false);
    std::vector<bool> node_hit(best.size(), false);
    for (std::size_t i = 0; i < chosen; ++i) {
      rank_hit[std::min(pool[i] / per_rank, rank_hit.size() - 1)] = true;
      node_hit[pool[i] / per_node] = true;
    }
    rank_copies += static_cast<double>(std::count(rank_hit.begin(), rank_hit.end(), true));
    node_copies += static_cast<double>(std::count(node_hit.begin(), node_hit.end(), true));
  }
  return {rank_copies / kTokens,
          node_copies / kTokens * static_cast<double>(nodes - 1) / static_cast<double>(nodes)};
}

}  // namespace moesim
