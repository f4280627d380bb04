// SPDX-License-Identifier: Apache-2.0
#include "sim/cost/cost_curve.h"

#include <algorithm>
#include <cmath>

#include "sim/base/error.h"
#include "sim/base/random.h"
#include "sim/cost/curve_transfer.h"

namespace moesim {
namespace {

constexpr std::string_view kSchema = "moesim/curves/1";
// A band narrower than the repeatability of the source's own timings (0.5-4%) would be a claim
// about noise; one wider than a factor e^2 says "not known" just as well.
constexpr double kNarrowestBand = 0.003;
constexpr double kWidestBand = 2.0;

Json record_json(const CurveFitRecord& record) {
  Json json = Json::object();
  json.set("rows", record.rows);
  json.set("law_median_ape_fraction", record.law_median_ape);
  json.set("median_ape_fraction", record.median_ape);
  json.set("p90_ape_fraction", record.p90_ape);
  json.set("band_coverage_fraction", record.band_coverage);
  return json;
}

/// Reads the members of one JSON object and reports what is missing, wrong or unknown.
class ObjectReader {
 public:
  ObjectReader(const Json& json, const ReadContext& context) : json_(json), context_(context) {
    if (!json.is_object()) {
      context_.problem(std::string(json.kind_name()), "an object");
    }
  }
  ~ObjectReader() {
    if (json_.is_object()) {
      for (const auto& [key, value] : json_.members()) {
        if (std::find(asked_.begin(), asked_.end(), key) == asked_.end()) {
          context_.problem("unknown key \"" + key + "\"");
        }
      }
    }
  }
  const Json* member(const char* key) {
    asked_.emplace_back(key);
    const Json* value = json_.find(key);
    if (value == nullptr) {
      context_.problem("the key \"" + std::string(key) + "\" is missing");
    }
    return value;
  }
  std::string text(const char* key) {
    const Json* value = member(key);
    if (value == nullptr || !value->is_text()) {
      if (value != nullptr) {
        context_.at(key).problem(std::string(value->kind_name()), "text");
      }
      return "";
    }
    return value->as_text();
  }
  double number(const char* key, double low, double high) {
    const Json* value = member(key);
    if (value == nullptr) {
      return low;
    }
    if (!value->is_number() || !(value->as_number() >= low && value->as_number() <= high)) {
      context_.at(key).problem("no number in range", number_text(low) + " to " + number_text(high));
      return low;
    }
    return value->as_number();
  }
  template <class E>
  E choice(const char* key) {
    const std::string word = text(key);
    for (const Choice<E>& entry : choices_of(E{})) {
      if (entry.name == word) {
        return entry.value;
      }
    }
    context_.at(key).problem("\"" + word + "\" is none of the choices");
    return E{};
  }
  const ReadContext& context() const { return context_; }

