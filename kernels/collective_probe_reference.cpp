// SPDX-License-Identifier: Apache-2.0
#include "kernels/collective_probe.h"

namespace moesim::gpu {

std::size_t collective_send_count(const CollectiveCall& call, int ranks, int rank) {
  if (call.kind == CollectiveKind::all_gather) {
    return call.count / ranks;
  }
  if (call.kind != CollectiveKind::all_to_all) {
    return call.count;
  }
  std::size_t count = 0;
  for (int to = 0; to < ranks; ++to) {
    count += call.pairs[std::size_t(rank) * ranks + to];
  }
  return count;
}

std::size_t collective_receive_count(const CollectiveCall& call, int ranks, int rank) {
  if (call.kind == CollectiveKind::reduce_scatter) {
    return call.count / ranks;
  }
  if (call.kind != CollectiveKind::all_to_all) {
    return call.count;
  }
  std::size_t count = 0;
  for (int from = 0; from < ranks; ++from) {
    count += call.pairs[std::size_t(from) * ranks + rank];
  }
  return count;
}

std::vector<float> collective_reference(const CollectiveCall& call,
                                        const std::vector<std::vector<float>>& send, int rank) {
  const int ranks = static_cast<int>(send.size());
  std::vector<float> result;
  if (call.kind == CollectiveKind::all_to_all) {
    for (int from = 0; from < ranks; ++from) {
      std::size_t at = 0;
      for (int to = 0; to < rank; ++to) {
        at += call.pairs[std::size_t(from) * ranks + to];
      }
      const std::size_t count = call.pairs[std::size_t(from) * ranks + rank];
      result.insert(result.end(), send[from].begin() + std::ptrdiff_t(at),
                    send[from].begin() + std::ptrdiff_t(at + count));
    }
    return result;
  }
  if (call.kind == CollectiveKind::all_gather) {
    for (const std::vector<float>& part : send) {
      result.insert(result.end(), part.begin(), part.end());
    }
    return result;
  }
  const bool is_scattered = call.kind == CollectiveKind::reduce_scatter;
  const std::size_t part = is_scattered ? call.count / ranks : call.count;
  for (std::size_t i = 0; i < part; ++i) {
    double sum = 0.0;
    for (const std::vector<float>& values : send) {
      sum += values[(is_scattered ? rank * part : 0) + i];
    }
    result.push_back(static_cast<float>(sum));
  }
  return result;
}

}  // namespace moesim::gpu
