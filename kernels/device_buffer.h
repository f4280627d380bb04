// SPDX-License-Identifier: Apache-2.0
// Owned memory on a device, typed; and streams and events that end themselves.
#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "kernels/device.h"

namespace moesim::gpu {

/// `size` numbers of type T on `device`, which must outlive the buffer. Move-only.
template <class T>
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  /// Throws OutOfDeviceMemory. Contents are undefined.
  DeviceBuffer(Device& device, std::size_t size)
      : device_(&device),
        size_(size),
        data_(size == 0 ? nullptr : static_cast<T*>(device.allocate(size * sizeof(T)))) {}
  DeviceBuffer(Device& device, std::span<const T> values) : DeviceBuffer(device, values.size()) {
    upload(values);
  }
  DeviceBuffer(DeviceBuffer&& other) noexcept { swap(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~DeviceBuffer() {
    if (data_ != nullptr) {
      device_->release(data_);
    }
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::size_t size() const { return size_; }

  /// Copies `values` (exactly `size()`) in and waits.
  void upload(std::span<const T> values) {
    MOESIM_CHECK(values.size() == size_, "an upload fills the whole buffer");
    if (size_ > 0) {
      device_->copy(data_, values.data(), size_ * sizeof(T), device_->default_stream());
      device_->synchronize(device_->default_stream());
    }
  }
  /// Copies everything out, after all earlier work of the default stream.
  std::vector<T> download() const { return download(0, size_); }
  std::vector<T> download(std::size_t first, std::size_t count) const {
    std::vector<T> values(count);
    if (count > 0) {
      device_->copy(values.data(), data_ + first, count * sizeof(T), device_->default_stream());
      device_->synchronize(device_->default_stream());
    }
    return values;
  }
  /// Sets each byte, on the default stream.
  void fill_bytes(unsigned char value) {
    if (size_ > 0) {
      device_->fill(data_, value, size_ * sizeof(T), device_->default_stream());
    }
  }

 private:
  void swap(DeviceBuffer& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(size_, other.size_);
    std::swap(data_, other.data_);
  }
  Device* device_ = nullptr;
  std::size_t size_ = 0;
  T* data_ = nullptr;
};

/// Host memory that copies read or write: pinned (page-locked) or ordinary.
class HostBuffer {
 public:
  HostBuffer(Device& device, std::size_t bytes, HostMemory kind)
      : device_(device), kind_(kind), bytes_(bytes), data_(device.allocate_host(bytes, kind)) {}
  HostBuffer(const HostBuffer&) = delete;
  HostBuffer& operator=(const HostBuffer&) = delete;
  ~HostBuffer() { device_.release_host(data_, kind_); }
  unsigned char* data() { return static_cast<unsigned char*>(data_); }
  std::size_t bytes() const { return bytes_; }

 private:
  Device& device_;
  HostMemory kind_;
  std::size_t bytes_;
  void* data_;
};

/// A stream or event of `device`, destroyed with this object.
class OwnedStream {
 public:
  explicit OwnedStream(Device& device) : device_(device), handle_(device.make_stream()) {}
  OwnedStream(const OwnedStream&) = delete;
  OwnedStream& operator=(const OwnedStream&) = delete;
  ~OwnedStream() { device_.destroy(handle_); }
  StreamHandle handle() const { return handle_; }

 private:
  Device& device_;
  StreamHandle handle_;
};

class OwnedEvent {
 public:
  explicit OwnedEvent(Device& device) : device_(device), handle_(device.make_event()) {}
  OwnedEvent(const OwnedEvent&) = delete;
  OwnedEvent& operator=(const OwnedEvent&) = delete;
  ~OwnedEvent() { device_.destroy(handle_); }
  EventHandle handle() const { return handle_; }

 private:
  Device& device_;
  EventHandle handle_;
};

}  // namespace moesim::gpu
