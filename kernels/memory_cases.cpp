// SPDX-License-Identifier: Apache-2.0
// Cases of memory and launches: device copy, copies to and from the host, the expert-swap loop that
// hides a copy behind compute, and what starting a kernel costs.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "kernels/gemm.h"
#include "kernels/kernel_table.h"
#include "kernels/memory_copy.h"
#include "kernels/operations.h"

namespace moesim::gpu::cases {
namespace {

constexpr int kMegabyte = 1 << 20;

bool is_host(const DeviceInfo& info) { return info.backend == "host"; }

// --- device copy

std::vector<Json> copy_cases(const DeviceInfo& info, SuiteSize size) {
  const bool is_quick = size == SuiteSize::quick;
  std::vector<int> sizes;
  if (is_host(info)) {
    sizes = is_quick ? std::vector<int>{1 << 14, 1 << 18, 1 << 22}
                     : std::vector<int>{1 << 14, 1 << 16, 1 << 17, 1 << 18, 3 << 18,
                                        1 << 20, 1 << 21, 1 << 22, 3 << 22};
  } else {
    for (int shift = 12; shift <= 30; shift += is_quick ? 6 : 1) {
      sizes.push_back(1 << shift);
    }
  }
  std::vector<Json> list;
  for (const int bytes : sizes) {
    for (const char* engine : {"kernel", "driver"}) {
      list.push_back(make({{"bytes", bytes}, {"engine", engine}}));
    }
  }
  return list;
}

CaseOutcome run_copy(CaseContext& context, const Json& params) {
  const std::size_t bytes = integer(params, "bytes", 0, 2147483632) / 16 * 16;
  const bool is_kernel = word(params, "engine", {"kernel", "driver"}) == "kernel";
  Device& device = context.device;
  Pattern<Bfloat16> from(device, bytes / 2, context.seed);
  DeviceBuffer<Bfloat16> to(device, bytes / 2);
  to.fill_bytes(0);
  const auto enqueue = [&] {
    if (is_kernel) {
      device.kernels().memory_copy(device.default_stream(), {bytes, from.data(), to.data()});
    } else if (bytes > 0) {
      device.copy(to.data(), from.data(), bytes, device.default_stream());
    }
  };
  enqueue();
  const std::size_t piece = std::min<std::size_t>(bytes / 2, kMegabyte);
  for (const std::size_t first : {std::size_t{0}, bytes / 2 - piece}) {
    const std::vector<Bfloat16> values = to.download(first, piece);
    for (std::size_t i = 0; i < piece; ++i) {
      if (values[i].bits != from.number(first + i).bits) {
        throw DeviceError("verification failed: the copy differs; no time was kept");
      }
    }
  }
  CaseOutcome outcome;
  outcome.timing = StreamTimer(device, context.timing).measure(enqueue);
  outcome.bytes = memory_copy_bytes(bytes);
  return outcome;
}

// --- host and device

std::vector<Json> host_copy_cases(const DeviceInfo& info, SuiteSize size) {
  const bool is_quick = size == SuiteSize::quick;
  // Experts: Qwen3-30B 9 MB, DeepSeek-V3 fp8 44 MB, Mixtral 8x7B bf16 352 MB.
  const std::vector<int> megabytes =
      is_host(info) ? (is_quick ? std::vector<int>{1, 4} : std::vector<int>{1, 2, 4, 8})
      : is_quick    ? std::vector<int>{1, 44, 352}
                    : std::vector<int>{1, 2, 4, 9, 18, 44, 88, 176, 352};
  std::vector<Json> list;
  for (const char* direction : {"h2d", "d2h", "both"}) {
    for (const char* memory : {"pinned", "pageable"}) {
      for (const int streams : is_host(info) ? std::vector<int>{1} : std::vector<int>{1, 4}) {
        for (const int mb : megabytes) {
          list.push_back(make({{"bytes", mb * kMegabyte},
                               {"direction", direction},
                               {"memory", memory},
                               {"streams", streams}}));
        }
      }
    }
  }
  return list;
}

/// Copies at the same time: `streams` of them each way, each of `bytes` with buffers of its own.
CaseOutcome run_host_copy(CaseContext& context, const Json& params) {
  const std::size_t bytes = integer(params, "bytes", 16, 2147483632);
  const int streams = integer(params, "streams", 1, 64);
  const std::string direction = word(params, "direction", {"h2d", "d2h", "both"});
  const HostMemory kind = word(params, "memory", {"pinned", "pageable"}) == "pinned"
                              ? HostMemory::pinned
                              : HostMemory::pageable;
  struct Lane {
    OwnedStream stream;
    HostBuffer host;
    DeviceBuffer<unsigned char> device;
    bool is_upload;
    Lane(Device& d, std::size_t count, HostMemory memory, bool upload)
        : stream(d), host(d, count, memory), device(d, count), is_upload(upload) {}
  };
  Device& device = context.device;
  std::vector<std::unique_ptr<Lane>> lanes;
  for (int i = 0; i < streams; ++i) {
    for (const bool is_upload : {true, false}) {
      if (direction == "both" || (direction == "h2d") == is_upload) {
        lanes.push_back(std::make_unique<Lane>(device, bytes, kind, is_upload));
        // Every lane's bytes differ: a copy into the wrong lane would show.
        const auto mark = static_cast<unsigned char>(17 + lanes.size());
        std::memset(lanes.back()->host.data(), is_upload ? mark : 0, bytes);
        lanes.back()->device.fill_bytes(is_upload ? 0 : mark);
      }
    }
  }
  device.synchronize(device.default_stream());
  const auto run = [&] {
    for (const auto& lane : lanes) {
      void* to = lane->is_upload ? static_cast<void*>(lane->device.data()) : lane->host.data();
      const void* from =
          lane->is_upload ? static_cast<void*>(lane->host.data()) : lane->device.data();
      device.copy(to, from, bytes, lane->stream.handle());
    }
    for (const auto& lane : lanes) {
      device.synchronize(lane->stream.handle());
    }
  };
  run();
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    const auto mark = static_cast<unsigned char>(18 + i);
    const std::vector<unsigned char> copied = lanes[i]->device.download();
    const auto is_mark = [mark](unsigned char byte) { return byte == mark; };
    if (!std::all_of(copied.begin(), copied.end(), is_mark) ||
        !std::all_of(lanes[i]->host.data(), lanes[i]->host.data() + bytes, is_mark)) {
      throw DeviceError("verification failed: a copy differs; no time was kept");
    }
  }
  CaseOutcome outcome;
  outcome.timing = StreamTimer(device, context.timing).measure_blocking(run);
  outcome.bytes = Bytes(static_cast<double>(bytes) * static_cast<double>(lanes.size()));
  return outcome;
}

// --- expert swap

std::vector<Json> swap_cases(const DeviceInfo& info, SuiteSize size) {
  struct Expert {
    int n, k;
  };
  const std::vector<Expert> experts = is_host(info)
                                          ? std::vector<Expert>{{128, 128}}
                                          : std::vector<Expert>{{6144, 7168}, {43008, 4096}};
  std::vector<Json> list;
  for (const Expert& expert : experts) {
    for (const int m : is_host(info)              ? std::vector<int>{16}
                       : size == SuiteSize::quick ? std::vector<int>{64, 4096}
                                                  : std::vector<int>{1, 64, 512, 4096, 16384}) {
      for (const char* mode : {"compute", "copy", "overlapped"}) {
        list.push_back(make({{"m", m}, {"n", expert.n}, {"k", expert.k}, {"mode", mode}}));
      }
    }
  }
  return list;
}

/// Two weight slots in turn: while one is multiplied, the other is filled from pinned memory.
class SwapLoop {
 public:
  static constexpr int kExperts = 3;
  static constexpr int kSteps = 6;

