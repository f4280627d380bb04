// SPDX-License-Identifier: Apache-2.0
// The CUDA and HIP back ends as a Device; not compiled for the host.
#include "kernels/gpu_device.h"

#include "kernels/device_state.h"
#include "kernels/gpu.h"
#include "kernels/kernel_table.h"

namespace moesim::gpu::MOESIM_BACKEND {
namespace {

std::string version_text(int version) {
#if defined(__CUDACC__)
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
#else
  return std::to_string(version / 10000000) + "." + std::to_string(version / 100000 % 100);
#endif
}

class GpuDevice : public Device {
 public:
  explicit GpuDevice(int index) : index_(index) {
    select();
#if defined(__CUDACC__)
    cudaDeviceProp properties;
    MOESIM_CALL(cudaGetDeviceProperties(&properties, index));
    info_.architecture =
        "sm_" + std::to_string(properties.major) + std::to_string(properties.minor);
    info_.has_matrix_unit = properties.major >= 8;
    info_.has_fp8 = properties.major > 8 || (properties.major == 8 && properties.minor >= 9);
#else
    hipDeviceProp_t properties;
    MOESIM_CALL(hipGetDeviceProperties(&properties, index));
    info_.architecture = std::string(properties.gcnArchName);
    info_.architecture = info_.architecture.substr(0, info_.architecture.find(':'));
    info_.has_matrix_unit =
        info_.architecture == "gfx90a" || info_.architecture.starts_with("gfx94");
#endif
    int driver = 0;
    int runtime = 0;
    MOESIM_CALL(MOESIM_RUNTIME(DriverGetVersion)(&driver));
    MOESIM_CALL(MOESIM_RUNTIME(RuntimeGetVersion)(&runtime));
    char bus[32] = {};
    MOESIM_CALL(MOESIM_RUNTIME(DeviceGetPCIBusId)(bus, sizeof bus, index));
    info_.backend = MOESIM_BACKEND_NAME;
    info_.name = properties.name;
    info_.pci_bus = bus;
    info_.warp_size = properties.warpSize;
    info_.num_processors = properties.multiProcessorCount;
    info_.memory_bytes = static_cast<double>(properties.totalGlobalMem);
    info_.cache_bytes = static_cast<double>(properties.l2CacheSize);
    info_.driver = "driver " + version_text(driver) + ", runtime " + version_text(runtime);
    if (const std::string text = driver_version_text(info_); !text.empty()) {
      info_.driver += ", " + text;
    }
    default_stream_ = make_stream();
  }
  ~GpuDevice() override { (void)MOESIM_RUNTIME(StreamDestroy)(native(default_stream_)); }

  const DeviceInfo& info() const override { return info_; }
  DeviceState state() override { return read_device_state(info_); }
  const Kernels& kernels() const override { return MOESIM_BACKEND::kernels(); }

  void* allocate(std::size_t bytes) override {
    select();
    void* pointer = nullptr;
    MOESIM_CALL(MOESIM_RUNTIME(Malloc)(&pointer, bytes));
    return pointer;
  }
  void release(void* pointer) override { (void)MOESIM_RUNTIME(Free)(pointer); }

  void* allocate_host(std::size_t bytes, HostMemory kind) override {
    if (kind == HostMemory::pageable) {
      return ::operator new (bytes, std::align_val_t{4096});
    }
    select();
    void* pointer = nullptr;
#if defined(__CUDACC__)
    MOESIM_CALL(cudaMallocHost(&pointer, bytes));
#else
    MOESIM_CALL(hipHostMalloc(&pointer, bytes, 0));
#endif
    return pointer;
  }
  void release_host(void* pointer, HostMemory kind) override {
    if (kind == HostMemory::pageable) {
      ::operator delete (pointer, std::align_val_t{4096});
      return;
    }
#if defined(__CUDACC__)
    (void)cudaFreeHost(pointer);
#else
    (void)hipHostFree(pointer);
#endif
  }

  StreamHandle default_stream() override { return default_stream_; }
  StreamHandle make_stream() override {
    select();
    MOESIM_RUNTIME(Stream_t) stream = nullptr;
    MOESIM_CALL(MOESIM_RUNTIME(StreamCreateWithFlags)(&stream, MOESIM_RUNTIME(StreamNonBlocking)));
    return {stream};
  }
  void destroy(StreamHandle stream) override {
    (void)MOESIM_RUNTIME(StreamDestroy)(native(stream));
  }
  void synchronize(StreamHandle stream) override {
    MOESIM_CALL(MOESIM_RUNTIME(StreamSynchronize)(native(stream)));
  }

