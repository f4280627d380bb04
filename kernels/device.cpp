// SPDX-License-Identifier: Apache-2.0
#include "kernels/device.h"

#include <charconv>

#include "kernels/gpu_device.h"

namespace moesim::gpu {
namespace {

struct GpuBackend {
  std::string name;
  std::string language;
  int (*num_devices)();
  std::unique_ptr<Device> (*open)(int index);
};

const std::vector<GpuBackend>& gpu_backends() {
  static const std::vector<GpuBackend> backends = {
#if MOESIM_HAVE_CUDA
    {"cuda", "CUDA", on_cuda::num_devices, on_cuda::open_gpu},
#else
    {"cuda", "CUDA", nullptr, nullptr},
#endif
#if MOESIM_HAVE_HIP
    {"hip", "HIP", on_hip::num_devices, on_hip::open_gpu},
#else
    {"hip", "HIP", nullptr, nullptr},
#endif
  };
  return backends;
}

std::string why_absent(const GpuBackend& backend) {
  if (backend.num_devices == nullptr) {
    return backend.name + ": this build has no " + backend.language +
           " kernels (configure with the preset \"" + backend.name + "\")";
  }
  return backend.num_devices() == 0 ? backend.name + ": no device or no driver on this machine"
                                    : "";
}

}  // namespace

std::vector<std::string> device_names() {
  std::vector<std::string> names;
  for (const GpuBackend& backend : gpu_backends()) {
    const int count = backend.num_devices == nullptr ? 0 : backend.num_devices();
    for (int i = 0; i < count; ++i) {
      names.push_back(backend.name + ":" + std::to_string(i));
    }
  }
  names.push_back("host");
  return names;
}

std::vector<std::string> absent_backends() {
  std::vector<std::string> reasons;
  for (const GpuBackend& backend : gpu_backends()) {
    if (std::string reason = why_absent(backend); !reason.empty()) {
      reasons.push_back(std::move(reason));
    }
  }
  return reasons;
}

std::unique_ptr<Device> open_device(const std::string& name) {
  if (name == "host") {
    return open_host_device();
  }
  for (const GpuBackend& backend : gpu_backends()) {
    if (name != backend.name && !name.starts_with(backend.name + ":")) {
      continue;
    }
    int index = 0;
    if (name != backend.name) {
      const char* first = name.data() + backend.name.size() + 1;
      const char* last = name.data() + name.size();
      const auto [end, error] = std::from_chars(first, last, index);
      if (error != std::errc() || end != last || index < 0) {
        break;
      }
    }
    if (const std::string reason = why_absent(backend); !reason.empty()) {
      throw DeviceError(reason);
    }
    const int count = backend.num_devices();
    if (index >= count) {
      throw DeviceError(backend.name + ": device " + std::to_string(index) + " of " +
                        std::to_string(count) + " does not exist");
    }
    return backend.open(index);
  }
  throw InputError("", "", "unknown device \"" + name + "\"", "allowed: cuda:N, hip:N, host");
}

}  // namespace moesim::gpu
