// SPDX-License-Identifier: Apache-2.0
#include "kernels/host_runtime.h"

#include <boost/context/fiber.hpp>
#include <boost/context/preallocated.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "sim/base/error.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define MOESIM_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#define MOESIM_TSAN 1
#endif

namespace moesim::gpu::host {
namespace {

// A sanitizer's frames are several times larger.
#if defined(MOESIM_ASAN) || defined(MOESIM_TSAN)
constexpr std::size_t kStackBytes = 256 * 1024;
#else
constexpr std::size_t kStackBytes = 64 * 1024;
#endif
constexpr int kMaxBlockThreads = 1024;

/// Tells the sanitizers which stack runs: they cannot see Boost.Context's switch.
class StackSwitch {
 public:
  explicit StackSwitch(void* bottom = nullptr, std::size_t size = 0)
      : bottom_(bottom), size_(size) {}
#if defined(MOESIM_TSAN)
  void adopt_current() { tsan_ = __tsan_get_current_fiber(); }
  void create() { tsan_ = __tsan_create_fiber(0); }
  void destroy() { __tsan_destroy_fiber(tsan_); }
#else
  void adopt_current() {}
  void create() {}
  void destroy() {}
#endif
  /// Before the jump from this stack to `next`; `is_last` when this stack never runs again.
  void leave([[maybe_unused]] const StackSwitch& next, [[maybe_unused]] bool is_last = false) {
#if defined(MOESIM_ASAN)
    __sanitizer_start_switch_fiber(is_last ? nullptr : &fake_stack_, next.bottom_, next.size_);
#endif
#if defined(MOESIM_TSAN)
    __tsan_switch_to_fiber(next.tsan_, 0);
#endif
  }
  /// After the jump to this stack; `from` learns its bounds (the scheduler's are known only so).
  void arrive([[maybe_unused]] StackSwitch& from) {
#if defined(MOESIM_ASAN)
    const void* bottom = nullptr;
    __sanitizer_finish_switch_fiber(fake_stack_, &bottom, &from.size_);
    from.bottom_ = const_cast<void*>(bottom);
    fake_stack_ = nullptr;
#endif
  }

 private:
  void* bottom_;
  std::size_t size_;
#if defined(MOESIM_ASAN)
  void* fake_stack_ = nullptr;
#endif
#if defined(MOESIM_TSAN)
  void* tsan_ = nullptr;
#endif
};

}  // namespace

/// Fibers and barriers of one operating-system thread. A fiber that finishes one kernel thread
/// takes the next, so a kernel without barriers costs one fiber however many threads it has.
class BlockRunner {
 public:
  BlockRunner() { scheduler_stack_.adopt_current(); }
  ~BlockRunner() {
    is_closing_ = true;
    for (const std::unique_ptr<Worker>& worker : workers_) {
      resume(*worker);  // the fiber sees is_closing_ and returns: no unwinding by exception
      worker->stack.destroy();
    }
  }

  void run(const GridShape& grid, const std::function<void(const Thread&)>& body) {
    MOESIM_CHECK(grid.threads > 0 && grid.threads <= kMaxBlockThreads && grid.threads % 64 == 0,
                 "a block has a multiple of 64 threads, at most 1024");
    MOESIM_CHECK(!is_running_, "a kernel body cannot start another kernel");
    is_running_ = true;
    grid_ = grid;
    body_ = &body;
    shared_.resize(static_cast<std::size_t>(grid.shared_bytes) / sizeof(Line) + 1);
    for (block_y_ = 0; block_y_ < grid.blocks_y; ++block_y_) {
      for (block_x_ = 0; block_x_ < grid.blocks_x; ++block_x_) {
        run_block();
      }
    }
    is_running_ = false;
  }

  const GridShape& grid() const { return grid_; }
  int block_x() const { return block_x_; }
  int block_y() const { return block_y_; }
  unsigned char* shared_bytes() { return reinterpret_cast<unsigned char*>(shared_.data()); }

