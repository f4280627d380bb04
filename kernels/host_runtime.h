// SPDX-License-Identifier: Apache-2.0
// The host back end's "GPU": runs a kernel's grid block after block, the threads of a block as
// fibers of one operating-system thread, so that barriers, shared memory and warp exchanges work as
// on a device.
//
// A fiber runs until it meets a barrier that not all its partners have reached; then the next one
// runs. A barrier that only part of a block (or warp) reaches is our bug and aborts, where a real
// device would hang. No exception may leave a kernel body. Streams: the default stream works in the
// calling thread; others are threads of their own, so copies really run behind compute.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

namespace moesim::gpu::host {

class BlockRunner;

/// One thread of a block, as a kernel body sees it. Warp functions must be called by all lanes.
class Thread {
 public:
  int index() const { return index_; }
  int num_threads() const;
  int block_x() const;
  int block_y() const;
  int num_blocks_x() const;
  int warp_size() const;
  int lane() const { return index_ % warp_size(); }
  int warp() const { return index_ / warp_size(); }
  void barrier() const;
  void warp_barrier() const;

  /// The block's dynamic shared memory, filled with 0xFF (NaN, -1) when the block starts.
  template <class T>
  T* shared() const {
    return reinterpret_cast<T*>(shared_bytes());
  }

  /// The value that each lane of this warp gave, in lane order; valid until the next call but one.
  const std::uint64_t* warp_gather(std::uint64_t value) const;

  template <class T>
  T shuffle(T value, int source_lane) const {
    return unpacked<T>(warp_gather(packed(value))[source_lane]);
  }
  float warp_sum(float value) const;
  float warp_max(float value) const;
  std::uint32_t warp_max(std::uint32_t value) const;
  std::uint32_t warp_min(std::uint32_t value) const;
  /// The lowest lane whose `condition` holds; -1 when there is none.
  int first_lane(bool condition) const;

 private:
  friend class BlockRunner;
  Thread(BlockRunner* runner, int index) : runner_(runner), index_(index) {}
  unsigned char* shared_bytes() const;
  template <class T>
  static std::uint64_t packed(T value) {
    static_assert(sizeof(T) <= 8);
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    return bits;
  }
  template <class T>
  static T unpacked(std::uint64_t bits) {
    T value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }

  BlockRunner* runner_;
  int index_;
};

struct GridShape {
  int blocks_x = 1;
  int blocks_y = 1;
  int threads = 64;  ///< of a block, a multiple of 64 (the widest warp)
  int shared_bytes = 0;
  int warp_size = 32;  ///< 32 as NVIDIA's or 64 as AMD's data-centre GPUs
};

/// Runs `body` for each thread of each block in the calling thread; blocks in order of y, then x.
/// Cost: about 20 ns a barrier and thread.
void run_grid(const GridShape& grid, const std::function<void(const Thread&)>& body);

/// Work in order. A stream with `is_threaded` runs it in a thread of its own, else in the caller's.
class Stream {
 public:
  Stream(bool is_threaded, int warp_size);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  void enqueue(std::function<void()> work);
  /// Returns when everything enqueued so far has run.
  void synchronize();
  int warp_size() const { return warp_size_; }
  /// From here on work is kept, not run; `end_capture` hands it over.
  void begin_capture();
  std::vector<std::function<void()>> end_capture();

 private:
  struct Worker;
  std::unique_ptr<Worker> worker_;  ///< null: the caller's thread works
  int warp_size_;
  bool is_capturing_ = false;
  std::vector<std::function<void()>> captured_;
};

}  // namespace moesim::gpu::host
