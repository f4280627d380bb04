// SPDX-License-Identifier: Apache-2.0
#include "calibrate/published_comm.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <regex>

#include "calibrate/comm_samples.h"
#include "calibrate/text_table.h"
#include "sim/cluster/collective.h"

namespace moesim {
namespace {

/// How tables name machines. The first that begins the text counts.
constexpr std::pair<const char*, const char*> kMachines[] = {
    {"AMD Instinct (MI300X-class", "cluster_mi300x_roce400"},
    {"MI300X", "cluster_mi300x_roce400"},
    {"MI355X", "cluster_mi355x_roce400"},
    {"GB200", "cluster_gb200_nvl72"},
    {"B300", "cluster_b300_ib800"},
    {"B200", "cluster_b200_ib400"},
    {"SM100", "cluster_b200_ib400"},
    {"H200", "cluster_h200_ib400"},
    {"H100", "cluster_h100_ib400"},
    {"SM90", "cluster_h100_ib400"},
    {"H800", "cluster_h800_ib400"},
    {"A100", "cluster_a100_ib200"},
};

constexpr double kGiB = 1073741824.0;
constexpr double kEfaBytes =
    64 * 1048576.0;                 // above, the cards' rate counts and not their start-up
constexpr double kDefaultSms = 20;  // DeepEP's default for normal kernels

/// A profile and its SMs for the text of a table; null profile when there is none.
struct Machine {
  std::optional<ClusterProfile> profile;
  double sms = 1;
};

class PublishedRows {
 public:
  PublishedRows(const std::string& folder, const CardLibrary& cards, CommValidation& result)
      : folder_(folder), cards_(cards), result_(result) {}

  void add_all() {
    each_row("ep_published.csv",
             {"library", "kernel_class", "gpu", "nic", "ep_size", "nodes", "phase",
              "tokens_per_gpu", "hidden", "topk", "bw_GBps", "bw_kind", "latency_us", "sms"},
             [&](TextTable& table, std::size_t row) { add_exchange(table, row); });
    each_row("size_sweeps.csv",
             {"case", "op", "gpu", "link", "n_gpus", "nodes", "batch", "size_bytes", "time_us",
              "algbw_GBps"},
             [&](TextTable& table, std::size_t row) { add_sweep(table, row); });
    each_row("links.csv", {"link", "scope", "achieved_GBps_per_dir", "method"},
             [&](TextTable& table, std::size_t row) { add_link(table, row); });
  }

 private:
  template <class Visit>
  void each_row(const char* name, std::initializer_list<const char*> columns, const Visit& visit) {
    const std::string path = folder_ + "/" + name;
    std::error_code error;
    if (!std::filesystem::exists(path, error)) {
      if (std::find(result_.absent.begin(), result_.absent.end(), path) == result_.absent.end()) {
        result_.absent.push_back(path);
      }
      return;
    }
    TextTable table(path, result_.problems);
    if (!table.has(columns)) {
      return;
    }
    for (std::size_t row = 0; row < table.size(); ++row) {
      visit(table, row);
      table.take_bad();
    }
  }

  Machine machine_of(const std::string& gpu) const {
    for (const auto& [begin, id] : kMachines) {
      if (gpu.starts_with(begin)) {
        Machine machine;
        machine.profile = cards_.cluster(id);
        const DeviceProfile device = cards_.device(machine.profile->node_groups.front().device);
        machine.sms = device.sm_count ? static_cast<double>(device.sm_count->value) : 1.0;
        return machine;
      }
    }
    return {};
  }

  CommComparison start(const TextTable& table, std::size_t row, std::string group) const {
    CommComparison made;
    made.group = "profile: published " + std::move(group);
    made.name = table.path() + " row " + std::to_string(table.file_row(row));
    return made;
  }

  void add(CommComparison row, const char* heading) {
    result_.rows.push_back(row);
    row.group = heading;
    row.is_summary = true;
    result_.rows.push_back(std::move(row));
  }