  void wait_block(int thread) {
    if (++block_arrived_ < grid_.threads) {
      suspend(thread);
      return;
    }
    block_arrived_ = 0;
    release(0, grid_.threads, thread);
  }
  void wait_warp(int thread) {
    const int warp = thread / grid_.warp_size;
    if (++warp_arrived_[warp] < grid_.warp_size) {
      suspend(thread);
      return;
    }
    warp_arrived_[warp] = 0;
    release(warp * grid_.warp_size, grid_.warp_size, thread);
  }
  const std::uint64_t* gather(int thread, std::uint64_t value) {
    // Two rows in turn: a lane can write its next value while slower lanes still read this one.
    const int row = exchange_row_[thread];
    exchange_row_[thread] ^= 1;
    exchange_[row][thread] = value;
    wait_warp(thread);
    return &exchange_[row][thread / grid_.warp_size * grid_.warp_size];
  }

 private:
  struct Line {
    alignas(64) unsigned char bytes[64];
  };
  struct Worker {
    boost::context::fiber context;
    StackSwitch stack;
    int thread = -1;  ///< the kernel thread it runs, -1: idle
  };

  void run_block() {
    std::memset(shared_bytes(), 0xFF, static_cast<std::size_t>(grid_.shared_bytes));
    std::fill(warp_arrived_, warp_arrived_ + kMaxBlockThreads / 32, 0);
    std::fill(exchange_row_, exchange_row_ + grid_.threads, static_cast<unsigned char>(0));
    block_arrived_ = 0;
    num_finished_ = 0;
    for (int thread = 0; thread < grid_.threads; ++thread) {
      Worker& worker = idle_worker();
      worker.thread = thread;
      worker_of_[thread] = &worker;
      resume(worker);
      run_released();
    }
    MOESIM_CHECK(num_finished_ == grid_.threads, "only part of a block or warp reached a barrier");
  }

  void run_released() {
    while (!released_.empty()) {
      const int thread = released_.front();
      released_.pop_front();
      resume(*worker_of_[thread]);
    }
  }

  void release(int first, int count, int except) {
    for (int thread = first; thread < first + count; ++thread) {
      if (thread != except) {
        released_.push_back(thread);
      }
    }
  }

  Worker& idle_worker() {
    if (idle_.empty()) {
      workers_.push_back(std::make_unique<Worker>());
      start(*workers_.back());
      return *workers_.back();
    }
    Worker& worker = *idle_.back();
    idle_.pop_back();
    return worker;
  }

  void start(Worker& worker) {
    boost::context::protected_fixedsize_stack allocator(kStackBytes);
    const boost::context::stack_context memory = allocator.allocate();
    worker.stack = StackSwitch(static_cast<char*>(memory.sp) - memory.size, memory.size);
    worker.stack.create();
    worker.context = boost::context::fiber(
        std::allocator_arg, boost::context::preallocated(memory.sp, memory.size, memory), allocator,
        [this, &worker](boost::context::fiber&& scheduler) {
          scheduler_ = std::move(scheduler);
          worker.stack.arrive(scheduler_stack_);
          while (!is_closing_) {
            run_body(worker.thread);
            ++num_finished_;
            worker.thread = -1;
            idle_.push_back(&worker);
            return_to_scheduler(worker);
          }
          worker.stack.leave(scheduler_stack_, true);
          return std::move(scheduler_);
        });
  }

  /// An exception here would cross a fiber's edge: ends the program.
  void run_body(int thread) noexcept { (*body_)(Thread(this, thread)); }

  void resume(Worker& worker) {
    scheduler_stack_.leave(worker.stack);
    boost::context::fiber next = std::move(worker.context).resume();
    StackSwitch ignored;
    scheduler_stack_.arrive(ignored);
    worker.context = std::move(next);
  }
  void return_to_scheduler(Worker& worker) {
    worker.stack.leave(scheduler_stack_);
    boost::context::fiber scheduler = std::move(scheduler_).resume();
    worker.stack.arrive(scheduler_stack_);
    scheduler_ = std::move(scheduler);
  }
  void suspend(int thread) { return_to_scheduler(*worker_of_[thread]); }

