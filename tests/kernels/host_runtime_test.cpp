// SPDX-License-Identifier: Apache-2.0
#include "kernels/host_runtime.h"

#include <gtest/gtest.h>

#include <numeric>

#include "kernels/device.h"
#include "kernels/device_buffer.h"

namespace moesim::gpu {
namespace {

using host::GridShape;
using host::Stream;
using host::Thread;

TEST(HostRuntime, RunsEachThreadOfEachBlockOnce) {
  std::vector<int> visits(6 * 128, 0);
  host::run_grid({.blocks_x = 3, .blocks_y = 2, .threads = 128}, [&](const Thread& thread) {
    const int block = thread.block_y() * thread.num_blocks_x() + thread.block_x();
    ++visits[block * thread.num_threads() + thread.index()];
  });
  EXPECT_EQ(visits, std::vector<int>(6 * 128, 1));
}

TEST(HostRuntime, BarriersOrderSharedMemory) {
  // A reversal through shared memory, twice: without working barriers a thread reads what its
  // partner has not yet written.
  std::vector<int> values(256);
  std::iota(values.begin(), values.end(), 0);
  host::run_grid({.threads = 256, .shared_bytes = 1024}, [&](const Thread& thread) {
    int* shared = thread.shared<int>();
    int value = values[thread.index()];
    for (int round = 0; round < 3; ++round) {
      shared[thread.index()] = value;
      thread.barrier();
      value = shared[255 - thread.index()];
      thread.barrier();
    }
    values[thread.index()] = value;
  });
  for (int i = 0; i < 256; ++i) {
    EXPECT_EQ(values[i], 255 - i);
  }
}

TEST(HostRuntime, WarpFunctionsSeeTheirOwnWarpOnly) {
  for (const int width : {32, 64}) {
    host::run_grid({.threads = 128, .warp_size = width}, [&](const Thread& thread) {
      const float first = static_cast<float>(thread.warp() * width);
      // The sum of lane numbers l = 0..W-1 above `first`: W*first + W*(W-1)/2, exact in a float.
      EXPECT_EQ(thread.warp_sum(static_cast<float>(thread.index())),
                static_cast<float>(width) * first + static_cast<float>(width * (width - 1) / 2));
      EXPECT_EQ(thread.warp_max(static_cast<std::uint32_t>(thread.index())),
                static_cast<std::uint32_t>((thread.warp() + 1) * width - 1));
      EXPECT_EQ(thread.warp_min(static_cast<std::uint32_t>(thread.index())),
                static_cast<std::uint32_t>(thread.warp() * width));
      EXPECT_EQ(thread.shuffle(thread.index(), 5), thread.warp() * width + 5);
    });
  }
}

TEST(HostRuntime, AWarpMayLeaveWhileOthersExchange) {
  int sum = 0;
  host::run_grid({.threads = 128}, [&](const Thread& thread) {
    if (thread.warp() == 1) {
      return;
    }
    if (thread.warp_sum(1.0f) == 32.0f) {
      ++sum;
    }
  });
  EXPECT_EQ(sum, 96);
}

#if GTEST_HAS_DEATH_TEST && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
TEST(HostRuntimeDeathTest, ABarrierThatPartOfABlockReachesAborts) {
  EXPECT_DEATH(host::run_grid({.threads = 64},
                              [](const Thread& thread) {
                                if (thread.index() != 7) {
                                  thread.barrier();
                                }
                              }),
               "only part of a block or warp reached a barrier");
}
#endif

TEST(HostStream, ThreadedStreamsKeepTheirOrderAndWaitForEvents) {
  const std::unique_ptr<Device> device = open_host_device();
  OwnedStream producer(*device);
  OwnedStream consumer(*device);
  OwnedEvent ready(*device);
  std::vector<int> source(100000);
  std::iota(source.begin(), source.end(), 0);
  std::vector<int> middle(source.size());
  std::vector<int> target(source.size());
  const std::size_t bytes = source.size() * sizeof(int);
  for (int round = 0; round < 20; ++round) {
    source[0] = round;
    device->copy(middle.data(), source.data(), bytes, producer.handle());
    device->record(ready.handle(), producer.handle());
    device->wait(consumer.handle(), ready.handle());
    device->copy(target.data(), middle.data(), bytes, consumer.handle());
    device->synchronize(consumer.handle());
    EXPECT_EQ(target, source);
  }
}

TEST(HostStream, AGraphRunsWhatWasCapturedAsOftenAsItIsLaunched) {
  const std::unique_ptr<Device> device = open_host_device();
  const StreamHandle stream = device->default_stream();
  DeviceBuffer<int> buffer(*device, 4);
  buffer.fill_bytes(0);
  const GraphHandle graph = device->capture(stream, [&] { buffer.fill_bytes(1); });
  EXPECT_EQ(buffer.download(), std::vector<int>(4, 0));
  device->launch_graph(graph, stream);
  EXPECT_EQ(buffer.download(), std::vector<int>(4, 0x01010101));
  device->destroy(graph);
}

TEST(DeviceNames, SayWhyADeviceCannotBeOpened) {
  EXPECT_EQ(device_names().back(), "host");
  EXPECT_EQ(open_device("host")->info().backend, "host");
  EXPECT_THROW(open_device("tpu:0"), InputError);
  EXPECT_THROW(open_device("cuda:x"), InputError);
  EXPECT_THROW(open_device("cuda:977"), DeviceError);
}

TEST(HostDevice, RefusesWhatDoesNotFitInMemory) {
  const std::unique_ptr<Device> device = open_host_device();
  EXPECT_THROW(device->allocate(std::size_t{1} << 46), OutOfDeviceMemory);
}

}  // namespace
}  // namespace moesim::gpu
