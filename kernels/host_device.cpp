// SPDX-License-Identifier: Apache-2.0
// The host back end as a Device: memory is the heap, a stream is host::Stream, an event a time
// stamp.
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <mutex>
#include <new>
#include <thread>

#include "kernels/device.h"
#include "kernels/host_runtime.h"
#include "kernels/kernel_table.h"

namespace moesim::gpu {
namespace {

/// When an event happened, by both clocks.
struct Moment {
  std::chrono::steady_clock::time_point wall;
  std::thread::id thread;
  double processor_s = 0;

  static Moment now() {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return {std::chrono::steady_clock::now(), std::this_thread::get_id(),
            static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec)};
  }
  double seconds_since(const Moment& from) const {
    return thread == from.thread ? processor_s - from.processor_s
                                 : std::chrono::duration<double>(wall - from.wall).count();
  }
};

/// A time stamp that streams write and wait for. Whoever waits means the recording that was the
/// newest when the wait was enqueued, however often the event is recorded again meanwhile.
class HostEvent {
 public:
  std::int64_t newest_recording() {
    const std::lock_guard lock(mutex_);
    return num_recorded_;
  }
  void record() {
    const std::lock_guard lock(mutex_);
    ++num_recorded_;
  }
  void reach() {
    const std::lock_guard lock(mutex_);
    ++num_reached_;
    moment_ = Moment::now();
    changed_.notify_all();
  }
  Moment wait_for(std::int64_t recording) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return num_reached_ >= recording; });
    return moment_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::int64_t num_recorded_ = 0;
  std::int64_t num_reached_ = 0;
  Moment moment_;
};

using HostGraph = std::vector<std::function<void()>>;

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) {
      return line.substr(line.find(':') + 2);
    }
  }
  return "unknown CPU";
}

double cpu_clock_hz() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("cpu MHz")) {
      return std::atof(line.substr(line.find(':') + 1).c_str()) * 1e6;
    }
  }
  return -1;
}

class HostDevice : public Device {
 public:
  explicit HostDevice(int warp_size) : default_stream_(false, warp_size) {
    MOESIM_CHECK(warp_size == 32 || warp_size == 64, "warps have 32 or 64 lanes");
    info_.backend = "host";
    info_.name = cpu_name() + ", one core";
    info_.driver = "none";
    info_.architecture = "host";
    info_.warp_size = warp_size;
    info_.memory_bytes = static_cast<double>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
    info_.cache_bytes = std::max(sysconf(_SC_LEVEL3_CACHE_SIZE), 0L);
    info_.has_matrix_unit = true;  // emulated, so that its data layout is tested
    info_.has_fp8 = true;
  }

  const DeviceInfo& info() const override { return info_; }
  DeviceState state() override { return {.clock_hz = cpu_clock_hz()}; }
  const Kernels& kernels() const override { return on_host::kernels(); }

  void* allocate(std::size_t bytes) override {
    // Overcommitted memory would only fail when touched, by killing the program.
    if (static_cast<double>(bytes) > 0.5 * available_bytes()) {
      throw OutOfDeviceMemory("host: " + std::to_string(bytes) +
                              " bytes are more than half of the memory that is free");
    }
    void* pointer = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
    if (pointer == nullptr) {
      throw OutOfDeviceMemory("host: cannot allocate " + std::to_string(bytes) + " bytes");
    }
    return pointer;
  }
  void release(void* pointer) override { std::free(pointer); }
  void* allocate_host(std::size_t bytes, HostMemory) override { return allocate(bytes); }
  void release_host(void* pointer, HostMemory) override { release(pointer); }

  StreamHandle default_stream() override { return {&default_stream_}; }
  StreamHandle make_stream() override { return {new host::Stream(true, info_.warp_size)}; }
  void destroy(StreamHandle stream) override { delete &native(stream); }
  void synchronize(StreamHandle stream) override { native(stream).synchronize(); }

  void copy(void* to, const void* from, std::size_t bytes, StreamHandle stream) override {
    native(stream).enqueue([=] { std::memcpy(to, from, bytes); });
  }
  void fill(void* to, unsigned char value, std::size_t bytes, StreamHandle stream) override {
    native(stream).enqueue([=] { std::memset(to, value, bytes); });
  }

  EventHandle make_event() override { return {new HostEvent}; }
  void destroy(EventHandle event) override { delete &native(event); }
  void record(EventHandle event, StreamHandle stream) override {
    HostEvent* target = &native(event);
    target->record();
    native(stream).enqueue([target] { target->reach(); });
  }
  void wait(StreamHandle stream, EventHandle event) override {
    HostEvent* target = &native(event);
    native(stream).enqueue(
        [target, recording = target->newest_recording()] { target->wait_for(recording); });
  }
  double seconds_between(EventHandle from, EventHandle to) override {
    const auto moment = [](HostEvent& event) { return event.wait_for(event.newest_recording()); };
    return moment(native(to)).seconds_since(moment(native(from)));
  }

  GraphHandle capture(StreamHandle stream, const std::function<void()>& enqueue) override {
    native(stream).begin_capture();
    enqueue();
    return {new HostGraph(native(stream).end_capture())};
  }
  void launch_graph(GraphHandle graph, StreamHandle stream) override {
    const HostGraph* work = static_cast<HostGraph*>(graph.pointer);
    native(stream).enqueue([work] {
      for (const std::function<void()>& part : *work) {
        part();
      }
    });
  }
  void destroy(GraphHandle graph) override { delete static_cast<HostGraph*>(graph.pointer); }

 private:
  static host::Stream& native(StreamHandle stream) {
    return *static_cast<host::Stream*>(stream.pointer);
  }
  static HostEvent& native(EventHandle event) { return *static_cast<HostEvent*>(event.pointer); }
  static double available_bytes() {
    std::ifstream file("/proc/meminfo");
    for (std::string line; std::getline(file, line);) {
      if (line.starts_with("MemAvailable:")) {
        return std::atof(line.c_str() + 13) * 1024.0;
      }
    }
    return 1e18;
  }

  DeviceInfo info_;
  host::Stream default_stream_;
};

}  // namespace

std::unique_ptr<Device> open_host_device(int warp_size) {
  return std::make_unique<HostDevice>(warp_size);
}

}  // namespace moesim::gpu
