// SPDX-License-Identifier: Apache-2.0
// A device (GPU or host CPU) in plain C++: memory, copies, streams, events, graphs and the kernels
// compiled for it.
//
// It hides which of the back ends CUDA, HIP and host is behind. Everything on a stream happens in
// order and in the background; different streams may overlap. Failed calls throw DeviceError.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "sim/base/error.h"

namespace moesim::gpu {

/// The device has not enough memory for the case: a smaller one may work.
class OutOfDeviceMemory : public DeviceError {
 public:
  using DeviceError::DeviceError;
};

struct StreamHandle {
  void* pointer = nullptr;
};
struct EventHandle {
  void* pointer = nullptr;
};
struct GraphHandle {
  void* pointer = nullptr;
};

enum class HostMemory { pinned, pageable };

/// What does not change while the program runs.
struct DeviceInfo {
  std::string backend;  ///< "cuda", "hip" or "host"
  std::string name;
  std::string driver;
  std::string architecture;  ///< "sm_90", "gfx942", "x86_64"
  std::string pci_bus;
  int warp_size = 32;
  int num_processors = 1;
  double memory_bytes = 0;
  double cache_bytes = 0;  ///< last level: what a cold timing must flush
  bool has_matrix_unit = false;
  bool has_fp8 = false;
};

/// What a sensor says now; a value that could not be read is negative.
struct DeviceState {
  double clock_hz = -1;
  double memory_clock_hz = -1;
  double power_w = -1;
  double temperature_c = -1;
};

struct Kernels;  // kernel_table.h

class Device {
 public:
  virtual ~Device() = default;

  virtual const DeviceInfo& info() const = 0;
  virtual DeviceState state() = 0;
  virtual const Kernels& kernels() const = 0;

  /// Throws OutOfDeviceMemory. Contents are undefined; aligned to 256 bytes.
  virtual void* allocate(std::size_t bytes) = 0;
  virtual void release(void* pointer) = 0;
  virtual void* allocate_host(std::size_t bytes, HostMemory kind) = 0;
  virtual void release_host(void* pointer, HostMemory kind) = 0;

  virtual StreamHandle default_stream() = 0;
  /// A stream that may overlap with all others.
  virtual StreamHandle make_stream() = 0;
  virtual void destroy(StreamHandle stream) = 0;
  virtual void synchronize(StreamHandle stream) = 0;

  /// Copies between any two of device and host memory.
  virtual void copy(void* to, const void* from, std::size_t bytes, StreamHandle stream) = 0;
  virtual void fill(void* to, unsigned char value, std::size_t bytes, StreamHandle stream) = 0;

  virtual EventHandle make_event() = 0;
  virtual void destroy(EventHandle event) = 0;
  virtual void record(EventHandle event, StreamHandle stream) = 0;
  /// Work enqueued on `stream` from here on waits for `event`, which was recorded before.
  virtual void wait(StreamHandle stream, EventHandle event) = 0;
  /// Seconds between two recorded events; waits for the later one.
  virtual double seconds_between(EventHandle from, EventHandle to) = 0;

  /// Everything that `enqueue` puts on `stream`, as one unit that `launch_graph` starts.
  virtual GraphHandle capture(StreamHandle stream, const std::function<void()>& enqueue) = 0;
  virtual void launch_graph(GraphHandle graph, StreamHandle stream) = 0;
  virtual void destroy(GraphHandle graph) = 0;
};

/// Opens "host", "cuda:0", "hip:1" ("cuda" alone is cuda:0). Throws InputError for a name that is
/// none, DeviceError when this build or machine has no such device (the text says which of the
/// two).
std::unique_ptr<Device> open_device(const std::string& name);
/// The host back end with warps of `warp_size` (32 or 64).
std::unique_ptr<Device> open_host_device(int warp_size = 32);
/// Names that `open_device` takes here, GPUs first; "host" is always the last.
std::vector<std::string> device_names();
/// One line per back end that is absent, with the reason ("cuda: this build has no CUDA kernels").
std::vector<std::string> absent_backends();

}  // namespace moesim::gpu
