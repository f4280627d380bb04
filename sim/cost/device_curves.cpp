// SPDX-License-Identifier: Apache-2.0
#include "sim/cost/device_curves.h"

#include <algorithm>
#include <map>
#include <mutex>

#include "sim/base/json.h"
#include "sim/base/text_hash.h"

namespace moesim {
namespace {

constexpr std::size_t kMaxFileBytes = 64u << 20;

// One law for products of several formats misses single formats by 33-50% (leave-one-format-out
// fits of the public tables).
constexpr double kOtherFormatError = 0.33;

/// Kernels that a stack runs and no table timed, by the law of the nearest one that was.
///
/// Low-latency experts on Blackwell: TensorRT-LLM has them for nvfp4 and for fp8 with block scales
/// (docs of TensorRT-LLM 1.2, "moe_config.backend": TRTLLM), and SGLang takes the same ones for
/// DeepSeek's fp8 (--moe-runner-backend flashinfer_trtllm, its default there since
/// sgl-project/sglang pull request 13687). Only nvfp4 was timed.
void add_stand_ins(CurveSet& set) {
  constexpr std::string_view kFast = "min_latency";
  const CostCurve* timed = set.find(OpFamily::grouped_gemm, NumberFormat::nvfp4, kFast);
  if (timed == nullptr ||
      set.find(OpFamily::grouped_gemm, NumberFormat::fp8_block, kFast) != nullptr) {
    return;
  }
  CostCurve curve = *timed;
  curve.format = NumberFormat::fp8_block;
  curve.arithmetic = NumberFormat::fp8_block;
  curve.basis = Basis::estimate;
  curve.residual = {};  // grown on nvfp4's times
  curve.shared_uncertainty = kOtherFormatError;
  curve.band_shape.floor = std::max(curve.band_shape.floor, kOtherFormatError);
  set.add(std::move(curve));
}

std::vector<CurveSource> load_all(const std::vector<CurveFile>& files) {
  std::vector<CurveSource> sources;
  for (const CurveFile& file : files) {
    const std::string text = read_text_file(file.path, kMaxFileBytes);
    auto set = std::make_shared<CurveSet>(CurveSet::load(file.path));
    add_stand_ins(*set);
    sources.push_back({std::move(set), file.path, text_hash(text)});
  }
  return sources;
}

/// Files of the device whose curves `set` was transferred from, for stacks that were not: kernels
/// of special layouts that nobody else timed.
std::vector<CurveFile> rest_of_base(const std::vector<CurveSource>& sources,
                                    const std::vector<CurveFile>& all) {
  std::vector<CurveFile> rest;
  if (sources.empty() || sources.front().set->transferred_from.empty()) {
    return rest;
  }
  const std::string& base = sources.front().set->transferred_from;
  const std::string device = base.substr(0, base.find('.'));
  for (const CurveFile& file : all) {
    const auto is_base = [&](const CurveSource& source) {
      return source.set->transferred_from == file.device + "." + file.software;
    };
    if (file.device == device && std::none_of(sources.begin(), sources.end(), is_base)) {
      rest.push_back(file);
    }
  }
  return rest;
}

}  // namespace

std::shared_ptr<const std::vector<CurveSource>> device_curves(const CurveFiles& files) {
  using Shared = std::shared_ptr<const std::vector<CurveSource>>;
  static std::mutex mutex;
  static std::map<std::string, Shared> known;
  static const Shared none = std::make_shared<const std::vector<CurveSource>>();
  if (files.none() || (files.own.empty() && files.relative.empty())) {
    return none;
  }
  std::string key = files.software;
  for (const auto* list : {&files.own, &files.relative}) {
    key += "|" + (list->empty() ? std::string() : list->front().path);
  }
  const std::lock_guard lock(mutex);
  if (const auto found = known.find(key); found != known.end()) {
    return found->second;
  }
  const auto by_preference = [&](const CurveSource& a, const CurveSource& b) {
    const bool a_named = a.set->software == files.software;
    const bool b_named = b.set->software == files.software;
    if (a_named != b_named) {
      return a_named;
    }
    if (a.set->curves().size() != b.set->curves().size()) {
      return a.set->curves().size() > b.set->curves().size();
    }
    return version_before(b.set->software, a.set->software);
  };
  std::vector<CurveSource> sources = load_all(files.own);
  std::stable_sort(sources.begin(), sources.end(), by_preference);
  std::vector<CurveSource> relative =
      load_all(files.relative.empty() && files.all != nullptr ? rest_of_base(sources, *files.all)
                                                              : files.relative);
  std::stable_sort(relative.begin(), relative.end(), by_preference);
  // A stack that only the relative knows was asked for by name, so it comes first.
  const bool relative_first = !files.software.empty() && !relative.empty() &&
                              relative.front().set->software == files.software;
  sources.insert(relative_first ? sources.begin() : sources.end(), relative.begin(),
                 relative.end());
  const Shared shared = std::make_shared<const std::vector<CurveSource>>(std::move(sources));
  known.emplace(std::move(key), shared);
  return shared;
}

}  // namespace moesim