  // Expert exchanges and all-to-alls of other libraries.
  void add_exchange(TextTable& table, std::size_t row) {
    const std::string library = table.word(row, "library");
    const std::string gpu = table.word(row, "gpu");
    const std::string kind = table.word(row, "kernel_class");
    if (library == "DeepEP V1" && gpu.starts_with("H800") &&
        (kind == "low_latency" || kind == "normal")) {
      return;  // among the samples of calibrate/comm_samples.h
    }
    const std::string phase = table.word(row, "phase");
    const std::int64_t ranks = table.whole(row, "ep_size", 1);
    const std::int64_t nodes = table.whole(row, "nodes", 1);
    CommComparison made =
        start(table, row,
              library + " " + kind + " " + phase + " " + (gpu.empty() ? "unnamed GPU" : gpu) +
                  " EP" + std::to_string(ranks));
    const char* heading = "profile: all published exchanges of other libraries";
    Machine machine = machine_of(gpu);
    const bool has_shape = !table.word(row, "hidden").empty() && !table.word(row, "topk").empty();
    const bool is_short = kind == "low_latency" || kind == "decode" || kind == "intranode";
    const std::string nic = table.word(row, "nic");
    const bool is_efa = nic.starts_with("EFA");
    if (gpu.empty() || !has_shape) {
      made.left_out = "the table names no GPU, or no hidden size and top-k";
    } else if (!machine.profile) {
      made.left_out = "no cluster profile has such a device";
    } else if (is_short && is_efa && nodes > 1) {
      made.left_out =
          "small messages over EFA go through a host proxy, whose rate of messages nobody states";
    } else if (ranks % nodes != 0) {
      made.left_out = "ranks do not divide into nodes";
    }
    if (!made.left_out.empty()) {
      add(std::move(made), heading);
      return;
    }
    NodeGroup& node = machine.profile->node_groups.front();
    const double per_gpu_before = node.nics.rate.value.value() *
                                  static_cast<double>(node.nics.per_node) /
                                  static_cast<double>(node.gpus_per_node);
    read_cards(nic, node.gpus_per_node, node.nics);
    const double per_gpu = node.nics.rate.value.value() * static_cast<double>(node.nics.per_node) /
                           static_cast<double>(node.gpus_per_node);
    const double rate = 1e9 * table.number(row, "bw_GBps", 0, 0);
    const double latency = 1e-6 * table.number(row, "latency_us", 0, 0);
    const std::string rate_kind = table.word(row, "bw_kind");
    if (kind == "alltoall") {
      // Bus bandwidth of nccl-tests: S (n - 1) / n over the time.
      const double bytes = rate_kind.find("peak") != std::string::npos     ? 16 * kGiB
                           : rate_kind.find("56 MiB") != std::string::npos ? 56 * 1048576.0
                                                                           : 64 * 1048576.0;
      const double share = static_cast<double>(ranks - 1) / static_cast<double>(ranks);
      made.measured = latency > 0 ? latency : bytes * share / rate;
      made.predicted = CollectiveModel(*machine.profile, static_cast<std::int64_t>(machine.sms))
                           .collective(CollectiveOp::all_to_all, ranks, Bytes(bytes))
                           .value();
      made.basis = "estimate";
      add(std::move(made), heading);
      return;
    }
    ExchangeSize size;
    ExchangeDemand& demand = size.demand;
    const std::int64_t top_k = table.whole(row, "topk", 1);
    const std::int64_t experts = table.whole(row, "experts", 1, 256);
    const std::int64_t groups = table.whole(row, "topk_groups", 0, 0);
    demand.ranks = ranks;
    demand.tokens = table.number(row, "tokens_per_gpu", 1);
    // 256 experts do not divide among 24 ranks: the benchmark then takes 288.
    const std::int64_t whole_experts = (experts + ranks - 1) / ranks * ranks;
    demand.experts = static_cast<double>(whole_experts);
    const double k = static_cast<double>(top_k);
    const double node_count = static_cast<double>(nodes);
    demand.remote_selections = demand.tokens * k * (node_count - 1) / node_count;
    demand.local_selections = demand.tokens * k / node_count;
    const UniformFanOut fan_out = uniform_fan_out(ranks, nodes, whole_experts, top_k, groups);
    demand.rank_copies = demand.tokens * fan_out.ranks;
    demand.node_copies = demand.tokens * fan_out.remote_nodes;
    size.hidden = table.number(row, "hidden", 1);
    const std::string format = table.word(row, "dtype");
    size.format = format == "bf16" ? NumberFormat::bf16 : NumberFormat::fp8_block;
    size.device_sms = machine.sms;
    size.kernel_sms = table.number(row, "sms", 1, kDefaultSms);
    size.is_one_node = nodes == 1;
    size.domain_ranks = static_cast<double>(ranks) / node_count;
    const double copy = copy_bytes(size.hidden, size.format, Bytes(0)).value();
    if (latency > 0) {
      made.measured = latency;
    } else if (rate > 0) {
      const bool is_scale_up = rate_kind.find("NVLink") != std::string::npos ||
                               rate_kind.find("xGMI") != std::string::npos;
      const double copies = is_short      ? demand.tokens * k
                            : is_scale_up ? demand.rank_copies
                                          : demand.node_copies * node_count / (node_count - 1);
      made.measured = copies * copy / rate;
    }
    const bool is_dispatch = phase == "dispatch";
    if (machine.profile->expert_kernels) {
      ExpertKernels kernels = *machine.profile->expert_kernels;
      const double faster = per_gpu / std::max(1.0, per_gpu_before);
      if (is_short) {
        LowLatencyExchange fit =
            is_dispatch ? kernels.low_latency.dispatch : kernels.low_latency.combine;
        fit.nic_rate *= faster;
        made.predicted = exchange_time(fit, size).value();
      } else {
        NormalExchange fit = is_dispatch ? kernels.normal.dispatch : kernels.normal.combine;
        fit.nic_rate *= faster;
        made.predicted = exchange_time(fit, size).value();
      }
      made.basis = "transferred";
    } else {
      const double scale_up =
          (node.scale_up.achieved ? node.scale_up.achieved->value : node.scale_up.rate.value)
              .value();
      const double local = is_short ? demand.local_selections : demand.rank_copies;
      const double remote = is_short ? demand.remote_selections : demand.node_copies;
      const double inside = (size.domain_ranks - 1) / std::max(1.0, size.domain_ranks);
      made.predicted =
          node.scale_up.latency.value.value() +
          std::max(local * inside * copy / scale_up,
                   nodes > 1 ? node.nics.latency.value.value() + remote * copy / per_gpu : 0.0);
      made.basis = "estimate";
    }
    add(std::move(made), heading);
  }

