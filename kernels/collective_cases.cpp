// SPDX-License-Identifier: Apache-2.0
#include "kernels/collective_cases.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <numeric>

#include "kernels/kernel_table.h"
#include "sim/base/error.h"

namespace moesim::gpu::cases {
namespace {

ProcessPlace& current_place() {
  static ProcessPlace place;
  return place;
}

/// Groups cost seconds to form on GPUs, so the last one is kept for the next case.
CollectiveGroup& group_of(const DeviceInfo& info, const Kernels& kernels, int ranks) {
  static std::unique_ptr<CollectiveGroup> group;
  static std::string backend;
  if (group == nullptr || group->num_ranks() != ranks || backend != info.backend) {
    group.reset();
    std::string why;
    group = kernels.open_collective(current_place(), ranks, &why);
    backend = info.backend;
    if (group == nullptr) {
      throw CaseSkipped(why);
    }
  }
  return *group;
}

int ranks_here(const DeviceInfo& info) {
  if (!current_place().rendezvous.empty()) {
    return current_place().num_processes;
  }
  const std::vector<std::string> names = device_names();
  return static_cast<int>(std::count_if(names.begin(), names.end(), [&](const std::string& name) {
    return name.starts_with(info.backend);
  }));
}

std::vector<Json> collective_cases(const DeviceInfo& info, SuiteSize size) {
  const bool is_quick = size == SuiteSize::quick;
  const bool is_host = info.backend == "host";
  std::vector<int> rank_counts = {is_host ? 4 : std::max(2, ranks_here(info))};
  if (!is_quick && current_place().rendezvous.empty()) {
    for (int ranks = rank_counts[0] / 2; ranks >= 2; ranks /= 2) {
      rank_counts.push_back(ranks);
    }
  }
  std::vector<Json> list;
  for (const int ranks : rank_counts) {
    for (const char* kind : {"all_to_all", "all_reduce", "all_gather", "reduce_scatter"}) {
      for (const char* pairs : {"uniform", "skewed"}) {
        if (std::string(kind) != "all_to_all" && std::string(pairs) != "uniform") {
          continue;
        }
        for (int shift = is_host ? 14 : 12; shift <= (is_host ? 20 : 28);
             shift += is_quick ? (is_host ? 3 : 8) : 1) {
          list.push_back(
              make({{"kind", kind}, {"ranks", ranks}, {"bytes", 1 << shift}, {"pairs", pairs}}));
        }
      }
    }
  }
  return list;
}

/// Uniform: the same to each. Skewed: to rank d in proportion to d + 1. Else: a table of pairs.
PairCounts pair_counts(const std::string& pairs, std::size_t count, int ranks) {
  PairCounts counts;
  if (pairs != "uniform" && pairs != "skewed") {
    return read_pair_counts(pairs, ranks);
  }
  const std::size_t weights = std::size_t(ranks) * (ranks + 1) / 2;
  for (int from = 0; from < ranks; ++from) {
    for (int to = 0; to < ranks; ++to) {
      counts.push_back(pairs == "uniform" ? count / ranks : count * (to + 1) / weights);
    }
  }
  return counts;
}

/// Small whole numbers: their sums are exact in any order, so a sum is right or wrong.
float sent_number(int rank, std::size_t index) {
  return static_cast<float>((index * 31 + std::size_t(rank) * 7) % 13);
}

CaseOutcome run_collective(CaseContext& context, const Json& params) {
  const int ranks = integer(params, "ranks", 2, 1 << 16);
  const std::size_t bytes = integer(params, "bytes", 0, std::numeric_limits<int>::max());
  const std::string kind =
      word(params, "kind", {"all_to_all", "all_reduce", "all_gather", "reduce_scatter"});
  CollectiveCall call;
  call.kind = kind == "all_to_all"   ? CollectiveKind::all_to_all
              : kind == "all_reduce" ? CollectiveKind::all_reduce
              : kind == "all_gather" ? CollectiveKind::all_gather
                                     : CollectiveKind::reduce_scatter;
  call.count = bytes / sizeof(float) / ranks * ranks;
  if (call.kind == CollectiveKind::all_to_all) {
    const Json* pairs = params.find("pairs");
    call.pairs = pair_counts(pairs != nullptr && pairs->is_text() ? pairs->as_text() : "uniform",
                             call.count, ranks);
  }
  CollectiveGroup& group = group_of(context.device.info(), context.device.kernels(), ranks);

  std::vector<std::vector<float>> sent(ranks);
  for (int rank = 0; rank < ranks; ++rank) {
    sent[rank].resize(collective_send_count(call, ranks, rank));
    for (std::size_t i = 0; i < sent[rank].size(); ++i) {
      sent[rank][i] = sent_number(rank, i);
    }
  }
  std::vector<DeviceBuffer<float>> send;
  std::vector<DeviceBuffer<float>> receive;
  for (int local = 0; local < group.num_local(); ++local) {
    const int rank = group.rank_of(local);
    send.emplace_back(group.device(local), sent[rank]);
    receive.emplace_back(group.device(local), collective_receive_count(call, ranks, rank));
    receive.back().fill_bytes(0xFF);
  }
  for (int local = 0; local < group.num_local(); ++local) {
    group.device(local).synchronize(group.device(local).default_stream());
    call.send.push_back(send[local].data());
    call.receive.push_back(receive[local].data());
  }
  group.run(call);
  for (int local = 0; local < group.num_local(); ++local) {
    if (receive[local].download() != collective_reference(call, sent, group.rank_of(local))) {
      throw DeviceError("verification failed: rank " + std::to_string(group.rank_of(local)) +
                        " received something else; no time was kept");
    }
  }
  TimingOptions timing = context.timing;
  if (!current_place().rendezvous.empty()) {
    // Every process must run the collective equally often: nobody decides by his own clock.
    timing.max_samples = timing.min_samples = 30;
    timing.fixed_repeats = 10;
  }
  CaseOutcome outcome;
  outcome.timing = StreamTimer(context.device, timing).measure_blocking([&] { group.run(call); });
  outcome.bytes = Bytes(static_cast<double>(bytes));
  return outcome;
}

}  // namespace

void set_process_place(const ProcessPlace& place) { current_place() = place; }

PairCounts read_pair_counts(const std::string& path, int ranks) {
  const std::string text = read_text_file(path, std::size_t{1} << 28);
  PairCounts counts(std::size_t(ranks) * ranks, 0);
  Diagnostics problems;
  int line_number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line(text.data() + begin, end - begin);
    begin = end + 1;
    ++line_number;
    if (!line.empty() && line.back() == '\r') {
      line.remove_suffix(1);
    }
    const std::string place = "line " + std::to_string(line_number);
    if (line_number == 1) {
      if (line != "src,dst,bytes") {
        problems.add(path, place, "the header is \"" + std::string(line.substr(0, 60)) + "\"",
                     "allowed: src,dst,bytes");
      }
      continue;
    }
    if (line.empty()) {
      continue;
    }
    std::uint64_t numbers[3] = {};
    const char* at = line.data();
    const char* last = line.data() + line.size();
    bool is_good = true;
    for (int i = 0; i < 3 && is_good; ++i) {
      const auto [next, error] = std::from_chars(at, last, numbers[i]);
      is_good = error == std::errc() && (i == 2 ? next == last : next != last && *next == ',');
      at = next + 1;
    }
    const auto limit = static_cast<std::uint64_t>(ranks);
    if (!is_good || numbers[0] >= limit || numbers[1] >= limit || numbers[2] > (1ull << 40)) {
      problems.add(path, place,
                   "is no pair of ranks below " + std::to_string(ranks) + " and a number of bytes");
      continue;
    }
    counts[numbers[0] * limit + numbers[1]] += numbers[2] / sizeof(float);
  }
  problems.throw_if_any();
  return counts;
}

std::vector<Operation> collective_operations() {
  return {{"collective", "all-to-all, all-reduce, all-gather, reduce-scatter (NCCL or RCCL)",
           "bytes", false, collective_cases, run_collective}};
}

}  // namespace moesim::gpu::cases
