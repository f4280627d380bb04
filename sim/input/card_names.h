// SPDX-License-Identifier: Apache-2.0
// Cards by the names that other people write: "deepseek-ai/DeepSeek-R1-0528", "H200 SXM 141GB",
// "vLLM 0.7.4.dev181 (FLASHMLA)".
//
// A model's name is compared word by word with the card ids; the longest id that the name begins
// with wins, and what the name says beyond it is handed back, so that an importer can say what it
// took for what. A name that only shares its beginning (a distilled model, a later version) is no
// match.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace moesim {

struct ModelNameMatch {
  std::string id;    ///< of the card
  std::string rest;  ///< words of the name that the id does not cover, "instruct fp8"; may be empty
};

/// The card that `name` (with or without its organisation or folders) means, or nothing.
std::optional<ModelNameMatch> model_card_named(std::string_view name,
                                               const std::vector<std::string>& ids);

/// The cluster profile of nodes like `system` ("H100 SXM 80GB, 8/node, InfiniBand", "h200_sxm"), or
/// nothing when no shipped profile has such GPUs.
std::optional<std::string> cluster_named(std::string_view system);

enum class ServingEngine { unknown, vllm, sglang, trtllm };
std::string_view engine_name(ServingEngine engine);

struct SoftwareName {
  ServingEngine engine = ServingEngine::unknown;
  std::string version;  ///< "0.5.9"; empty when not stated
};
SoftwareName software_named(std::string_view text);

}  // namespace moesim
