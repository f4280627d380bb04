// SPDX-License-Identifier: Apache-2.0
// A sweep over the ranks of an MPI job.
//
// Every rank makes the same points from the same command line, so only chunk numbers go out and
// rows come back. Rank 0 answers requests and writes in order on its main thread while a thread of
// its own works like any other rank's. A rank that dies ends the job (OpenMPI's habit); what rank 0
// has written stays, and --resume does the rest.
#include "sim/study/sweep.h"

#ifdef MOESIM_HAS_MPI
#include <mpi.h>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <map>
#include <mutex>
#include <thread>
#endif

#include "sim/base/error.h"

namespace moesim {

#ifndef MOESIM_HAS_MPI

namespace {
[[noreturn]] void no_mpi() {
  throw InputError("--mpi", "", "this build has no MPI",
                   "install libopenmpi-dev, configure and build again, or leave --mpi out");
}
}  // namespace

MpiRank start_mpi() { no_mpi(); }
std::int64_t from_first_rank(std::int64_t) { no_mpi(); }

bool run_sweep_mpi(const PointEvaluator&, const std::vector<PointRange>&, const SweepOptions&,
                   const ChunkSink&) {
  no_mpi();
}

#else

namespace {

constexpr int kRequest = 1;  // worker -> 0: give me a chunk
constexpr int kWork = 2;     // 0 -> worker: chunk index, or -1: nothing left
constexpr int kRows = 3;     // worker -> 0: a finished chunk

// A remote worker waits half of this for its next chunk, which takes tens of milliseconds; polling
// each 50 us took a sixth of a core from the workers beside it.
constexpr std::chrono::milliseconds kPollEvery{1};

class ByteWriter {
 public:
  void add(std::uint64_t value) { append(&value, sizeof value); }
  void add(double value) { append(&value, sizeof value); }
  void add(const std::string& text) {
    add(static_cast<std::uint64_t>(text.size()));
    append(text.data(), text.size());
  }
  std::vector<char> bytes;

 private:
  void append(const void* data, std::size_t size) {
    const char* begin = static_cast<const char*>(data);
    bytes.insert(bytes.end(), begin, begin + size);
  }
};

class ByteReader {
 public:
  explicit ByteReader(const std::vector<char>& bytes) : bytes_(bytes) {}
  std::uint64_t count() { return take<std::uint64_t>(); }
  double number() { return take<double>(); }
  std::string text() {
    const std::uint64_t size = count();
    MOESIM_CHECK(at_ + size <= bytes_.size(), "a message of another rank is cut short");
    std::string text(bytes_.data() + at_, size);
    at_ += size;
    return text;
  }

