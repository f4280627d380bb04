// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/form_fields.h"

#include <QStringList>
#include <algorithm>
#include <cmath>

#include "gui/text.h"

namespace moesim::gui {
namespace {

const FieldTable& table() { return fields_of(static_cast<const ScenarioSpec*>(nullptr)); }

void addFields(const FieldTable& fields, const std::string& prefix, const std::string& section,
               std::vector<FormField>& out) {
  for (const Field& field : fields.fields()) {
    const std::string pointer = prefix + "/" + pointer_token(field.key);
    if (field.info.kind == FieldKind::object && !field.info.nullable &&
        field.info.fields != nullptr) {
      addFields(*field.info.fields, pointer, section.empty() ? field.key : section, out);
    } else {
      out.push_back({pointer, section, &field});
    }
  }
}

/// Usual ranges of the keys that people drag, for sliders only.
struct UsualRange {
  const char* pointer;
  SliderScale scale;
};
constexpr UsualRange kUsual[] = {
    {"/nodes", {1, 128, true, true, true}},
    {"/model_edits/experts", {8, 1024, true, true, true}},
    {"/model_edits/top_k", {1, 16, false, true, false}},
    {"/model_edits/layers_fraction", {0.05, 2, false, false, false}},
    {"/parallelism/tensor", {1, 64, true, true, true}},
    {"/parallelism/data", {1, 1024, true, true, true}},
    {"/parallelism/expert", {1, 1024, true, true, true}},
    {"/parallelism/expert_tensor", {1, 64, true, true, true}},
    {"/workload/batch_per_gpu", {1, 1024, true, true, false}},
    {"/workload/context_tokens", {128, 131072, true, true, false}},
    {"/workload/prompt_tokens", {128, 131072, true, true, false}},
    {"/workload/output_tokens", {1, 16384, true, true, false}},
    {"/workload/concurrency", {1, 4096, true, true, false}},
    {"/workload/requests_per_s", {0.1, 1000, true, false, false}},
    {"/workload/draft_tokens", {0, 8, false, true, false}},
    {"/routing/sigma", {0, 2, false, false, false}},
    {"/routing/alpha", {0, 4, false, false, false}},
    {"/capacity/factor", {0.5, 4, false, false, false}},
    {"/placement/slots", {8, 2048, true, true, true}},
    {"/runtime/host_overhead_s", {0, 0.02, false, false, false}},
    {"/runtime/jitter_cv", {0, 0.5, false, false, false}},
    {"/runtime/straggler_factor", {1, 4, false, false, false}},
    {"/slo/ttft_s", {0.05, 20, true, false, false}},
    {"/slo/tpot_s", {0.005, 0.5, true, false, false}},
    {"/slo/latency_s", {0.1, 600, true, false, false}},
    {"/seed", {0, 1000, false, true, false}},
};

}  // namespace

const std::vector<FormField>& formFields() {
  static const std::vector<FormField> fields = [] {
    std::vector<FormField> made;
    addFields(table(), "", "", made);
    return made;
  }();
  return fields;
}

const std::vector<std::string>& mainPointers() {
  static const std::vector<std::string> kMain = {"/model",
                                                 "/cluster",
                                                 "/nodes",
                                                 "/workload/batch_per_gpu",
                                                 "/workload/context_tokens",
                                                 "/workload/concurrency",
                                                 "/workload/requests_per_s",
                                                 "/routing/sigma",
                                                 "/model_edits/experts",
                                                 "/model_edits/top_k",
                                                 "/capacity/factor",
                                                 "/capacity/overflow",
                                                 "/parallelism/tensor",
                                                 "/parallelism/expert",
                                                 "/placement/policy",
                                                 "/placement/slots",
                                                 "/precision/weights",
                                                 "/precision/kv_cache",
                                                 "/communication/overlap",
                                                 "/fidelity"};
  return kMain;
}

const FormField* formField(const std::string& pointer) {
  for (const FormField& field : formFields()) {
    if (field.pointer == pointer) {
      return &field;
    }
  }
  return nullptr;
}

QString sectionDoc(const std::string& section) {
  const Field* field = table().find(section);
  return field != nullptr ? text(field->doc.doc) : QString();
}

double SliderScale::valueAt(int position) const {
  const double share = std::clamp(position, 0, kSteps) / static_cast<double>(kSteps);
  double value = isLogarithmic ? low * std::pow(high / low, share) : low + share * (high - low);
  if (isPowerOfTwo) {
    value = std::exp2(std::round(std::log2(value)));
  } else if (isWhole) {
    value = std::round(value);
  } else {
    // Three digits of what a drag can mean; more would be noise in files.
    const double unit = std::pow(10, std::floor(std::log10(std::max(high - low, 1e-12))) - 2);
    value = isLogarithmic ? value : std::round(value / unit) * unit;
    if (isLogarithmic && value > 0) {
      const double digit = std::pow(10, std::floor(std::log10(value)) - 2);
      value = std::round(value / digit) * digit;
    }
    value = std::stod(number_text(value));
  }
  return std::clamp(value, low, high);
}

int SliderScale::positionOf(double value) const {
  const double inside = std::clamp(value, low, high);
  const double share =
      isLogarithmic ? std::log(inside / low) / std::log(high / low) : (inside - low) / (high - low);
  return static_cast<int>(std::lround(share * kSteps));
}

SliderScale sliderScale(const FormField& field) {
  for (const UsualRange& usual : kUsual) {
    if (field.pointer == usual.pointer) {
      return usual.scale;
    }
  }
  const FieldDoc& doc = field.field->doc;
  SliderScale scale;
  scale.isWhole = field.field->info.kind == FieldKind::integer;
  scale.low = std::isfinite(doc.min) ? doc.min : 0;
  scale.high = std::isfinite(doc.max) ? doc.max : std::max(100.0, scale.low * 100);
  if (scale.high - scale.low > 1000) {
    scale.isLogarithmic = true;
    scale.low = std::max(scale.low, scale.isWhole ? 1.0 : scale.high * 1e-6);
  }
  if (scale.high <= scale.low) {
    scale.high = scale.low + 1;
  }
  return scale;
}

QString fieldTip(const FormField& field) {
  const FieldDoc& doc = field.field->doc;
  QString tip = QStringLiteral("<p>%1</p>").arg(text(doc.doc).toHtmlEscaped());
  QStringList facts;
  if (!doc.unit.empty()) {
    facts << QStringLiteral("unit: %1").arg(text(doc.unit));
  }
  if (std::isfinite(doc.min) || std::isfinite(doc.max)) {
    facts << QStringLiteral("range: %1%2 to %3")
                 .arg(doc.min_exclusive ? "above " : "",
                      std::isfinite(doc.min) ? numberText(doc.min) : QStringLiteral("–∞"),
                      std::isfinite(doc.max) ? numberText(doc.max) : QStringLiteral("∞"));
  }
  facts << QStringLiteral("<tt>%1</tt>").arg(text(field.pointer));
  return tip + facts.join("<br>");
}

}  // namespace moesim::gui
