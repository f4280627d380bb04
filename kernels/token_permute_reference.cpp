// SPDX-License-Identifier: Apache-2.0
#include "kernels/token_permute.h"

namespace moesim::gpu {

PermutePlan permute_plan_reference(const PermuteShape& shape,
                                   const std::vector<std::int32_t>& chosen) {
  std::vector<std::vector<std::int32_t>> rows(static_cast<std::size_t>(shape.num_experts));
  for (std::size_t assignment = 0; assignment < chosen.size(); ++assignment) {
    const std::int32_t expert = chosen[assignment];
    if (expert >= 0 && expert < shape.num_experts &&
        (shape.capacity < 0 || static_cast<int>(rows[expert].size()) < shape.capacity)) {
      rows[expert].push_back(static_cast<std::int32_t>(assignment));
    }
  }
  PermutePlan plan;
  plan.row_of.assign(chosen.size(), -1);
  for (const std::vector<std::int32_t>& expert_rows : rows) {
    plan.offsets.push_back(static_cast<std::int32_t>(plan.assignment_of.size()));
    for (const std::int32_t assignment : expert_rows) {
      plan.row_of[assignment] = static_cast<std::int32_t>(plan.assignment_of.size());
      plan.assignment_of.push_back(assignment);
    }
  }
  plan.offsets.push_back(static_cast<std::int32_t>(plan.assignment_of.size()));
  return plan;
}

std::vector<Bfloat16> permute_rows_reference(const PermuteShape& shape, const PermutePlan& plan,
                                             const std::vector<Bfloat16>& x) {
  std::vector<Bfloat16> packed;
  for (const std::int32_t assignment : plan.assignment_of) {
    const auto row = x.begin() + std::ptrdiff_t{assignment / shape.top_k} * shape.hidden;
    packed.insert(packed.end(), row, row + shape.hidden);
  }
  return packed;
}

std::vector<double> combine_rows_reference(const PermuteShape& shape, const PermutePlan& plan,
                                           const std::vector<float>& weights,
                                           const std::vector<Bfloat16>& packed) {
  std::vector<double> out(static_cast<std::size_t>(shape.num_tokens) * shape.hidden, 0.0);
  for (std::size_t assignment = 0; assignment < plan.row_of.size(); ++assignment) {
    if (plan.row_of[assignment] < 0) {
      continue;
    }
    const std::ptrdiff_t token = static_cast<std::ptrdiff_t>(assignment) / shape.top_k;
    const std::ptrdiff_t row = plan.row_of[assignment];
    for (std::ptrdiff_t h = 0; h < shape.hidden; ++h) {
      out[token * shape.hidden + h] +=
          static_cast<double>(weights[assignment]) * to_float(packed[row * shape.hidden + h]);
    }
  }
  return out;
}

}  // namespace moesim::gpu
