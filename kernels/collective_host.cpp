// SPDX-License-Identifier: Apache-2.0
// The host's collectives and the place of this process in a job.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "kernels/collective_probe.h"
#include "sim/base/error.h"

namespace moesim::gpu {
namespace {

/// Ranks that share one memory and one thread.
class HostCollective : public CollectiveGroup {
 public:
  explicit HostCollective(int ranks) : ranks_(ranks), device_(open_host_device()) {}
  int num_ranks() const override { return ranks_; }
  int num_local() const override { return ranks_; }
  int rank_of(int local) const override { return local; }
  Device& device(int) override { return *device_; }

  void run(const CollectiveCall& call) override {
    const std::size_t part = call.count / ranks_;
    switch (call.kind) {
      case CollectiveKind::all_to_all:
        exchange(call);
        break;
      case CollectiveKind::all_gather:
        for (int to = 0; to < ranks_; ++to) {
          for (int from = 0; from < ranks_; ++from) {
            copy(call.receive[to] + from * part, call.send[from], part);
          }
        }
        break;
      case CollectiveKind::reduce_scatter:
        for (int to = 0; to < ranks_; ++to) {
          add(call, to * part, part, call.receive[to]);
        }
        break;
      case CollectiveKind::all_reduce:
        add(call, 0, call.count, call.receive[0]);
        for (int to = 1; to < ranks_; ++to) {
          copy(call.receive[to], call.receive[0], call.count);
        }
        break;
    }
  }

 private:
  static void copy(float* to, const float* from, std::size_t count) {
    if (count > 0) {
      std::memcpy(to, from, count * sizeof(float));
    }
  }
  void exchange(const CollectiveCall& call) const {
    std::vector<std::size_t> received(ranks_, 0);
    for (int from = 0; from < ranks_; ++from) {
      std::size_t sent = 0;
      for (int to = 0; to < ranks_; ++to) {
        const std::size_t count = call.pairs[std::size_t(from) * ranks_ + to];
        copy(call.receive[to] + received[to], call.send[from] + sent, count);
        sent += count;
        received[to] += count;
      }
    }
  }
  void add(const CollectiveCall& call, std::size_t first, std::size_t count, float* out) const {
    copy(out, call.send[0] + first, count);
    for (int from = 1; from < ranks_; ++from) {
      for (std::size_t i = 0; i < count; ++i) {
        out[i] += call.send[from][first + i];
      }
    }
  }

  int ranks_;
  std::unique_ptr<Device> device_;
};

/// The first of these variables that is a number, or -1.
int first_number(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const char* text = std::getenv(name);
    if (text != nullptr && *text >= '0' && *text <= '9') {
      return std::atoi(text);
    }
  }
  return -1;
}

}  // namespace

std::unique_ptr<CollectiveGroup> open_host_collective(int ranks) {
  return std::make_unique<HostCollective>(ranks);
}

namespace on_host {
std::unique_ptr<CollectiveGroup> open_collective(const ProcessPlace& place, int ranks,
                                                 std::string* why_absent) {
  if (!place.rendezvous.empty()) {
    *why_absent = "host: ranks live in one process; start it without --rendezvous";
    return nullptr;
  }
  return open_host_collective(ranks);
}
}  // namespace on_host

ProcessPlace process_place(const std::string& rendezvous) {
  ProcessPlace place;
  if (rendezvous.empty()) {
    return place;
  }
  // Open MPI's first: mpirun inside a Slurm allocation inherits Slurm's variables of one task.
  place.rank = first_number({"OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID"});
  place.num_processes = first_number({"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_NTASKS"});
  place.local_rank =
      std::max(0, first_number({"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"}));
  place.rendezvous = rendezvous;
  if (place.rank < 0 || place.num_processes < 1) {
    throw InputError("", "", "--rendezvous is for processes that Slurm or mpirun started",
                     "neither SLURM_PROCID nor OMPI_COMM_WORLD_RANK nor PMI_RANK is set");
  }
  return place;
}

}  // namespace moesim::gpu
