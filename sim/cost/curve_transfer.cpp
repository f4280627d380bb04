// SPDX-License-Identifier: Apache-2.0
#include "sim/cost/curve_transfer.h"

#include <algorithm>
#include <cmath>

#include "sim/base/error.h"

namespace moesim {
namespace {

bool has_arithmetic(const DevicePeaks& peaks, NumberFormat format) {
  return peaks.flops_per_s[static_cast<std::size_t>(format)] > 0;
}

DevicePeaks peaks_of(const CurveTransfer& transfer) {
  DevicePeaks peaks;
  for (const Choice<NumberFormat>& choice : choices_of(NumberFormat{})) {
    const auto rate = transfer.flops_per_s.find(std::string(choice.name));
    if (rate != transfer.flops_per_s.end()) {
      peaks.flops_per_s[static_cast<std::size_t>(choice.value)] = rate->second;
    }
  }
  peaks.bytes_per_s = transfer.memory_bytes_per_s;
  peaks.multiprocessors = transfer.multiprocessors;
  peaks.l2_bytes = transfer.l2_bytes;
  return peaks;
}

/// Reports the keys of `map` that name nothing in the table of E.
template <class E, class T>
void check_names(const std::map<std::string, T>& map, const ReadContext& context) {
  std::vector<std::string> known;
  for (const Choice<E>& choice : choices_of(E{})) {
    known.emplace_back(choice.name);
  }
  for (const auto& [name, value] : map) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      const std::string near = nearest_word(name, known);
      context.at(name).problem("unknown name", near.empty() ? "" : "\"" + near + "\"?");
    }
  }
}

}  // namespace

const Fields<ParameterScale>& fields_of(const ParameterScale*) {
  static const Fields<ParameterScale> table =
      Fields<ParameterScale>("parameter_scale")
          .add("family", &ParameterScale::family, {.doc = "op family", .required = true})
          .add("arithmetic", &ParameterScale::arithmetic,
               {.doc = "format of the arithmetic of the curves it applies to", .required = true})
          .add("parameter", &ParameterScale::parameter,
               {.doc = "parameter of the family's law", .required = true})
          .add("factor", &ParameterScale::factor,
               {.doc = "device over base", .required = true, .min = 0.01, .max = 100})
          .add("source", &ParameterScale::source,
               {.doc = "the published figure behind it", .required = true});
  return table;
}

const Fields<CurveTransfer>& fields_of(const CurveTransfer*) {
  static const Fields<CurveTransfer> table =
      Fields<CurveTransfer>("transferred_curves")
          .add("schema", &CurveTransfer::schema, {.doc = "kind of file", .required = true})
          .add("device", &CurveTransfer::device, {.doc = "device profile", .required = true})
          .add("software", &CurveTransfer::software,
               {.doc = "stack whose curves are carried over", .required = true})
          .add("transferred_from", &CurveTransfer::base,
               {.doc = "curve set of the nearest relative", .required = true})
          .add("note", &CurveTransfer::note, {.doc = "what is carried over and why"})
          .add("keep_residual", &CurveTransfer::keep_residual,
               {.doc = "keep the base's trees: only for the same chip", .required = true})
          .add("flops_per_s", &CurveTransfer::flops_per_s,
               {.doc = "dense peaks by number format, of the device's profile",
                .unit = "flops_per_s",
                .required = true,
                .min = 0,
                .min_exclusive = true})
          .add("memory_bytes_per_s", &CurveTransfer::memory_bytes_per_s,
               {.doc = "datasheet bandwidth",
                .unit = "bytes_per_s",
                .required = true,
                .min = 0,
                .min_exclusive = true})
          .add("multiprocessors", &CurveTransfer::multiprocessors,
               {.doc = "multiprocessors or compute units", .required = true, .min = 1})
          .add("l2_bytes", &CurveTransfer::l2_bytes,
               {.doc = "last cache before device memory",
                .unit = "bytes",
                .required = true,
                .min = 0})
          .add("uncertainty_fraction", &CurveTransfer::uncertainty,
               {.doc = "half-width of the 80% interval that the transfer adds, by op family",
                .unit = "fraction",
                .required = true,
                .min = 0,
                .max = 2})
          .add("uncertainty_source", &CurveTransfer::uncertainty_source,
               {.doc = "where the half-widths come from", .required = true})
          .add("scales", &CurveTransfer::scales,
               {.doc = "parameters corrected by published figures of the device"});
  return table;
}

CurveTransfer read_curve_transfer(const Json& json, const std::string& file) {
  Diagnostics problems;
  CurveTransfer transfer = read_object<CurveTransfer>(json, file, problems);
  const ReadContext root{file, "", problems};
  if (problems.empty() && transfer.schema != kTransferSchema) {
    root.at("schema").problem("unknown schema", std::string(kTransferSchema));
  }
  check_names<NumberFormat>(transfer.flops_per_s, root.at("flops_per_s"));
  check_names<OpFamily>(transfer.uncertainty, root.at("uncertainty_fraction"));
  for (std::size_t i = 0; i < transfer.scales.size(); ++i) {
    const ParameterScale& scale = transfer.scales[i];
    const auto parameters = law_parameters(scale.family);
    if (std::none_of(parameters.begin(), parameters.end(), [&](const LawParameter& parameter) {
          return parameter.name == scale.parameter;
        })) {
      root.at("scales")
          .at(std::to_string(i))
          .at("parameter")
          .problem("\"" + scale.parameter + "\" is no parameter of " + choice_name(scale.family));
    }
  }
  problems.throw_if_any();
  return transfer;
}

CurveSet transferred_curves(const CurveSet& base, const CurveTransfer& transfer) {
  CurveSet set;
  set.device = transfer.device;
  set.software = transfer.software;
  set.source = base.source;
  set.note = transfer.note;
  set.transferred_from = transfer.base;
  set.peaks = peaks_of(transfer);
  for (CostCurve curve : base.curves()) {
    if (!has_arithmetic(set.peaks, curve.arithmetic)) {
      continue;
    }
    const auto parameters = law_parameters(curve.family);
    for (const ParameterScale& scale : transfer.scales) {
      for (std::size_t i = 0; i < parameters.size(); ++i) {
        if (scale.family == curve.family && scale.arithmetic == curve.arithmetic &&
            scale.parameter == parameters[i].name) {
          curve.parameters[i] *= scale.factor;
        }
      }
    }
    if (!transfer.keep_residual) {
      // The level stays in the law's parameters; what the trees knew is another chip's.
      curve.residual = ResidualTrees();
    }
    const auto extra = transfer.uncertainty.find(choice_name(curve.family));
    curve.transfer_uncertainty = extra == transfer.uncertainty.end() ? 0.0 : extra->second;
    curve.basis = Basis::estimate;
    set.add(std::move(curve));
  }
  return set;
}

}  // namespace moesim
