// SPDX-License-Identifier: Apache-2.0
#include "calibrate/fit_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

#include "sim/base/random.h"

namespace moesim {
namespace {

constexpr std::size_t kMostPoints = 300;  // of a drawing
constexpr double kWidth = 380;
constexpr double kHeight = 260;
constexpr double kMargin = 44;

struct Point {
  double x = 0, y = 0;
  bool is_slow = false;
};

struct Axis {
  std::string name;
  double low = 0, high = 1;
  bool is_time = false;     ///< decades of seconds, else plain numbers
  bool is_percent = false;  ///< natural log ratios shown as percent
};

std::string text_of(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string seconds_text(double log10_seconds) {
  const double seconds = std::pow(10.0, log10_seconds);
  return seconds < 1e-6   ? text_of("%.3g ns", 1e9 * seconds)
         : seconds < 1e-3 ? text_of("%.3g us", 1e6 * seconds)
         : seconds < 1    ? text_of("%.3g ms", 1e3 * seconds)
                          : text_of("%.3g s", seconds);
}

std::string tick_text(const Axis& axis, double value) {
  if (axis.is_time) {
    return seconds_text(value);
  }
  return axis.is_percent ? text_of("%+.0f%%", 100.0 * (std::exp(value) - 1.0))
                         : text_of("%.3g", value);
}

double place(const Axis& axis, double value) {
  return std::clamp((value - axis.low) / std::max(axis.high - axis.low, 1e-12), 0.0, 1.0);
}

/// A scatter of points with an optional line y = x (`diagonal`) or y = 0.
std::string scatter(const Axis& x, const Axis& y, const std::vector<Point>& points, bool diagonal,
                    const std::string& title) {
  const auto px = [&](double value) { return kMargin + place(x, value) * (kWidth - kMargin - 8); };
  const auto py = [&](double value) {
    return kHeight - kMargin + 8 - place(y, value) * (kHeight - kMargin - 8);
  };
  std::string svg = "<svg role=\"img\" aria-label=\"" + escaped(title) + "\" viewBox=\"0 0 " +
                    text_of("%.0f", kWidth) + " " + text_of("%.0f", kHeight) + "\"><title>" +
                    escaped(title) + "</title>";
  for (int tick = 0; tick <= 4; ++tick) {
    const double vx = x.low + tick * (x.high - x.low) / 4;
    const double vy = y.low + tick * (y.high - y.low) / 4;
    svg += "<text class=\"t\" text-anchor=\"middle\" x=\"" + text_of("%.1f", px(vx)) + "\" y=\"" +
           text_of("%.1f", kHeight - 18) + "\">" + tick_text(x, vx) + "</text>";
    svg += "<text class=\"t\" text-anchor=\"end\" x=\"" + text_of("%.1f", kMargin - 4) + "\" y=\"" +
           text_of("%.1f", py(vy) + 3) + "\">" + tick_text(y, vy) + "</text>";
    svg += "<line class=\"g\" x1=\"" + text_of("%.1f", kMargin) + "\" x2=\"" +
           text_of("%.1f", kWidth - 8) + "\" y1=\"" + text_of("%.1f", py(vy)) + "\" y2=\"" +
           text_of("%.1f", py(vy)) + "\"/>";
  }
  const double low = diagonal ? std::max(x.low, y.low) : 0.0;
  const double high = diagonal ? std::min(x.high, y.high) : 0.0;
  svg += "<line class=\"l\" x1=\"" + text_of("%.1f", px(diagonal ? low : x.low)) + "\" y1=\"" +
         text_of("%.1f", py(low)) + "\" x2=\"" + text_of("%.1f", px(diagonal ? high : x.high)) +
         "\" y2=\"" + text_of("%.1f", py(high)) + "\"/>";
  for (const Point& point : points) {
    svg += "<circle" + std::string(point.is_slow ? " class=\"s\"" : "") + " r=\"1.6\" cx=\"" +
           text_of("%.1f", px(point.x)) + "\" cy=\"" + text_of("%.1f", py(point.y)) + "\"/>";
  }
  svg += "<text class=\"t\" text-anchor=\"middle\" x=\"" + text_of("%.0f", kWidth / 2) + "\" y=\"" +
         text_of("%.0f", kHeight - 4) + "\">" + escaped(x.name) + "</text></svg>";
  return svg;
}

/// Widest of the features that are the same in all rows of a shape and differ between shapes.
std::size_t shape_feature(const FittedCurve& fitted, const std::vector<FeatureVector>& features,
                          std::size_t num_features) {
  std::size_t widest = 0;
  double spread = -1;
  for (std::size_t f = 0; f < num_features; ++f) {
    std::map<std::uint64_t, float> seen;
    bool is_of_shape = true;
    float low = 1e30F;
    float high = -1e30F;
    for (std::size_t i = 0; i < features.size() && is_of_shape; ++i) {
      const auto [entry, is_new] = seen.emplace(fitted.rows.rows[i].shape, features[i][f]);
      is_of_shape = is_new || std::fabs(entry->second - features[i][f]) < 1e-6F;
      low = std::min(low, features[i][f]);
      high = std::max(high, features[i][f]);
    }
    if (is_of_shape && high - low > spread) {
      spread = high - low;
      widest = f;
    }
  }
  return widest;
}

Axis time_axis(const char* name, double low, double high) {
  return {name, std::log10(low) - 0.05, std::log10(high) + 0.05, true, false};
}

std::string drawings(const FittedCurve& fitted, const DevicePeaks& device) {
  const auto names = feature_names(fitted.rows.family);
  std::vector<FeatureVector> features(fitted.rows.rows.size());
  for (std::size_t i = 0; i < features.size(); ++i) {
    const double law = std::max(fitted.validation.rows[i].law_seconds, 1e-12);
    op_features(fitted.rows.rows[i].op, device, fitted.rows.arithmetic, law, features[i]);
  }
  const std::size_t shape = shape_feature(fitted, features, names.size());
  std::vector<Point> times;
  std::vector<Point> by_shape;
  std::vector<Point> by_time;
  double low = 1e30;
  double high = 0;
  double first = 1e30;
  double last = -1e30;
  double largest = 0.05;
  const std::size_t stride = std::max<std::size_t>(1, features.size() / kMostPoints);
  for (std::size_t i = 0; i < features.size(); i += stride) {
    const LeftOut& out = fitted.validation.rows[i];
    const CalibrationRow& row = fitted.rows.rows[i];
    if (out.seconds <= 0) {
      continue;
    }
    const double error = portable_log(out.seconds / row.seconds);
    low = std::min({low, row.seconds, out.seconds});
    high = std::max({high, row.seconds, out.seconds});
    first = std::min<double>(first, features[i][shape]);
    last = std::max<double>(last, features[i][shape]);
    largest = std::max(largest, std::fabs(error));
    times.push_back({std::log10(row.seconds), std::log10(out.seconds), row.slow});
    by_shape.push_back({features[i][shape], error, row.slow});
    by_time.push_back({std::log10(out.seconds), error, row.slow});
  }
  if (times.empty()) {
    return "<p>No row was left out, so nothing is drawn.</p>";
  }
  const double reach = std::min(largest, 1.0);
  const Axis error = {"", -reach, reach, false, true};
  return scatter(time_axis("measured (across), predicted with the shape left out (up)", low, high),
                 time_axis("", low, high), times, true, "measured against predicted time") +
         scatter({std::string(names[shape]), first, last, false, false}, error, by_shape, false,
                 "residuals by shape") +
         scatter(time_axis("predicted", low, high), error, by_time, false,
                 "residuals by predicted time");
}

std::string curve_section(const FittedCurve& fitted, const DevicePeaks& device) {
  std::string html = "<section><h2>" + escaped(fitted.rows.group()) + "</h2>";
  if (!fitted.refused.empty()) {
    html += "<p class=\"bad\">Refused: " + escaped(fitted.refused) + ".</p>";
  }
  html += "<div class=\"row\">" + drawings(fitted, device) + "</div><details><summary>" +
          "Parameters of the law</summary><table>";
  const auto parameters = law_parameters(fitted.rows.family);
  for (std::size_t i = 0; i < parameters.size() && i < fitted.curve.parameters.size(); ++i) {
    html += "<tr><td>" + std::string(parameters[i].name) + "</td><td class=\"n\">" +
            text_of("%.4g", fitted.curve.parameters[i]) + "</td><td>" + escaped(parameters[i].doc) +
            "</td></tr>";
  }
  return html + "</table></details></section>";
}

constexpr std::string_view kStyle =
    "body{font:14px system-ui,sans-serif;margin:2em auto;max-width:1240px;padding:0 1em;color:#222;"
    "background:#fff}table{border-collapse:collapse}td,th{padding:2px 8px;border-bottom:1px solid "
    "#ddd;text-align:left}.n{text-align:right;font-variant-numeric:tabular-nums}.row{display:flex;"
    "flex-wrap:wrap;gap:8px}svg{width:380px;height:260px}circle{fill:#1f5fa8;fill-opacity:.55}"
    "circle.s{fill:#c4501b}.t{font-size:9px;fill:#555}.g{stroke:#eee}.l{stroke:#999}.bad{color:"
    "#a11}h2{font-size:16px;margin:1.6em 0 .3em}@media(prefers-color-scheme:dark){body{color:#ddd;"
    "background:#181818}td,th{border-color:#444}.t{fill:#aaa}.g{stroke:#333}circle{fill:#7fb2ee}}";

}  // namespace

std::string fit_report_html(const DeviceFit& fit, const std::string& device) {
  std::string html =
      "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Calibration of " +
      escaped(device) + "</title><style>" + std::string(kStyle) + "</style></head><body><h1>" +
      "Calibration of " + escaped(device) +
      "</h1><p>Errors are those of rows whose whole shape was left out of the fit (4 folds). "
      "Half-width is of the 80% band, in band the share of left-out rows inside it. Rows of known "
      "slow kernels are orange.</p><table><tr><th>op, system, software, format</th><th>rows</th>"
      "<th>median %</th><th>P90 %</th><th>law alone %</th><th>roofline %</th><th>in band %</th>"
      "<th>half-width %</th><th></th></tr>";
  for (const FittedCurve& fitted : fit.curves) {
    const CurveFitRecord& record = fitted.curve.record;
    std::vector<double> widths;
    for (const LeftOut& out : fitted.validation.rows) {
      if (out.seconds > 0) {
        widths.push_back(out.band);
      }
    }
    double width = 0;
    if (!widths.empty()) {
      const auto middle = widths.begin() + static_cast<std::ptrdiff_t>(widths.size() / 2);
      std::nth_element(widths.begin(), middle, widths.end());
      width = *middle;
    }
    html += "<tr><td>" + escaped(fitted.rows.group()) + "</td>";
    for (const std::string& cell :
         {text_of("%.0f", record.rows), text_of("%.2f", 100 * record.median_ape),
          text_of("%.2f", 100 * record.p90_ape), text_of("%.1f", 100 * record.law_median_ape),
          text_of("%.1f", 100 * fitted.roofline_median_ape),
          text_of("%.1f", 100 * record.band_coverage), text_of("%.2f", 100 * width)}) {
      html += "<td class=\"n\">" + cell + "</td>";
    }
    html += fitted.refused.empty() ? "<td></td></tr>" : "<td class=\"bad\">refused</td></tr>";
  }
  html += "</table>";
  for (const FittedCurve& fitted : fit.curves) {
    html += curve_section(fitted, fit.peaks);
  }
  html += "<h2>Rejected rows (" + std::to_string(fit.rejected.size()) + ")</h2><ul>";
  for (std::size_t i = 0; i < std::min<std::size_t>(fit.rejected.size(), 100); ++i) {
    const RejectedRow& row = fit.rejected[i];
    html += "<li>" + escaped(row.file) + ", row " + std::to_string(row.file_row) + ": " +
            escaped(row.reason) + "</li>";
  }
  html += fit.rejected.size() > 100 ? "<li>and more</li></ul>" : "</ul>";
  for (const Diagnostic& problem : fit.problems) {
    html += "<p class=\"bad\">left out: " + escaped(problem.text()) + "</p>";
  }
  return html + "</body></html>\n";
}

}  // namespace moesim