 private:
  const Json& json_;
  const ReadContext& context_;
  std::vector<std::string> asked_;
};

ResidualTrees read_trees(ObjectReader& reader, const char* key, std::size_t features) {
  const Json* json = reader.member(key);
  std::string problem;
  ResidualTrees trees;
  if (json != nullptr && !json->is_null()) {
    trees = ResidualTrees::from_json(*json, features, problem);
  }
  if (!problem.empty()) {
    reader.context().at(key).problem(problem);
  }
  return trees;
}

CostCurve read_curve(const Json& json, const ReadContext& context) {
  CostCurve curve;
  ObjectReader reader(json, context);
  curve.family = reader.choice<OpFamily>("family");
  curve.format = reader.choice<NumberFormat>("format");
  curve.variant = reader.text("variant");
  curve.arithmetic = reader.choice<NumberFormat>("arithmetic");
  curve.basis = reader.choice<Basis>("basis");
  const std::size_t features = feature_names(curve.family).size();
  if (const Json* parameters = reader.member("parameters")) {
    const ReadContext inner = context.at("parameters");
    ObjectReader values(*parameters, inner);
    for (const LawParameter& parameter : law_parameters(curve.family)) {
      const std::string name(parameter.name);
      const bool is_older = parameter.absent >= 0 && parameters->find(name) == nullptr;
      curve.parameters.push_back(is_older ? parameter.absent
                                          : values.number(name.c_str(), 0.0, 1e9));
    }
  }
  curve.residual = read_trees(reader, "residual", features);
  curve.band = read_trees(reader, "band", features);
  curve.band_shape.floor = reader.number("band_floor", 0, 100);
  curve.band_shape.slope = reader.number("band_slope", 0, 100);
  curve.band_shape.centre = reader.number("band_centre", -100, 100);
  curve.shared_uncertainty = reader.number("shared_uncertainty_fraction", 0, 10);
  if (const Json* ranges = reader.member("feature_ranges")) {
    if (!ranges->is_array() || ranges->items().size() != features) {
      context.at("feature_ranges").problem("not one pair for each feature");
    } else {
      for (const Json& pair : ranges->items()) {
        const bool good = pair.is_array() && pair.items().size() == 2 &&
                          pair.items()[0].is_number() && pair.items()[1].is_number();
        if (!good) {
          context.at("feature_ranges").problem("each range is a pair [low, high]");
          break;
        }
        curve.ranges.push_back({static_cast<float>(pair.items()[0].as_number()),
                                static_cast<float>(pair.items()[1].as_number())});
      }
    }
  }
  if (const Json* fit = reader.member("fit")) {
    const ReadContext inner = context.at("fit");
    ObjectReader record(*fit, inner);
    curve.record.rows = record.number("rows", 0, 1e12);
    curve.record.law_median_ape = record.number("law_median_ape_fraction", 0, 1e6);
    curve.record.median_ape = record.number("median_ape_fraction", 0, 1e6);
    curve.record.p90_ape = record.number("p90_ape_fraction", 0, 1e6);
    curve.record.band_coverage = record.number("band_coverage_fraction", 0, 1);
  }
  return curve;
}

Json curve_json(const CostCurve& curve) {
  Json json = Json::object();
  json.set("family", choice_name(curve.family));
  json.set("format", choice_name(curve.format));
  json.set("variant", curve.variant);
  json.set("arithmetic", choice_name(curve.arithmetic));
  json.set("basis", choice_name(curve.basis));
  json.set("fit", record_json(curve.record));
  Json parameters = Json::object();
  const auto names = law_parameters(curve.family);
  for (std::size_t i = 0; i < names.size(); ++i) {
    parameters.set(names[i].name, curve.parameters[i]);
  }
  json.set("parameters", std::move(parameters));
  json.set("shared_uncertainty_fraction", curve.shared_uncertainty);
  json.set("band_floor", curve.band_shape.floor);
  json.set("band_slope", curve.band_shape.slope);
  json.set("band_centre", curve.band_shape.centre);
  Json ranges = Json::array();
  for (const FeatureRange& range : curve.ranges) {
    Json pair = Json::array();
    pair.push_back(std::round(range.low * 1e4) / 1e4);
    pair.push_back(std::round(range.high * 1e4) / 1e4);
    ranges.push_back(std::move(pair));
  }
  json.set("feature_ranges", std::move(ranges));
  json.set("residual", curve.residual.num_trees() > 0 ? curve.residual.to_json() : Json());
  json.set("band", curve.band.num_trees() > 0 ? curve.band.to_json() : Json());
  return json;
}

}  // namespace

double distance_outside(const std::vector<FeatureRange>& ranges, const FeatureVector& features) {
  // Most ops lie inside: known without a chain of additions.
  std::int32_t outside = 0;
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    outside |= ranges[i].low - features[i] - 1e-3F > 0.0F ? 1 : 0;
    outside |= features[i] - ranges[i].high - 1e-3F > 0.0F ? 1 : 0;
  }
  if (outside == 0) {
    return 0;
  }
  double distance = 0;
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    distance += std::max(0.0F, ranges[i].low - features[i] - 1e-3F) +
                std::max(0.0F, features[i] - ranges[i].high - 1e-3F);
  }
  return distance;
}

double BandShape::width(double log_scale) const {
  // Beyond e^12 the caller's limit decides anyway.
  return log_scale <= centre ? floor
                             : floor * fast_exp(std::min(12.0, slope * (log_scale - centre)));
}

double CostCurve::band_width(const FeatureVector& features, bool& in_range) const {
  const double distance = distance_outside(ranges, features);
  in_range = distance <= 0;
  const double width = band_shape.width(band.evaluate(features.data()));
  return std::clamp(width * (1.0 + 0.5 * distance), kNarrowestBand, kWidestBand);
}

CostEstimate CostCurve::estimate(const Op& op, const DevicePeaks& device) const {
  const double law = law_seconds(op, device, arithmetic, parameters);
  FeatureVector features;
  op_features(op, device, arithmetic, law, features);
  CostEstimate estimate;
  estimate.seconds = Seconds(law * fast_exp(residual.evaluate(features.data())));
  estimate.basis = basis;
  const double width = band_width(features, estimate.in_range);
  const double shared = std::min(shared_uncertainty, width);
  estimate.shared_uncertainty =
      transfer_uncertainty > 0
          ? std::sqrt(shared * shared + transfer_uncertainty * transfer_uncertainty)
          : shared;
  estimate.own_uncertainty = std::sqrt(std::max(0.0, width * width - shared * shared));
  return estimate;
}

CurveSet::CurveSet() {
  for (auto& row : usual_) {
    row.fill(-1);
  }
}

