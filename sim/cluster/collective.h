// SPDX-License-Identifier: Apache-2.0
// Closed-form times of collectives: start-up plus the bottleneck link (alpha-beta), constants from
// the cluster profile.
//
// Inside a scale-up domain measured laws (piecewise curves over NCCL's protocols, physical forms of
// the expert kernels) are used where the profile has them. This is the analytic fidelity. Each
// formula names the busiest link of the algorithm when nothing else uses the network; the flow
// engine carries the same transfers over the topology. Sources: PHYSICS.md section 2 and the
// profile's fits.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "sim/base/number_format.h"
#include "sim/base/units.h"
#include "sim/input/cluster_profile.h"

namespace moesim {

/// What one rank sends or receives in one exchange with the experts; the larger direction of the
/// busiest rank. Counts are copies of a token's hidden vector.
struct ExchangeDemand {
  double remote_selections = 0;  ///< (token, expert) pairs that cross nodes
  double local_selections =
      0;                   ///< (token, expert) pairs within the scale-up domain, own rank included
  double node_copies = 0;  ///< (token, other node) pairs
  double rank_copies = 0;  ///< (token, distinct destination rank) pairs
  std::int64_t ranks = 1;  ///< of the exchange
  double tokens = 0;       ///< that the rank holds
  double experts = 0;      ///< of all ranks together
};

enum class ExchangeDirection : std::uint8_t { dispatch, combine };

/// Which kernels carry the exchange.
enum class ExchangeKernel : std::uint8_t {
  low_latency,
  normal,
  pairwise,
  nvlink_one_sided,
  nvlink_two_sided
};
/// Kernels that send a token once to each distinct rank, not once to each expert.
constexpr bool sends_rank_copies(ExchangeKernel kernel) {
  return kernel == ExchangeKernel::normal || kernel == ExchangeKernel::nvlink_one_sided ||
         kernel == ExchangeKernel::nvlink_two_sided;
}

/// One exchange as its kernels see it.
struct ExchangeSize {
  ExchangeDemand demand;
  double hidden = 0;
  NumberFormat format = NumberFormat::bf16;
  double device_sms = 1;      ///< multiprocessors of the GPU
  double kernel_sms = 1;      ///< of them those that a normal kernel takes
  bool is_one_node = false;   ///< all ranks reach each other without the network
  double domain_ranks = 1;    ///< ranks that do
  double messages_per_s = 0;  ///< that the network cards of a GPU send; 0: not known
};

/// Seconds of the data kernel alone: without `notify`.
Seconds exchange_time(const LowLatencyExchange& fit, const ExchangeSize& size);
Seconds exchange_time(const NormalExchange& fit, const ExchangeSize& size);
Seconds exchange_time(const NvlinkExchange& fit, const ExchangeSize& size);

/// Seconds of a collective among `ranks` > 1; `buffer` as nccl-tests counts it.
Seconds law_time(const CollectiveLaw& law, double ranks, Bytes buffer);

/// m of a protocol: how many steps `ranks` need.
double steps_of(StepPattern pattern, double ranks);

/// Times of an exchange and what its kernels take from compute.
struct ExchangeCost {
  Seconds seconds;
  double sm_fraction = 0;  ///< share of the device's SMs busy with the exchange while it runs
};

class CollectiveModel {
 public:
  /// `sm_count` of the device; `communication_sms` overrides the profile's figure when >= 0;
  /// `framework`: whose own kernels compete with NCCL's.
  CollectiveModel(const ClusterProfile& cluster, std::int64_t sm_count,
                  std::int64_t communication_sms = -1,
                  CollectiveLibrary framework = CollectiveLibrary::vllm);

  /// GPUs of one scale-up domain.
  std::int64_t domain_gpus() const { return domain_gpus_; }

  /// One dispatch or combine of hidden vectors of `hidden` elements in `format`. An exchange of one
  /// rank costs nothing.
  ExchangeCost exchange(ExchangeKernel kernel, ExchangeDirection direction,
                        const ExchangeDemand& demand, double hidden, NumberFormat format) const;

  /// `buffer` as nccl-tests counts it: the whole buffer of each rank (all-gather: the gathered
  /// result). Zero for one rank. The faster of the profile's library kernels is taken; across
  /// domains the NIC carries each GPU's share (hierarchical ring).
  Seconds collective(CollectiveOp op, std::int64_t ranks, Bytes buffer) const;

  const ClusterProfile& profile() const { return *cluster_; }
  /// The same GPUs with another profile's constants.
  CollectiveModel with_profile(const ClusterProfile& profile) const;
  /// How the kernels see an exchange.
  ExchangeSize size_of(const ExchangeDemand& demand, double hidden, NumberFormat format) const;

  /// Which kernel `automatic` means when expert kernels are known; pairwise otherwise.
  ExchangeKernel available(ExchangeKernel wanted) const;

 private:
  Seconds within_domain(CollectiveOp op, std::int64_t ranks, Bytes buffer) const;

  std::shared_ptr<const ClusterProfile> cluster_;
  std::int64_t domain_gpus_ = 1;
  double sm_count_ = 1;
  double communication_sms_ = 0;
  CollectiveLibrary framework_ = CollectiveLibrary::vllm;
};

/// The library of a stack such as "trtllm-1.3.0rc20"; vLLM's when it names none of those known.
CollectiveLibrary framework_of(const std::string& software);

/// Bytes of one token's copy: elements, their scales (fp8_block: an fp32 per 128) and the kernel's
/// header.
Bytes copy_bytes(double hidden, NumberFormat format, Bytes header);

}  // namespace moesim