  void copy(void* to, const void* from, std::size_t bytes, StreamHandle stream) override {
    MOESIM_CALL(MOESIM_RUNTIME(MemcpyAsync)(to, from, bytes, MOESIM_RUNTIME(MemcpyDefault),
                                            native(stream)));
  }
  void fill(void* to, unsigned char value, std::size_t bytes, StreamHandle stream) override {
    MOESIM_CALL(MOESIM_RUNTIME(MemsetAsync)(to, value, bytes, native(stream)));
  }

  EventHandle make_event() override {
    select();
    MOESIM_RUNTIME(Event_t) event = nullptr;
    MOESIM_CALL(MOESIM_RUNTIME(EventCreate)(&event));
    return {event};
  }
  void destroy(EventHandle event) override { (void)MOESIM_RUNTIME(EventDestroy)(native(event)); }
  void record(EventHandle event, StreamHandle stream) override {
    MOESIM_CALL(MOESIM_RUNTIME(EventRecord)(native(event), native(stream)));
  }
  void wait(StreamHandle stream, EventHandle event) override {
    MOESIM_CALL(MOESIM_RUNTIME(StreamWaitEvent)(native(stream), native(event), 0));
  }
  double seconds_between(EventHandle from, EventHandle to) override {
    float milliseconds = 0;
    MOESIM_CALL(MOESIM_RUNTIME(EventSynchronize)(native(to)));
    MOESIM_CALL(MOESIM_RUNTIME(EventElapsedTime)(&milliseconds, native(from), native(to)));
    return static_cast<double>(milliseconds) * 1e-3;
  }

  GraphHandle capture(StreamHandle stream, const std::function<void()>& enqueue) override {
    MOESIM_CALL(MOESIM_RUNTIME(StreamBeginCapture)(native(stream),
                                                   MOESIM_RUNTIME(StreamCaptureModeRelaxed)));
    enqueue();
    MOESIM_RUNTIME(Graph_t) graph = nullptr;
    MOESIM_CALL(MOESIM_RUNTIME(StreamEndCapture)(native(stream), &graph));
    MOESIM_RUNTIME(GraphExec_t) executable = nullptr;
#if defined(__CUDACC__)
    MOESIM_CALL(cudaGraphInstantiate(&executable, graph, 0));
#else
    MOESIM_CALL(hipGraphInstantiate(&executable, graph, nullptr, nullptr, 0));
#endif
    MOESIM_CALL(MOESIM_RUNTIME(GraphDestroy)(graph));
    return {executable};
  }
  void launch_graph(GraphHandle graph, StreamHandle stream) override {
    MOESIM_CALL(MOESIM_RUNTIME(GraphLaunch)(native(graph), native(stream)));
  }
  void destroy(GraphHandle graph) override {
    (void)MOESIM_RUNTIME(GraphExecDestroy)(native(graph));
  }

 private:
  static MOESIM_RUNTIME(Stream_t) native(StreamHandle stream) {
    return MOESIM_BACKEND::native(stream);
  }
  static MOESIM_RUNTIME(Event_t) native(EventHandle event) {
    return static_cast<MOESIM_RUNTIME(Event_t)>(event.pointer);
  }
  static MOESIM_RUNTIME(GraphExec_t) native(GraphHandle graph) {
    return static_cast<MOESIM_RUNTIME(GraphExec_t)>(graph.pointer);
  }
  void select() { MOESIM_CALL(MOESIM_RUNTIME(SetDevice)(index_)); }

  int index_;
  DeviceInfo info_;
  StreamHandle default_stream_;
};

}  // namespace

int num_devices() {
  int count = 0;
  if (MOESIM_RUNTIME(GetDeviceCount)(&count) != MOESIM_RUNTIME(Success)) {
    (void)MOESIM_RUNTIME(GetLastError)();
    return 0;  // no driver
  }
  return count;
}

std::unique_ptr<Device> open_gpu(int index) { return std::make_unique<GpuDevice>(index); }

}  // namespace moesim::gpu::MOESIM_BACKEND
