// SPDX-License-Identifier: Apache-2.0
// Laws of collectives from measured times: which protocols, where they take over, what each costs.
//
// A library such as NCCL changes protocol with the size. For each range of x = S / n the law is
// linear in its four costs (see CollectiveProtocol), so all ranges are fitted and the best cut of
// the size axis into few ranges is found exactly (dynamic programming). A range must pay for
// itself: it adds `kRangePenalty` of mean relative error over its sizes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/input/communication_constants.h"

namespace moesim {

/// One measured collective.
struct CollectiveSample {
  std::string system;    ///< "h100_sxm"
  std::string software;  ///< "NCCL 2.29.2"
  std::string variant;   ///< of custom kernels: "vllm_graph"; of NCCL the number format
  CollectiveLibrary library = CollectiveLibrary::nccl;
  CollectiveOp op = CollectiveOp::all_reduce;
  std::int64_t ranks = 2;
  double bytes = 0;  ///< as nccl-tests counts
  double seconds = 0;
  std::string file;
  std::int64_t file_row = 0;

  /// Launched one by one: the host's time and not the kernel's.
  bool is_eager() const { return variant.find("eager") != std::string::npos; }
};

/// The law of one op of one system from samples of at least two group sizes; nothing when there are
/// fewer. All samples count alike.
std::optional<CollectiveLaw> fit_collective_law(
    const std::vector<const CollectiveSample*>& samples);

/// `law` on a machine whose links are `rate_ratio` times as fast; start-ups do not scale.
CollectiveLaw transferred(const CollectiveLaw& law, double rate_ratio);

}  // namespace moesim
