// SPDX-License-Identifier: Apache-2.0
#include "sim/cluster/transfer_set.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "sim/base/error.h"

namespace moesim {

namespace {

bool all_sizes_valid(const std::vector<double>& bytes) {
  return std::all_of(bytes.begin(), bytes.end(),
                     [](double value) { return std::isfinite(value) && value >= 0.0; });
}

}  // namespace

TransferSet TransferSet::uniform(std::uint32_t num_ranks, Bytes per_pair) {
  MOESIM_CHECK(num_ranks <= 65535, "the flows of a matrix are numbered in 32 bits");
  MOESIM_CHECK(std::isfinite(per_pair.value()) && per_pair.value() >= 0.0, "bytes are >= 0");
  TransferSet set;
  set.num_ranks_ = num_ranks;
  set.num_flows_ = num_ranks * num_ranks;
  set.per_pair_ = per_pair.value();
  return set;
}

TransferSet TransferSet::matrix(std::uint32_t num_ranks, std::vector<double> bytes) {
  MOESIM_CHECK(num_ranks <= 65535, "the flows of a matrix are numbered in 32 bits");
  MOESIM_CHECK(bytes.size() == std::size_t{num_ranks} * num_ranks, "a matrix is square");
  MOESIM_CHECK(all_sizes_valid(bytes), "bytes are finite and >= 0");
  TransferSet set;
  set.num_ranks_ = num_ranks;
  set.num_flows_ = num_ranks * num_ranks;
  set.bytes_ = std::move(bytes);
  return set;
}

TransferSet TransferSet::columns(std::vector<std::uint32_t> sources,
                                 std::vector<std::uint32_t> destinations,
                                 std::vector<double> bytes) {
  MOESIM_CHECK(sources.size() == destinations.size() && sources.size() == bytes.size(),
               "columns have one length");
  MOESIM_CHECK(sources.size() < kMaxFlows, "flows are numbered in 32 bits");
  MOESIM_CHECK(all_sizes_valid(bytes), "bytes are finite and >= 0");
  TransferSet set;
  set.num_flows_ = static_cast<std::uint32_t>(sources.size());
  for (std::size_t i = 0; i < sources.size(); ++i) {
    set.num_ranks_ = std::max({set.num_ranks_, sources[i] + 1, destinations[i] + 1});
  }
  set.sources_ = std::move(sources);
  set.destinations_ = std::move(destinations);
  set.bytes_ = std::move(bytes);
  return set;
}

TransferSet TransferSet::endless(const std::vector<Copy>& copies) {
  std::vector<std::uint32_t> sources, destinations;
  for (const Copy& copy : copies) {
    sources.push_back(copy.source);
    destinations.push_back(copy.destination);
  }
  TransferSet set =
      columns(std::move(sources), std::move(destinations), std::vector<double>(copies.size(), 0.0));
  std::fill(set.bytes_.begin(), set.bytes_.end(), std::numeric_limits<double>::infinity());
  set.is_endless_ = true;
  return set;
}

TransferSet TransferSet::copies(const std::vector<Copy>& copies) {
  std::vector<std::uint32_t> sources, destinations;
  std::vector<double> bytes;
  for (const Copy& copy : copies) {
    sources.push_back(copy.source);
    destinations.push_back(copy.destination);
    bytes.push_back(copy.bytes.value());
  }
  return columns(std::move(sources), std::move(destinations), std::move(bytes));
}

}  // namespace moesim
