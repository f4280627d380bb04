// SPDX-License-Identifier: Apache-2.0
#include "kernels/device_state.h"

#include <dlfcn.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>

namespace moesim::gpu {
namespace {

/// The few functions of NVML that are needed; types as in nvml.h (return 0 is success).
class Nvml {
 public:
  static const Nvml& instance() {
    static const Nvml nvml;
    return nvml;
  }
  void* device(const std::string& pci_bus) const {
    void* handle = nullptr;
    return by_bus_ != nullptr && by_bus_(pci_bus.c_str(), &handle) == 0 ? handle : nullptr;
  }
  double clock_hz(void* device, int kind) const {  // kind: 1 multiprocessors, 2 memory
    unsigned megahertz = 0;
    return clock_ != nullptr && clock_(device, kind, &megahertz) == 0 ? megahertz * 1e6 : -1;
  }
  double power_w(void* device) const {
    unsigned milliwatts = 0;
    return power_ != nullptr && power_(device, &milliwatts) == 0 ? milliwatts * 1e-3 : -1;
  }
  double temperature_c(void* device) const {
    unsigned celsius = 0;
    return temperature_ != nullptr && temperature_(device, 0, &celsius) == 0 ? celsius : -1;
  }
  std::string driver() const {
    char text[96] = {};
    return driver_ != nullptr && driver_(text, sizeof text) == 0 ? std::string("NVIDIA ") + text
                                                                 : "";
  }

 private:
  Nvml() {
    void* library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    int (*init)() = nullptr;
    if (library == nullptr || !load(library, "nvmlInit_v2", &init) || init() != 0) {
      return;
    }
    load(library, "nvmlDeviceGetHandleByPciBusId_v2", &by_bus_);
    load(library, "nvmlDeviceGetClockInfo", &clock_);
    load(library, "nvmlDeviceGetPowerUsage", &power_);
    load(library, "nvmlDeviceGetTemperature", &temperature_);
    load(library, "nvmlSystemGetDriverVersion", &driver_);
  }
  template <class F>
  static bool load(void* library, const char* name, F* function) {
    *function = reinterpret_cast<F>(dlsym(library, name));
    return *function != nullptr;
  }

  int (*by_bus_)(const char*, void**) = nullptr;
  int (*clock_)(void*, int, unsigned*) = nullptr;
  int (*power_)(void*, unsigned*) = nullptr;
  int (*temperature_)(void*, int, unsigned*) = nullptr;
  int (*driver_)(char*, unsigned) = nullptr;
};

double read_number(const std::filesystem::path& path, double scale) {
  std::ifstream file(path);
  double value = 0;
  return file >> value ? value * scale : -1;
}

DeviceState read_amd_state(const DeviceInfo& info) {
  DeviceState state;
  std::string bus = info.pci_bus;
  std::transform(bus.begin(), bus.end(), bus.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  std::error_code error;
  const std::filesystem::path root = "/sys/bus/pci/devices/" + bus + "/hwmon";
  for (const auto& entry : std::filesystem::directory_iterator(root, error)) {
    state.clock_hz = read_number(entry.path() / "freq1_input", 1.0);
    state.memory_clock_hz = read_number(entry.path() / "freq2_input", 1.0);
    state.power_w = read_number(entry.path() / "power1_average", 1e-6);
    state.temperature_c = read_number(entry.path() / "temp1_input", 1e-3);
  }
  return state;
}

}  // namespace

DeviceState read_device_state(const DeviceInfo& info) {
  if (info.backend == "hip") {
    return read_amd_state(info);
  }
  const Nvml& nvml = Nvml::instance();
  void* device = nvml.device(info.pci_bus);
  if (device == nullptr) {
    return {};
  }
  return {nvml.clock_hz(device, 1), nvml.clock_hz(device, 2), nvml.power_w(device),
          nvml.temperature_c(device)};
}

std::string driver_version_text(const DeviceInfo& info) {
  return info.backend == "cuda" ? Nvml::instance().driver() : "";
}

}  // namespace moesim::gpu