  SwapLoop(CaseContext& context, const GemmShape& shape, bool copies, bool computes)
      : device_(context.device),
        shape_(shape),
        copies_(copies),
        computes_(computes),
        weight_numbers_(std::size_t(shape.n) * shape.k),
        a_(device_, std::size_t(shape.m) * shape.k, context.seed),
        c_(device_, std::size_t(shape.m) * shape.n),
        copy_stream_(device_) {
    for (int expert = 0; expert < kExperts; ++expert) {
      // Each expert's weights are the same pattern, begun at another number.
      const Pattern<Bfloat16> weights(device_, weight_numbers_, context.seed + 10 + expert);
      experts_.push_back(
          std::make_unique<HostBuffer>(device_, weight_numbers_ * 2, HostMemory::pinned));
      device_.copy(experts_.back()->data(), weights.data(), weight_numbers_ * 2,
                   device_.default_stream());
      device_.synchronize(device_.default_stream());
    }
    for (int slot = 0; slot < 2; ++slot) {
      slots_.emplace_back(device_, weight_numbers_);
      device_.copy(slots_.back().data(), experts_[slot]->data(), weight_numbers_ * 2,
                   device_.default_stream());
      copied_.push_back(std::make_unique<OwnedEvent>(device_));
      used_.push_back(std::make_unique<OwnedEvent>(device_));
    }
    device_.synchronize(device_.default_stream());
  }

