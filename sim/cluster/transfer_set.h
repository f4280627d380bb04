// SPDX-License-Identifier: Apache-2.0
// Bytes to move between ranks: a whole traffic matrix or a list of copies, one value either way.
//
// Flow f of a matrix of R ranks goes from f / R to f % R, so a uniform all-to-all of a thousand
// ranks is three numbers, not a million objects; flow f of a list is its f-th copy.
#pragma once

#include <cstdint>
#include <vector>

#include "sim/base/units.h"

namespace moesim {

struct Copy {
  std::uint32_t source = 0;
  std::uint32_t destination = 0;
  Bytes bytes;
};

/// Flows are numbered in 32 bits; the last numbers are reserved.
inline constexpr std::uint32_t kMaxFlows = 0xffff0000u;

class TransferSet {
 public:
  /// Every rank below `num_ranks` sends `per_pair` to every rank, itself included (a copy to
  /// oneself takes no time).
  static TransferSet uniform(std::uint32_t num_ranks, Bytes per_pair);
  /// `bytes` [num_ranks, num_ranks] row-major, each finite and >= 0; row = source.
  static TransferSet matrix(std::uint32_t num_ranks, std::vector<double> bytes);
  /// Copies in any order, repetition allowed; bytes finite and >= 0.
  static TransferSet copies(const std::vector<Copy>& copies);
  /// Copies that never end: traffic that others contend with. They complete nothing, and neither
  /// `finish` nor `link_bytes` of a network counts them. `Copy::bytes` is not read.
  static TransferSet endless(const std::vector<Copy>& copies);
  /// As `copies`, columns apart, equal lengths.
  static TransferSet columns(std::vector<std::uint32_t> sources,
                             std::vector<std::uint32_t> destinations, std::vector<double> bytes);

  std::uint32_t num_flows() const { return num_flows_; }
  /// One more than the highest rank that takes part.
  std::uint32_t num_ranks() const { return num_ranks_; }
  std::uint32_t source(std::uint32_t flow) const {
    return sources_.empty() ? flow / num_ranks_ : sources_[flow];
  }
  std::uint32_t destination(std::uint32_t flow) const {
    return sources_.empty() ? flow % num_ranks_ : destinations_[flow];
  }
  /// Bytes of one flow, as a plain number.
  double bytes(std::uint32_t flow) const { return bytes_.empty() ? per_pair_ : bytes_[flow]; }
  bool is_matrix() const { return sources_.empty() && num_ranks_ > 0; }
  /// All flows carry the same bytes.
  bool is_uniform() const { return bytes_.empty(); }
  bool is_endless() const { return is_endless_; }

 private:
  std::uint32_t num_ranks_ = 0;
  std::uint32_t num_flows_ = 0;
  double per_pair_ = 0.0;
  bool is_endless_ = false;
  std::vector<std::uint32_t> sources_;
  std::vector<std::uint32_t> destinations_;
  std::vector<double> bytes_;
};

}  // namespace moesim