 private:
  template <class T>
  T take() {
    MOESIM_CHECK(at_ + sizeof(T) <= bytes_.size(), "a message of another rank is cut short");
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  const std::vector<char>& bytes_;
  std::size_t at_ = 0;
};

std::vector<char> packed(std::uint64_t index, const SweepChunk& chunk) {
  ByteWriter out;
  out.add(index);
  out.add(static_cast<std::uint64_t>(chunk.columns.size()));
  for (const std::string& column : chunk.columns) {
    out.add(column);
  }
  out.add(static_cast<std::uint64_t>(chunk.rows.size()));
  for (const SweepRow& row : chunk.rows) {
    out.add(row.point);
    out.add(row.key);
    out.add(row.scenario);
    out.add(static_cast<std::uint64_t>((row.feasible ? 1 : 0) + (row.simulated ? 2 : 0)));
    out.add(row.reasons);
    for (const double figure : row.figures) {
      out.add(figure);
    }
  }
  return std::move(out.bytes);
}

std::uint64_t unpack(const std::vector<char>& bytes, SweepChunk& chunk) {
  ByteReader in(bytes);
  const std::uint64_t index = in.count();
  chunk.columns.resize(in.count());
  for (std::string& column : chunk.columns) {
    column = in.text();
  }
  chunk.rows.resize(in.count());
  for (SweepRow& row : chunk.rows) {
    row.point = in.count();
    row.key = in.text();
    row.scenario = in.text();
    const std::uint64_t flags = in.count();
    row.feasible = (flags & 1) != 0;
    row.simulated = (flags & 2) != 0;
    row.reasons = in.text();
    row.figures.resize(chunk.columns.size());
    for (double& figure : row.figures) {
      figure = in.number();
    }
  }
  return index;
}

/// One chunk after the other on this thread; parallel parts inside a simulation may use more.
template <class Next, class Finish>
void work(const PointEvaluator& evaluator, const std::vector<PointRange>& chunks, const Next& next,
          const Finish& finish) {
  for (std::int64_t index = next(); index >= 0; index = next()) {
    finish(static_cast<std::uint64_t>(index),
           evaluator.evaluate(chunks[static_cast<std::size_t>(index)]));
  }
}

void work_remotely(const PointEvaluator& evaluator, const std::vector<PointRange>& chunks,
                   int workers) {
  std::mutex mutex;  // MPI is started for one caller at a time
  const auto loop = [&] {
    work(
        evaluator, chunks,
        [&] {
          const std::lock_guard lock(mutex);
          std::int64_t index = -1;
          MPI_Send(nullptr, 0, MPI_BYTE, 0, kRequest, MPI_COMM_WORLD);
          MPI_Recv(&index, 1, MPI_INT64_T, 0, kWork, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
          return index;
        },
        [&](std::uint64_t index, const SweepChunk& chunk) {
          const std::vector<char> bytes = packed(index, chunk);
          const std::lock_guard lock(mutex);
          MPI_Send(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, 0, kRows,
                   MPI_COMM_WORLD);
        });
  };
  std::vector<std::thread> threads;
  for (int i = 1; i < workers; ++i) {
    threads.emplace_back(loop);
  }
  loop();
  for (std::thread& thread : threads) {
    thread.join();
  }
}

bool coordinate(const PointEvaluator& evaluator, const std::vector<PointRange>& chunks,
                const SweepOptions& options, int workers, const ChunkSink& sink) {
  std::atomic<std::int64_t> next{0};
  std::mutex mutex;
  std::map<std::uint64_t, SweepChunk> finished;  // guarded by mutex
  std::exception_ptr failure;                    // guarded by mutex
  const auto total = static_cast<std::int64_t>(chunks.size());
  const auto take = [&]() -> std::int64_t {
    if (options.stop.stop_requested()) {
      return -1;
    }
    const std::int64_t index = next.fetch_add(1);
    return index < total ? index : -1;
  };
  std::vector<std::thread> threads;
  std::atomic<int> working{workers};
  for (int i = 0; i < workers; ++i) {
    threads.emplace_back([&] {
      try {
        work(evaluator, chunks, take, [&](std::uint64_t index, SweepChunk&& chunk) {
          const std::lock_guard lock(mutex);
          finished.emplace(index, std::move(chunk));
        });
      } catch (...) {
        const std::lock_guard lock(mutex);
        failure = std::current_exception();
        next = total;
      }
      --working;
    });
  }
  int size = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  // Each remote worker asks until it is told that nothing is left.
  std::vector<int> remote_workers(static_cast<std::size_t>(size), 0);
  MPI_Gather(&workers, 1, MPI_INT, remote_workers.data(), 1, MPI_INT, 0, MPI_COMM_WORLD);
  int still_asking = 0;
  for (std::size_t rank = 1; rank < remote_workers.size(); ++rank) {
    still_asking += remote_workers[rank];
  }
  std::uint64_t handed_out = 0;
  std::uint64_t returned = 0;
  std::uint64_t written = 0;
  const auto write_ready = [&] {
    while (true) {
      SweepChunk chunk;
      {
        const std::lock_guard lock(mutex);
        const auto ready = finished.find(written);
        if (failure != nullptr || ready == finished.end()) {
          return;
        }
        chunk = std::move(ready->second);
        finished.erase(ready);
      }
      try {
        sink(std::move(chunk));
      } catch (...) {
        // The other ranks are told that nothing is left, so that all end by themselves.
        const std::lock_guard lock(mutex);
        failure = std::current_exception();
        next = total;
        return;
      }
      ++written;
    }
  };
  while (still_asking > 0 || returned < handed_out || working.load() > 0) {
    int waiting = 0;
    MPI_Status status;
    MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &waiting, &status);
    if (waiting == 0) {
      write_ready();
      std::this_thread::sleep_for(kPollEvery);
    } else if (status.MPI_TAG == kRequest) {
      MPI_Recv(nullptr, 0, MPI_BYTE, status.MPI_SOURCE, kRequest, MPI_COMM_WORLD, &status);
      const std::int64_t index = take();
      handed_out += index >= 0 ? 1 : 0;
      still_asking -= index < 0 ? 1 : 0;
      MPI_Send(&index, 1, MPI_INT64_T, status.MPI_SOURCE, kWork, MPI_COMM_WORLD);
    } else {
      int count = 0;
      MPI_Get_count(&status, MPI_BYTE, &count);
      std::vector<char> bytes(static_cast<std::size_t>(count));
      MPI_Recv(bytes.data(), count, MPI_BYTE, status.MPI_SOURCE, kRows, MPI_COMM_WORLD,
               MPI_STATUS_IGNORE);
      SweepChunk chunk;
      const std::uint64_t index = unpack(bytes, chunk);
      const std::lock_guard lock(mutex);
      finished.emplace(index, std::move(chunk));
      ++returned;
    }
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  write_ready();
  if (failure != nullptr) {
    std::rethrow_exception(failure);
  }
  return written == chunks.size();
}

}  // namespace

MpiRank start_mpi() {
  int started = 0;
  MPI_Initialized(&started);
  if (started == 0) {
    int provided = 0;
    MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided);
    std::atexit([] {
      int ended = 0;
      MPI_Finalized(&ended);
      if (ended == 0) {
        MPI_Finalize();
      }
    });
    if (provided < MPI_THREAD_SERIALIZED) {
      throw InputError("--mpi", "", "this MPI does not work with threads",
                       "use an MPI with MPI_THREAD_SERIALIZED, such as Debian's OpenMPI");
    }
  }
  MpiRank rank;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank.rank);
  MPI_Comm_size(MPI_COMM_WORLD, &rank.size);
  return rank;
}

std::int64_t from_first_rank(std::int64_t value) {
  MPI_Bcast(&value, 1, MPI_INT64_T, 0, MPI_COMM_WORLD);
  return value;
}

bool run_sweep_mpi(const PointEvaluator& evaluator, const std::vector<PointRange>& chunks,
                   const SweepOptions& options, const ChunkSink& sink) {
  const MpiRank rank = start_mpi();
  int workers = std::max(1, options.jobs);
  if (rank.rank == 0) {
    return coordinate(evaluator, chunks, options, workers, sink);
  }
  MPI_Gather(&workers, 1, MPI_INT, nullptr, 0, MPI_INT, 0, MPI_COMM_WORLD);
  work_remotely(evaluator, chunks, workers);
  return true;
}

#endif

}  // namespace moesim