  void run() {
    const StreamHandle compute = device_.default_stream();
    const bool use_matrix_unit = device_.info().backend != "host" &&
                                 gemm_can_use_matrix_unit(shape_.format, shape_.k, device_.info());
    for (int step = 0; step < kSteps; ++step) {
      const int slot = step % 2;
      if (copies_) {
        if (computes_ && step >= 2) {
          device_.wait(copy_stream_.handle(), used_[slot]->handle());
        }
        device_.copy(slots_[slot].data(), experts_[step % kExperts]->data(), weight_numbers_ * 2,
                     copy_stream_.handle());
        device_.record(copied_[slot]->handle(), copy_stream_.handle());
      }
      if (computes_) {
        if (copies_) {
          device_.wait(compute, copied_[slot]->handle());
        }
        device_.kernels().gemm(
            compute, {shape_, use_matrix_unit, a_.data(), slots_[slot].data(), c_.data()});
        device_.record(used_[slot]->handle(), compute);
      }
    }
    device_.synchronize(copy_stream_.handle());
    device_.synchronize(compute);
  }

  /// Norm-wise error of some rows of the last step's product.
  double error(std::uint64_t seed) const {
    const int expert = copies_ ? (kSteps - 1) % kExperts : (kSteps - 1) % 2;
    const auto* weights = reinterpret_cast<const Bfloat16*>(experts_[expert]->data());
    const std::vector<int> cols = some_of(shape_.n, 32, seed);
    std::vector<double> actual;
    std::vector<double> expected;
    for (const int row : some_of(shape_.m, 4, seed)) {
      const std::vector<Bfloat16> c = c_.download(std::size_t(row) * shape_.n, shape_.n);
      for (const int col : cols) {
        double sum = 0.0;
        for (std::size_t i = 0; i < std::size_t(shape_.k); ++i) {
          sum += static_cast<double>(a_.value(std::size_t(row) * shape_.k + i)) *
                 to_float(weights[std::size_t(col) * shape_.k + i]);
        }
        expected.push_back(sum);
        actual.push_back(to_float(c[col]));
      }
    }
    return relative_error(actual, expected);
  }