  GridShape grid_;
  const std::function<void(const Thread&)>* body_ = nullptr;
  int block_x_ = 0;
  int block_y_ = 0;
  bool is_running_ = false;
  bool is_closing_ = false;
  int num_finished_ = 0;
  int block_arrived_ = 0;
  int warp_arrived_[kMaxBlockThreads / 32] = {};
  unsigned char exchange_row_[kMaxBlockThreads] = {};
  std::uint64_t exchange_[2][kMaxBlockThreads] = {};
  Worker* worker_of_[kMaxBlockThreads] = {};
  std::vector<Line> shared_;
  std::deque<int> released_;
  std::vector<Worker*> idle_;
  boost::context::fiber scheduler_;
  StackSwitch scheduler_stack_;
  std::vector<std::unique_ptr<Worker>> workers_;
};

int Thread::num_threads() const { return runner_->grid().threads; }
int Thread::block_x() const { return runner_->block_x(); }
int Thread::block_y() const { return runner_->block_y(); }
int Thread::num_blocks_x() const { return runner_->grid().blocks_x; }
int Thread::warp_size() const { return runner_->grid().warp_size; }
void Thread::barrier() const { runner_->wait_block(index_); }
void Thread::warp_barrier() const { runner_->wait_warp(index_); }
unsigned char* Thread::shared_bytes() const { return runner_->shared_bytes(); }
const std::uint64_t* Thread::warp_gather(std::uint64_t value) const {
  return runner_->gather(index_, value);
}

float Thread::warp_sum(float value) const {
  // The order of a butterfly (each lane adds its partner at distance W/2, W/4 ... 1), as on a GPU.
  const std::uint64_t* lanes = warp_gather(packed(value));
  float sum[64];
  for (int i = 0; i < warp_size(); ++i) {
    sum[i] = unpacked<float>(lanes[i]);
  }
  for (int half = warp_size() / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) {
      sum[i] += sum[i + half];
    }
  }
  return sum[0];
}
float Thread::warp_max(float value) const {
  const std::uint64_t* lanes = warp_gather(packed(value));
  for (int i = 0; i < warp_size(); ++i) {
    value = std::max(value, unpacked<float>(lanes[i]));
  }
  return value;
}
std::uint32_t Thread::warp_max(std::uint32_t value) const {
  const std::uint64_t* lanes = warp_gather(value);
  return static_cast<std::uint32_t>(*std::max_element(lanes, lanes + warp_size()));
}
std::uint32_t Thread::warp_min(std::uint32_t value) const {
  const std::uint64_t* lanes = warp_gather(value);
  return static_cast<std::uint32_t>(*std::min_element(lanes, lanes + warp_size()));
}

int Thread::first_lane(bool condition) const {
  const std::uint64_t* lanes = warp_gather(condition ? 1 : 0);
  const std::uint64_t* found = std::find(lanes, lanes + warp_size(), std::uint64_t{1});
  return found == lanes + warp_size() ? -1 : static_cast<int>(found - lanes);
}

void run_grid(const GridShape& grid, const std::function<void(const Thread&)>& body) {
  thread_local BlockRunner runner;
  runner.run(grid, body);
}

/// A queue and the thread that empties it.
struct Stream::Worker {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::function<void()>> queue;
  bool is_busy = false;
  bool is_closing = false;
  std::thread thread{[this] { work(); }};

  void work() {
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [this] { return is_closing || !queue.empty(); });
      if (queue.empty()) {
        return;
      }
      const std::function<void()> next = std::move(queue.front());
      queue.pop_front();
      is_busy = true;
      lock.unlock();
      next();
      lock.lock();
      is_busy = false;
      changed.notify_all();
    }
  }
};

Stream::Stream(bool is_threaded, int warp_size)
    : worker_(is_threaded ? std::make_unique<Worker>() : nullptr), warp_size_(warp_size) {}

Stream::~Stream() {
  if (worker_) {
    {
      const std::lock_guard lock(worker_->mutex);
      worker_->is_closing = true;
    }
    worker_->changed.notify_all();
    worker_->thread.join();
  }
}

void Stream::enqueue(std::function<void()> work) {
  if (is_capturing_) {
    captured_.push_back(std::move(work));
  } else if (worker_) {
    {
      const std::lock_guard lock(worker_->mutex);
      worker_->queue.push_back(std::move(work));
    }
    worker_->changed.notify_all();
  } else {
    work();
  }
}

void Stream::synchronize() {
  if (worker_) {
    std::unique_lock lock(worker_->mutex);
    worker_->changed.wait(lock, [this] { return worker_->queue.empty() && !worker_->is_busy; });
  }
}

void Stream::begin_capture() {
  MOESIM_CHECK(!is_capturing_, "a stream captures one graph at a time");
  is_capturing_ = true;
}

std::vector<std::function<void()>> Stream::end_capture() {
  is_capturing_ = false;
  return std::exchange(captured_, {});
}

}  // namespace moesim::gpu::host