void CurveSet::add(CostCurve curve) {
  if (curve.variant.empty()) {
    usual_[static_cast<std::size_t>(curve.family)][static_cast<std::size_t>(curve.format)] =
        static_cast<int>(curves_.size());
  }
  curves_.push_back(std::move(curve));
}

const CostCurve* CurveSet::find(OpFamily family, NumberFormat format,
                                std::string_view variant) const {
  for (const CostCurve& curve : curves_) {
    if (curve.family == family && curve.format == format && curve.variant == variant) {
      return &curve;
    }
  }
  return nullptr;
}

NumberFormat CurveSet::stored_format(const Op& op) {
  switch (family_of(op)) {
    case OpFamily::gemm:
      return std::get<GemmOp>(op).weights;
    case OpFamily::grouped_gemm:
      return std::get<MoeOp>(op).weights;
    case OpFamily::attention_prefill:
      return std::get<AttentionPrefillOp>(op).kv_cache;
    case OpFamily::attention_decode:
      return std::get<AttentionDecodeOp>(op).kv_cache;
    case OpFamily::mla_prefill:
      return std::get<MlaPrefillOp>(op).kv_cache;
    case OpFamily::mla_decode:
      return std::get<MlaDecodeOp>(op).kv_cache;
    case OpFamily::batched_gemm:
      return std::get<BatchedGemmOp>(op).weights;
    case OpFamily::elementwise:
    case OpFamily::routing:
      return NumberFormat::bf16;
  }
  return NumberFormat::bf16;
}

Json CurveSet::to_json() const {
  Json json = Json::object();
  json.set("schema", kSchema);
  json.set("device", device);
  json.set("software", software);
  json.set("source", source);
  json.set("note", note);
  Json flops = Json::object();
  for (const Choice<NumberFormat>& choice : choices_of(NumberFormat{})) {
    const double rate = peaks.flops_per_s[static_cast<std::size_t>(choice.value)];
    if (rate > 0) {
      flops.set(choice.name, rate);
    }
  }
  json.set("flops_per_s", std::move(flops));
  json.set("memory_bytes_per_s", peaks.bytes_per_s);
  json.set("multiprocessors", peaks.multiprocessors);
  json.set("l2_bytes", peaks.l2_bytes);
  Json curves = Json::array();
  for (const CostCurve& curve : curves_) {
    curves.push_back(curve_json(curve));
  }
  json.set("curves", std::move(curves));
  return json;
}

CurveSet CurveSet::from_json(const Json& json, const std::string& file) {
  Diagnostics diagnostics;
  CurveSet set;
  {
    const ReadContext root{file, "", diagnostics};
    ObjectReader reader(json, root);
    if (reader.text("schema") != kSchema) {
      root.at("schema").problem("unknown schema", std::string(kSchema));
      diagnostics.throw_if_any();
    }
    set.device = reader.text("device");
    set.software = reader.text("software");
    set.source = reader.text("source");
    set.note = reader.text("note");
    set.peaks.bytes_per_s = reader.number("memory_bytes_per_s", 1.0, 1e16);
    set.peaks.multiprocessors = reader.number("multiprocessors", 1.0, 1e5);
    set.peaks.l2_bytes = reader.number("l2_bytes", 0.0, 1e12);
    if (const Json* flops = reader.member("flops_per_s"); flops != nullptr && flops->is_object()) {
      for (const auto& [name, value] : flops->members()) {
        bool known = false;
        for (const Choice<NumberFormat>& choice : choices_of(NumberFormat{})) {
          if (choice.name == name && value.is_number() && value.as_number() > 0) {
            set.peaks.flops_per_s[static_cast<std::size_t>(choice.value)] = value.as_number();
            known = true;
          }
        }
        if (!known) {
          root.at("flops_per_s").at(name).problem("no known number format with a rate above 0");
        }
      }
    }
    const Json* curves = reader.member("curves");
    if (curves != nullptr && curves->is_array()) {
      for (std::size_t i = 0; i < curves->items().size(); ++i) {
        set.add(read_curve(curves->items()[i], root.at("curves").at(std::to_string(i))));
      }
    } else if (curves != nullptr) {
      root.at("curves").problem(std::string(curves->kind_name()), "a list");
    }
  }
  diagnostics.throw_if_any();
  return set;
}

CurveSet CurveSet::load(const std::string& path) {
  const Json json = load_json(path);
  const Json* schema = json.find("schema");
  if (schema == nullptr || !schema->is_text() || schema->as_text() != kTransferSchema) {
    return from_json(json, path);
  }
  const CurveTransfer transfer = read_curve_transfer(json, path);
  const std::size_t slash = path.rfind('/');
  const std::string base =
      (slash == std::string::npos ? "" : path.substr(0, slash + 1)) + transfer.base + ".json";
  // One step only: a base that is itself a transfer is refused by its schema.
  return transferred_curves(from_json(load_json(base), base), transfer);
}

}  // namespace moesim
