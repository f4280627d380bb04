// SPDX-License-Identifier: Apache-2.0
// The hold model (Jones 1986): pop the next event, push one a random time later, n events pending.
// Our queue and std::priority_queue take turns in the same run, on the same event type and
// comparison; the counters are the medians of nine turns. "mean_ps" varies the scale of time, since
// a radix queue could be lucky.
#include <benchmark/benchmark.h>
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <queue>
#include <vector>

#include "sim/base/random.h"
#include "sim/engine/event_queue.h"

namespace {

using moesim::Event;
using moesim::SimTime;

struct HappensAfter {
  bool operator()(const Event& a, const Event& b) const { return moesim::happens_before(b, a); }
};

/// The yardstick, with the interface of EventQueue.
class HeapQueue {
 public:
  void push(SimTime time, std::int16_t priority, std::uint64_t data) {
    heap_.push({time, (static_cast<std::uint64_t>(priority + 32768) << 48) | sequence_++, data});
  }
  Event pop() {
    const Event event = heap_.top();
    heap_.pop();
    return event;
  }

 private:
  std::priority_queue<Event, std::vector<Event>, HappensAfter> heap_;
  std::uint64_t sequence_ = 0;
};

double cpu_nanoseconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

std::vector<std::int64_t> exponential_gaps(double mean) {
  moesim::RandomStream random(1, "hold");
  std::vector<std::int64_t> gaps(1 << 14);
  for (std::int64_t& gap : gaps) {
    gap = static_cast<std::int64_t>(random.exponential() * mean);
  }
  return gaps;
}

template <class Queue>
class Hold {
 public:
  Hold(std::size_t pending, const std::vector<std::int64_t>& gaps) : gaps_(gaps) {
    moesim::RandomStream random(2, "hold/start");
    for (std::size_t i = 0; i < pending; ++i) {
      queue_.push(SimTime(gaps_[random.below(gaps_.size())]), 0, i);
    }
  }
  /// Nanoseconds for each of `count` holds.
  double turn(std::size_t count) {
    const double start = cpu_nanoseconds();
    for (std::size_t i = 0; i < count; ++i) {
      const Event event = queue_.pop();
      index_ = (index_ + 1) & (gaps_.size() - 1);
      queue_.push(event.time + SimTime(gaps_[index_]), 0, event.data);
    }
    return (cpu_nanoseconds() - start) / static_cast<double>(count);
  }

 private:
  const std::vector<std::int64_t>& gaps_;
  Queue queue_;
  std::size_t index_ = 0;
};

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

void event_queue_hold(benchmark::State& state) {
  const std::size_t pending = static_cast<std::size_t>(state.range(0));
  const std::vector<std::int64_t> gaps = exponential_gaps(static_cast<double>(state.range(1)));
  Hold<moesim::EventQueue> ours(pending, gaps);
  Hold<HeapQueue> heap(pending, gaps);
  const std::size_t count = std::max<std::size_t>(pending, 500'000);
  ours.turn(count);
  heap.turn(count);
  std::vector<double> ours_ns;
  std::vector<double> heap_ns;
  for (auto _ : state) {
    ours_ns.push_back(ours.turn(count));
    heap_ns.push_back(heap.turn(count));
  }
  state.counters["ours_ns"] = median(ours_ns);
  state.counters["heap_ns"] = median(heap_ns);
  state.counters["ratio"] = median(ours_ns) / median(heap_ns);
}
BENCHMARK(event_queue_hold)
    ->ArgNames({"pending", "mean_ps"})
    ->ArgsProduct({{100, 10'000, 1'000'000}, {1 << 19, 1 << 22, 20'000'000}})
    ->Iterations(9)
    ->Unit(benchmark::kMillisecond);

}  // namespace
