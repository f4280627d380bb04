// SPDX-License-Identifier: Apache-2.0
#include "sim/report/curve_text.h"

#include <ostream>

#include "sim/base/quantity_text.h"
#include "sim/report/text_layout.h"

namespace moesim {
namespace {

std::string percent(double fraction) { return plain_number_text(fraction * 100.0, 2) + "%"; }

void write_curve(std::ostream& out, const CostCurve& curve) {
  const CurveFitRecord& fit = curve.record;
  out << "  " << choice_name(curve.family) << " " << choice_name(curve.format)
      << (curve.variant.empty() ? "" : " (" + curve.variant + ")") << ", arithmetic in "
      << choice_name(curve.arithmetic) << "\n"
      << wrapped(choice_name(curve.basis) + ": " + count_text(fit.rows) +
                     " rows; on left-out shapes median error " + percent(fit.median_ape) +
                     ", P90 " + percent(fit.p90_ape) + " (law alone: median " +
                     percent(fit.law_median_ape) + "), 80% band holds " +
                     percent(fit.band_coverage) + ", at least +-" +
                     percent(curve.band_shape.floor) +
                     (curve.transfer_uncertainty > 0
                          ? ", transfer adds +-" + percent(curve.transfer_uncertainty)
                          : "") +
                     "; " + std::to_string(curve.residual.num_trees()) + " trees",
                 6)
      << "\n";
  const auto parameters = law_parameters(curve.family);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const std::string name(parameters[i].name);
    const std::string value = name.ends_with("_s") ? quantity_text(Seconds(curve.parameters[i]))
                                                   : plain_number_text(curve.parameters[i], 4);
    out << "      " << padded(name, 20) << right(value, 12) << "  " << parameters[i].doc << "\n";
  }
}

}  // namespace

void write_curve_set(std::ostream& out, const CurveSet& set) {
  out << "\ncurves " << set.device << "." << set.software << "\n";
  if (!set.transferred_from.empty()) {
    out << wrapped("transferred from " + set.transferred_from + "; " + set.note, 2) << "\n";
  }
  out << wrapped("source: " + set.source, 2) << "\n";
  for (const CostCurve& curve : set.curves()) {
    write_curve(out, curve);
  }
}

}  // namespace moesim
