// SPDX-License-Identifier: Apache-2.0
// Placements as files: our own JSON, SGLang's `--init-expert-location` and vLLM's expert map,
// written and read.
//
//   json    {"slot_to_expert": [layers][slots], "replicas", "gpu_load", "balancedness", "gpus"}
//   sglang  {"physical_to_logical_map": [model layers][slots]}: rows for leading dense layers too
//   vllm    {"moe_layer_count", "layer_list": [{"layer_id", "device_count", "device_list":
//            [{"device_id", "device_expert": [experts of its slots]}]}]}, the expert_map_path of
//            vllm-ascend
// Formats as their readers take them (sglang srt/eplb/expert_location.py; vllm_ascend expert load
// balancer).
#pragma once

#include <span>
#include <string>

#include "sim/base/field_table.h"
#include "sim/moe/placement.h"

namespace moesim {

/// The keys of the input of `moesim place`.
const Fields<ExpertPair>& fields_of(const ExpertPair*);
const Fields<PlacementRequest>& fields_of(const PlacementRequest*);

/// Reads and checks a request; "-" is standard input. Throws InputError with every problem.
PlacementRequest load_placement_request(const std::string& path);

enum class PlacementFormat { json, sglang, vllm };
std::span<const Choice<PlacementFormat>> choices_of(PlacementFormat);

/// `leading_dense_layers` rows without routed experts come first in SGLang's table (3 for
/// DeepSeek-V3).
Json placement_json(const PlacementRequest& request, const Placement& placement,
                    PlacementFormat format, int leading_dense_layers = 0);

struct PlacementFile {
  PlacementFormat format = PlacementFormat::json;
  SlotTable slot_to_expert;  ///< [layers][slots]
  int gpus = 0;              ///< 0: the format does not say
};

/// Reads any of the three, told apart by their keys; drops `leading_dense_layers` rows of SGLang's.
/// Throws InputError for an unknown format, ragged rows, ids below 0 or devices out of order.
PlacementFile read_placement(const Json& json, const std::string& file,
                             int leading_dense_layers = 0);

}  // namespace moesim