  // Point to point, all-to-all of pairs and all-reduce by size.
  void add_sweep(TextTable& table, std::size_t row) {
    const std::string op = table.word(row, "op");
    const std::string gpu = table.word(row, "gpu");
    CommComparison made = start(table, row, table.word(row, "case"));
    const char* heading = "profile: all published size sweeps";
    Machine machine = machine_of(gpu);
    const double bytes = table.number(row, "size_bytes", 0, 0);
    const double seconds = 1e-6 * table.number(row, "time_us", 0, 0);
    const double rate = 1e9 * table.number(row, "algbw_GBps", 0, 0);
    made.measured = seconds > 0 ? seconds : rate > 0 ? bytes / rate : 0.0;
    if (!machine.profile) {
      made.left_out = "no cluster profile has such a device";
    } else if (!(bytes > 0) || !(made.measured > 0)) {
      made.left_out = "no size or no time";
    } else if (op == "alltoall_p2p") {
      made.left_out = "the sweep does not say how many messages are under way at once";
    } else if (table.number(row, "batch", 1, 1) > 1) {
      made.left_out = "the host posts each message of a batch; how fast is no property of the card";
    } else if (bytes < kEfaBytes && table.word(row, "link").starts_with("EFA")) {
      made.left_out = "no profile has the start-up of EFA";
    }
    if (!made.left_out.empty()) {
      add(std::move(made), heading);
      return;
    }
    NodeGroup& node = machine.profile->node_groups.front();
    read_cards(table.word(row, "link"), node.gpus_per_node, node.nics);
    const std::int64_t ranks = table.whole(row, "n_gpus", 2, 2);
    if (op == "all_reduce") {
      made.predicted = CollectiveModel(*machine.profile, static_cast<std::int64_t>(machine.sms))
                           .collective(CollectiveOp::all_reduce, ranks, Bytes(bytes))
                           .value();
      made.basis = ranks <= node.scale_up.domain_gpus && !machine.profile->collective_laws.empty()
                       ? "fitted"
                       : "estimate";
    } else if (op == "all_to_all_pair") {
      const ScaleUp& mesh = node.scale_up;
      const BytesPerSecond all = mesh.achieved ? mesh.achieved->value : mesh.rate.value;
      const double usable = all / mesh.rate.value;
      const BytesPerSecond pair =
          mesh.pair_rate ? mesh.pair_rate->value * usable
                         : all / static_cast<double>(std::max<std::int64_t>(1, ranks - 1));
      made.predicted = mesh.latency.value.value() + bytes / pair.value();
      made.basis = "fitted";
    } else {
      const double card =
          (node.nics.achieved ? node.nics.achieved->value : node.nics.rate.value).value();
      made.predicted = node.nics.latency.value.value() + bytes / card;
      made.basis = "fitted";
    }
    add(std::move(made), heading);
  }

