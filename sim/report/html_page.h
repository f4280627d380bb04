// SPDX-License-Identifier: Apache-2.0
// One self-contained HTML file: headings, sortable tables, charts (Chart.js, embedded at build
// time), light and dark, texts to save. Nothing is loaded from anywhere, so it opens offline.
//
// A chart is a small JSON object that the page's script draws: {"type": "bars" | "columns",
// "names": [...], "series": [{"name", "values"}], "value", "stacked", "signed"}, {"type": "points",
// "x", "y", "log_x", "log_y", "series": [{"name", "points": [{"x", "y", "label"}], "line"}]} or
// {"type": "heat", "row", "column", "rows": [[...]]}.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim/base/json.h"

namespace moesim {

/// A cell shows `text` and sorts by `value` when it has one.
struct HtmlCell {
  std::string text;
  std::optional<double> value;
};

class HtmlPage {
 public:
  explicit HtmlPage(std::string title);

  void heading(const std::string& text);
  void paragraph(const std::string& text, const std::string& css_class = "");
  /// `marked` [rows] highlights some rows; empty: none.
  void table(const std::vector<std::string>& columns,
             const std::vector<std::vector<HtmlCell>>& rows, const std::vector<bool>& marked = {});
  void chart(const std::string& description, const Json& chart, bool tall = false);
  /// A text with a button that saves it as `file_name`.
  void text_to_save(const std::string& text, const std::string& file_name);

  std::string html() const;

 private:
  std::string title_;
  std::string body_;
  int num_ids_ = 0;
};

/// & < > " ' escaped.
std::string html_text(const std::string& text);

}  // namespace moesim
