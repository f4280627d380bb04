// SPDX-License-Identifier: Apache-2.0
#include "sim/study/measured_software.h"

#include <string_view>

namespace moesim {
namespace {

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

}  // namespace

bool is_inferencex(const ServingMeasurement& row) {
  return contains(row.source, "InferenceX") || contains(row.notes, "random_range_ratio 0.8") ||
         (contains(row.source, "aiconfigurator") && row.id.starts_with("aic-20"));
}

bool is_early_2025(const ServingMeasurement& row) {
  return row.date >= "2025-01" && row.date < "2025-05";
}

bool is_compiled(const ServingMeasurement& row) {
  const bool is_old = contains(row.framework, "TensorRT-LLM 0.") ||
                      contains(row.framework, "TensorRT 9.") ||
                      contains(row.framework, "TensorRT 10.");
  return is_old && !contains(row.framework, "PyTorch");
}

}  // namespace moesim
