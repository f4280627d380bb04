// SPDX-License-Identifier: Apache-2.0
// What a measured serving run says of its software without a column for it: whose benchmark it is,
// how old, and how its kernels were started. Hides the spellings of the public tables.
#pragma once

#include "sim/input/serving_measurements.h"

namespace moesim {

/// InferenceX runs, whether the table names them or holds them under the archive's file names
/// ("aic-2026_04_06_...": dumps of InferenceX are filed by their date).
bool is_inferencex(const ServingMeasurement& row);

/// Of the first months of DeepSeek-R1, before engines had its kernels.
bool is_early_2025(const ServingMeasurement& row);

/// TensorRT engines, which TensorRT-LLM built before its PyTorch back end became the default in 1.0
/// (release notes, https://nvidia.github.io/TensorRT-LLM/release-notes.html). "trtllm 0.8.1" is a
/// version of Dynamo, whose workers run that back end.
bool is_compiled(const ServingMeasurement& row);

}  // namespace moesim
