// SPDX-License-Identifier: Apache-2.0
// quantization_config and its relatives -> storage format per class of tensor.
#include <algorithm>

#include "sim/input/hf_config_layers.h"

namespace moesim {
namespace {

NumberFormat base_format(HfConfigReader& config) {
  const std::string dtype = config.text({"torch_dtype", "dtype"}, "bfloat16");
  return dtype.find("float16") != dtype.npos && dtype.find("bfloat16") == dtype.npos
             ? NumberFormat::fp16
         : dtype.find("float32") != dtype.npos ? NumberFormat::fp32
                                               : NumberFormat::bf16;
}

/// The format of quantised matrices, or nullopt with a note when the method is not known.
std::optional<NumberFormat> quantised_format(HfConfigReader& config, const std::string& root) {
  const auto key = [&](const char* name) { return root + "/" + name; };
  const std::string method = config.text({key("quant_method")}, "");
  std::string algo = config.text({key("quant_algo")}, "");
  std::string layout = config.text({key("format")}, "");
  if (method == "mxfp4") {
    return NumberFormat::mxfp4;
  }
  if (method == "fp8" || method == "fbgemm_fp8") {
    return config.has({key("weight_block_size")}) ? NumberFormat::fp8_block : NumberFormat::fp8;
  }
  for (std::string* word : {&algo, &layout}) {
    std::transform(word->begin(), word->end(), word->begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  }
  for (const std::string& word : {algo, layout}) {
    if (word.find("nvfp4") != word.npos) {
      return NumberFormat::nvfp4;
    }
    if (word.find("mxfp4") != word.npos) {
      return NumberFormat::mxfp4;
    }
    if (word.find("fp8") != word.npos) {
      return NumberFormat::fp8;
    }
  }
  std::int64_t bits = config.integer({key("bits"), key("w_bit")}, 0);
  std::string type = "int";
  if (method == "compressed-tensors") {
    bits = config.integer({key("config_groups/group_0/weights/num_bits")}, 0);
    type = config.text({key("config_groups/group_0/weights/type")}, "int");
  }
  if (config.flag({key("load_in_4bit")}, false)) {
    bits = 4;
  }
  if (config.flag({key("load_in_8bit")}, false)) {
    bits = 8;
  }
  if (bits == 8) {
    return type == "float" ? NumberFormat::fp8 : NumberFormat::int8;
  }
  if (bits == 4) {
    return type == "float" ? NumberFormat::nvfp4 : NumberFormat::int4;
  }
  config.note("the method of \"" + root + "\" is not known; weights are taken as unquantised");
  return std::nullopt;
}

}  // namespace

WeightFormats hf_weight_formats(HfConfigReader& config) {
  const NumberFormat base = base_format(config);
  WeightFormats formats{base, base, base, base, base, base};
  // "quantization" is the root of NVIDIA's hf_quant_config.json.
  for (const char* root : {"quantization_config", "quantization"}) {
    if (!config.has({root})) {
      continue;
    }
    const std::optional<NumberFormat> format = quantised_format(config, root);
    if (!format) {
      continue;
    }
    std::string kept;  // names of the modules that stay in the base format
    const std::string prefix(root);
    for (const char* list :
         {"modules_to_not_convert", "ignored_layers", "ignore", "exclude_modules"}) {
      for (const std::string& name : config.texts({prefix + "/" + list})) {
        kept += name + "\n";
      }
    }
    const auto keeps = [&](const char* word) { return kept.find(word) != kept.npos; };
    formats.routed_experts = *format;
    // mxfp4 checkpoints of gpt-oss quantise the experts alone.
    const bool experts_only = *format == NumberFormat::mxfp4;
    formats.attention = experts_only || keeps("attn") ? base : *format;
    formats.shared_experts = experts_only || keeps("shared_expert") ? base : *format;
    formats.dense_ffn = experts_only || keeps("gate_up") || keeps("mlp.down_proj") ? base : *format;
  }
  if (config.text({"expert_dtype"}, "") == "fp4") {
    formats.routed_experts = NumberFormat::mxfp4;
  }
  return formats;
}

}  // namespace moesim