  // Achieved rates of links, as seconds of 1 GB.
  void add_link(TextTable& table, std::size_t row) {
    const std::string link = table.word(row, "link");
    const std::string scope = table.word(row, "scope");
    CommComparison made = start(table, row, "link " + link + ": " + scope);
    const char* heading = "profile: all published links";
    if (table.word(row, "method") != "measured") {
      made.left_out = "a datasheet or a threshold, not a measurement";
      add(std::move(made), heading);
      return;
    }
    const double rate = 1e9 * table.number(row, "achieved_GBps_per_dir", 1e-3, 1);
    made.measured = 1e9 / rate;
    made.basis = "fitted";
    std::string gpu = link.starts_with("NVLink3")             ? "A100"
                      : link.starts_with("NVLink4")           ? "H100"
                      : link.starts_with("NVLink5")           ? "B200"
                      : link.starts_with("xGMI")              ? "MI300X"
                      : link.find("CX7") != std::string::npos ? "H100"
                      : link.starts_with("EFA v4")            ? "B200"
                                                              : "";
    Machine machine = machine_of(gpu);
    const bool is_reduce = scope.find("all_reduce") != std::string::npos;
    std::smatch found;
    const bool has_size = std::regex_search(scope, found, std::regex("([0-9]+) GiB"));
    const double bytes = has_size ? std::stod(found[1]) * kGiB : 4 * kGiB;
    if (!machine.profile) {
      made.left_out = "no cluster profile has such a link";
    } else if (scope.find("NVLS off") != std::string::npos) {
      made.left_out = "the library's choice of algorithm was forced";
    } else if (is_reduce) {
      const std::int64_t ranks = scope.find("2-GPU") != std::string::npos     ? 2
                                 : scope.find("32 GPUs") != std::string::npos ? 32
                                                                              : 8;
      const double n = static_cast<double>(ranks);
      const double seconds =
          CollectiveModel(*machine.profile, static_cast<std::int64_t>(machine.sms))
              .collective(CollectiveOp::all_reduce, ranks, Bytes(bytes))
              .value();
      const double wire = bytes * 2 * (n - 1) / n;
      made.predicted = 1e9 * seconds / wire;
      if (ranks == 2 && gpu == "MI300X") {
        // Two GPUs of a mesh have one link between them.
        const ScaleUp& mesh = machine.profile->node_groups.front().scale_up;
        made.predicted = 1e9 * 7 / (mesh.achieved ? mesh.achieved->value : mesh.rate.value).value();
      }
    } else {
      const NodeGroup& node = machine.profile->node_groups.front();
      const bool is_card = link.find("CX7") != std::string::npos || link.starts_with("EFA");
      double have =
          is_card
              ? (node.nics.achieved ? node.nics.achieved->value : node.nics.rate.value).value()
              : (node.scale_up.achieved ? node.scale_up.achieved->value : node.scale_up.rate.value)
                    .value();
      if (link == "xGMI" && scope.find("one GPU-GPU link") != std::string::npos) {
        have /= 7;
      }
      made.predicted = 1e9 / have;
    }
    add(std::move(made), heading);
  }

  const std::string& folder_;
  const CardLibrary& cards_;
  CommValidation& result_;
};

}  // namespace

bool read_cards(const std::string& text, std::int64_t gpus, Nics& nics) {
  static const std::regex kCards("([0-9]+)x([0-9]+) ?Gb/s(?: per (node|GPU|8 GPUs))?");
  std::smatch found;
  if (!std::regex_search(text, found, kCards)) {
    return false;
  }
  const bool is_of_a_gpu = found[3] == "GPU";
  nics.per_node = std::stoll(found[1]) * (is_of_a_gpu ? gpus : 1);
  nics.rate.value = BytesPerSecond(std::stod(found[2]) * 1e9 / 8.0);
  nics.achieved.reset();
  nics.messages_per_s.reset();
  return true;
}

void add_published_comm(const std::string& folder, const CardLibrary& cards,
                        CommValidation& result) {
  PublishedRows(folder, cards, result).add_all();
}

}  // namespace moesim
