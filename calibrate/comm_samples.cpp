// SPDX-License-Identifier: Apache-2.0
#include "calibrate/comm_samples.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <numeric>
#include <tuple>

#include "calibrate/text_table.h"
#include "sim/base/random.h"

namespace moesim {
namespace {

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
    const std::string framework = table.word(row, "framework");
    sample.library = framework.starts_with("sglang")   ? CollectiveLibrary::sglang
                     : framework.starts_with("trtllm") ? CollectiveLibrary::trtllm
                     : framework.starts_with("vllm")   ? CollectiveLibrary::vllm
                                                       : CollectiveLibrary::custom;
    sample.ranks = table.whole(row, "num_gpus", 2);
    sample.bytes = 2.0 * table.number(row, "message_elements", 1);  // bf16
    sample.seconds = 1e-6 * table.number(row, "time_us", 1e-3);
    sample.system = table.word(row, "system");
    sample.software = framework;
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

/// TensorRT-LLM's exchanges inside an NVLink domain. The benchmark's balanced choice sends a token
/// to as many distinct ranks as it has experts, where there are so many.
void read_nvlink(TextTable& table, CommSamples& samples) {
  if (!table.has({"system", "kernel", "op", "moe_dtype", "ep_size", "tokens", "hidden", "topk",
                  "experts", "time_us"})) {
    return;
  }
  static constexpr std::pair<const char*, NvlinkPart> kParts[] = {
      {"alltoall_prepare", NvlinkPart::prepare},
      {"alltoall_dispatch", NvlinkPart::dispatch},
      {"alltoall_combine", NvlinkPart::combine},
      {"alltoall_combine_low_precision", NvlinkPart::combine_low_precision}};
  static constexpr std::pair<const char*, NumberFormat> kFormats[] = {
      {"bfloat16", NumberFormat::bf16}, {"fp8", NumberFormat::fp8}, {"nvfp4", NumberFormat::nvfp4}};
  for (std::size_t row = 0; row < table.size(); ++row) {
    const std::string op = table.word(row, "op"), kernel = table.word(row, "kernel"),
                      format = table.word(row, "moe_dtype");
    const auto* part = std::find_if(std::begin(kParts), std::end(kParts),
                                    [&](const auto& known) { return op == known.first; });
    const auto* known = std::find_if(std::begin(kFormats), std::end(kFormats),
                                     [&](const auto& one) { return format == one.first; });
    if (part == std::end(kParts) || known == std::end(kFormats) ||
        (kernel != "NVLinkOneSided" && kernel != "NVLinkTwoSided")) {
      table.add_problem(
          "row " + std::to_string(table.file_row(row)),
          "\"" + kernel + "\", \"" + op + "\" in \"" + format + "\" is no exchange known here");
      continue;
    }
    NvlinkSample sample;
    sample.system = table.word(row, "system");
    sample.is_one_sided = kernel == "NVLinkOneSided";
    sample.part = part->second;
    ExchangeDemand& demand = sample.size.demand;
    demand.ranks = table.whole(row, "ep_size", 1);
    demand.tokens = table.number(row, "tokens", 1);
    demand.experts = table.number(row, "experts", 1);
    demand.rank_copies =
        demand.tokens * std::min(table.number(row, "topk", 1), static_cast<double>(demand.ranks));
    sample.size.hidden = table.number(row, "hidden", 1);
    sample.size.format = known->second;
    if (sample.part == NvlinkPart::combine) {
      sample.size.format = NumberFormat::bf16;  // outputs, whatever the experts' format
    } else if (sample.part == NvlinkPart::combine_low_precision) {
      sample.size.format = NumberFormat::nvfp4;
    } else if (sample.part == NvlinkPart::prepare) {
      sample.size.hidden = 0;
    }
    sample.size.is_one_node = true;
    sample.size.domain_ranks = static_cast<double>(demand.ranks);
    sample.seconds = 1e-6 * table.number(row, "time_us", 1e-3);
    sample.file = table.path();
    sample.file_row = table.file_row(row);
    if (!table.take_bad()) {
      samples.nvlink.push_back(std::move(sample));
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
    TextTable table(path, samples.problems);
    reader(table);
  };
  read("nccl_collectives.csv", [&](TextTable& table) { read_nccl(table, samples); });
  read("custom_allreduce.csv", [&](TextTable& table) { read_custom(table, samples); });
  read("deepep_low_latency.csv", [&](TextTable& table) { read_exchange(table, true, samples); });
  read("deepep_normal.csv", [&](TextTable& table) { read_exchange(table, false, samples); });
  read("trtllm_mnnvl_alltoall.csv", [&](TextTable& table) { read_nvlink(table, samples); });
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