 private:
  Device& device_;
  GemmShape shape_;
  bool copies_;
  bool computes_;
  std::size_t weight_numbers_;
  Pattern<Bfloat16> a_;
  DeviceBuffer<Bfloat16> c_;
  OwnedStream copy_stream_;
  std::vector<std::unique_ptr<HostBuffer>> experts_;
  std::vector<DeviceBuffer<Bfloat16>> slots_;
  std::vector<std::unique_ptr<OwnedEvent>> copied_;
  std::vector<std::unique_ptr<OwnedEvent>> used_;
};

CaseOutcome run_swap(CaseContext& context, const Json& params) {
  const GemmShape shape{integer(params, "m", 1, 1 << 20), integer(params, "n", 1, 1 << 20),
                        integer(params, "k", 1, 1 << 20), NumberFormat::bf16};
  const std::string mode = word(params, "mode", {"compute", "copy", "overlapped"});
  SwapLoop loop(context, shape, mode != "compute", mode != "copy");
  loop.run();
  CaseOutcome outcome;
  outcome.tolerance = gemm_tolerance(shape);
  if (mode != "copy") {
    outcome.max_error = loop.error(context.seed);
    require(outcome.max_error, outcome.tolerance, "the swapped expert's product");
  }
  outcome.timing =
      StreamTimer(context.device, context.timing).measure_blocking([&] { loop.run(); });
  for (double& seconds : outcome.timing.seconds) {
    seconds /= SwapLoop::kSteps;
  }
  outcome.timing.repeats *= SwapLoop::kSteps;
  outcome.bytes = Bytes(mode != "compute" ? 2.0 * shape.n * shape.k : 0.0);
  outcome.flops = mode != "copy" ? gemm_flops(shape) : Flops(0.0);
  return outcome;
}

// --- launches

std::vector<Json> launch_cases(const DeviceInfo&, SuiteSize) {
  std::vector<Json> list;
  for (const char* mode : {"enqueue", "round_trip", "graph"}) {
    list.push_back(
        make({{"mode", mode}, {"launches", std::string(mode) == "round_trip" ? 1 : 100}}));
  }
  return list;
}

/// Seconds per launch of a kernel that writes one word: many then one wait; one and a wait; a
/// graph.
CaseOutcome run_launch(CaseContext& context, const Json& params) {
  const std::string mode = word(params, "mode", {"enqueue", "round_trip", "graph"});
  const int launches = integer(params, "launches", 1, 100000);
  Device& device = context.device;
  const StreamHandle stream = device.default_stream();
  DeviceBuffer<std::uint32_t> mark(device, 1);
  mark.fill_bytes(0);
  const auto enqueue = [&] {
    for (int i = 0; i < launches; ++i) {
      device.kernels().touch(stream, {1, static_cast<std::uint32_t>(i + 1), mark.data()});
    }
  };
  GraphHandle graph;
  if (mode == "graph") {
    graph = device.capture(stream, enqueue);
  }
  const auto run = [&] {
    if (mode == "graph") {
      device.launch_graph(graph, stream);
    } else {
      enqueue();
    }
    device.synchronize(stream);
  };
  run();
  const bool is_done = mark.download().front() == static_cast<std::uint32_t>(launches);
  CaseOutcome outcome;
  if (is_done) {
    outcome.timing = StreamTimer(device, context.timing).measure_blocking(run);
  }
  if (mode == "graph") {
    device.destroy(graph);
  }
  if (!is_done) {
    throw DeviceError("verification failed: not all launches ran; no time was kept");
  }
  for (double& seconds : outcome.timing.seconds) {
    seconds /= launches;
  }
  outcome.timing.repeats *= launches;
  return outcome;
}

}  // namespace

std::vector<Operation> memory_operations() {
  return {
      {"launch_overhead", "starting a kernel: enqueued, with a wait, in a graph", "launches", false,
       launch_cases, run_launch},
      {"memory_copy", "device memory stream: own kernel and the driver's copy", "bytes", true,
       copy_cases, run_copy},
      {"host_copy", "host to device, back, both ways; pinned and pageable; many at once", "bytes",
       false, host_copy_cases, run_host_copy},
      {"expert_swap", "copying the next expert's weights behind the product of this one", "m",
       false, swap_cases, run_swap},
  };
}

}  // namespace moesim::gpu::cases
