// SPDX-License-Identifier: Apache-2.0
// Collectives among GPUs: all-to-all (uniform or any size per pair), all-reduce, all-gather,
// reduce-scatter.
//
// GPUs use NCCL or RCCL, loaded when the program runs; the host back end has ranks in one thread
// that copy and add in memory, so that layouts and checks are tested without a GPU. One process
// drives all its GPUs, or Slurm or mpirun start one process per GPU; then the library's id goes
// through a file that all see, and no MPI library is needed. Sizes follow nccl-tests: the buffer of
// all_reduce, the input of reduce_scatter, the result of all_gather, the send buffer of all_to_all.
// Numbers are fp32. Source: NCCL user guide 2.27, "Collective communication functions".
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/device.h"

namespace moesim::gpu {

enum class CollectiveKind { all_to_all, all_reduce, all_gather, reduce_scatter };

/// Where this process stands among those of a job.
struct ProcessPlace {
  int rank = 0;
  int num_processes = 1;
  int local_rank = 0;      ///< on its node: the GPU that it takes
  std::string rendezvous;  ///< file for the id; "": this process is alone
};
/// From the variables of Slurm, Open MPI, MPICH or Intel MPI. Throws InputError when `rendezvous`
/// is given but no rank is known.
ProcessPlace process_place(const std::string& rendezvous);

/// How many floats each rank sends to each: counts[source * ranks + destination].
using PairCounts = std::vector<std::size_t>;

/// One call of a collective. Buffers by local rank. all_to_all: send holds the parts for rank 0, 1,
/// ... in order, receive those from rank 0, 1, ...; others: `count` floats in the sense above.
struct CollectiveCall {
  CollectiveKind kind = CollectiveKind::all_reduce;
  std::size_t count = 0;  ///< floats; a multiple of the ranks for all_gather and reduce_scatter
  PairCounts pairs;       ///< all_to_all only
  std::vector<const float*> send;
  std::vector<float*> receive;
};

class CollectiveGroup {
 public:
  virtual ~CollectiveGroup() = default;
  virtual int num_ranks() const = 0;
  virtual int num_local() const = 0;
  /// Rank of this process's `local`-th device.
  virtual int rank_of(int local) const = 0;
  virtual Device& device(int local) = 0;
  /// Runs `call` on all ranks and returns when it is done. Throws DeviceError.
  virtual void run(const CollectiveCall& call) = 0;
};

/// `ranks` ranks in this thread.
std::unique_ptr<CollectiveGroup> open_host_collective(int ranks);

namespace on_host {
std::unique_ptr<CollectiveGroup> open_collective(const ProcessPlace& place, int ranks,
                                                 std::string* why_absent);
}

/// Floats that rank `rank` sends and receives.
std::size_t collective_send_count(const CollectiveCall& call, int ranks, int rank);
std::size_t collective_receive_count(const CollectiveCall& call, int ranks, int rank);
/// What rank `rank` receives when rank r sends send[r]: simple loops, double sums.
std::vector<float> collective_reference(const CollectiveCall& call,
                                        const std::vector<std::vector<float>>& send, int rank);

}  // namespace moesim::gpu
