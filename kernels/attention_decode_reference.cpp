// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "kernels/attention_decode.h"

namespace moesim::gpu {

int attention_splits(const AttentionShape& shape, const DeviceInfo& info) {
  const int blocks = std::max(1, shape.num_sequences * shape.num_kv_heads);
  const int wanted = (4 * info.num_processors + blocks - 1) / blocks;
  return std::clamp(wanted, 1, std::max(1, shape.context / 256));
}

std::vector<double> attention_reference(const AttentionShape& shape, int sequence,
                                        const std::vector<Bfloat16>& q,
                                        const std::vector<Bfloat16>& k,
                                        const std::vector<Bfloat16>& v) {
  const std::ptrdiff_t size = shape.head_size;
  const int group = shape.num_query_heads / shape.num_kv_heads;
  const double scale = 1.0 / std::sqrt(static_cast<double>(size));
  std::vector<double> out(static_cast<std::size_t>(shape.num_query_heads) * size, 0.0);
  for (std::ptrdiff_t head = 0; head < shape.num_query_heads; ++head) {
    const Bfloat16* query = q.data() + (sequence * shape.num_query_heads + head) * size;
    const std::ptrdiff_t cache =
        (std::ptrdiff_t{sequence} * shape.num_kv_heads + head / group) * shape.context * size;
    std::vector<double> score(static_cast<std::size_t>(shape.context));
    for (std::ptrdiff_t token = 0; token < shape.context; ++token) {
      double dot = 0.0;
      for (std::ptrdiff_t d = 0; d < size; ++d) {
        dot += static_cast<double>(to_float(query[d])) * to_float(k[cache + token * size + d]);
      }
      score[token] = dot * scale;
    }
    const double largest = *std::max_element(score.begin(), score.end());
    double sum = 0.0;
    for (double& s : score) {
      s = std::exp(s - largest);
      sum += s;
    }
    for (std::ptrdiff_t token = 0; token < shape.context; ++token) {
      for (std::ptrdiff_t d = 0; d < size; ++d) {
        out[head * size + d] += score[token] / sum * to_float(v[cache + token * size + d]);
      }
    }
  }
  return out;
}

}  // namespace moesim::gpu
