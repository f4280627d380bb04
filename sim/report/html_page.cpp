// SPDX-License-Identifier: Apache-2.0
#include "sim/report/html_page.h"

#include <string_view>

namespace moesim {

namespace embedded {
extern const std::string_view chart_js;
extern const std::string_view page_css;
extern const std::string_view page_js;
}  // namespace embedded

namespace {

/// JSON inside a script element: no text of it may end the element.
std::string script_json(const Json& json) {
  const std::string text = json.dump(-1);
  std::string safe;
  safe.reserve(text.size());
  for (const char c : text) {
    safe += c == '<' ? "\\u003c" : std::string(1, c);
  }
  return safe;
}

}  // namespace

std::string html_text(const std::string& text) {
  std::string safe;
  safe.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '"':
        safe += "&quot;";
        break;
      case '\'':
        safe += "&#39;";
        break;
      default:
        safe += c;
    }
  }
  return safe;
}

HtmlPage::HtmlPage(std::string title) : title_(std::move(title)) {}

void HtmlPage::heading(const std::string& text) { body_ += "<h2>" + html_text(text) + "</h2>\n"; }

void HtmlPage::paragraph(const std::string& text, const std::string& css_class) {
  body_ += css_class.empty() ? "<p>" : "<p class=\"" + css_class + "\">";
  body_ += html_text(text) + "</p>\n";
}

void HtmlPage::table(const std::vector<std::string>& columns,
                     const std::vector<std::vector<HtmlCell>>& rows,
                     const std::vector<bool>& marked) {
  std::vector<bool> numeric(columns.size(), !rows.empty());
  for (const std::vector<HtmlCell>& row : rows) {
    for (std::size_t c = 0; c < row.size() && c < numeric.size(); ++c) {
      numeric[c] = numeric[c] && (row[c].value.has_value() || row[c].text.empty());
    }
  }
  body_ += "<div class=\"scroll\"><table class=\"sortable\"><thead><tr>";
  for (std::size_t c = 0; c < columns.size(); ++c) {
    body_ +=
        std::string(numeric[c] ? "<th class=\"number\" scope=\"col\">" : "<th scope=\"col\">") +
        html_text(columns[c]) + "</th>";
  }
  body_ += "</tr></thead><tbody>\n";
  for (std::size_t r = 0; r < rows.size(); ++r) {
    body_ += r < marked.size() && marked[r] ? "<tr class=\"front\">" : "<tr>";
    for (std::size_t c = 0; c < rows[r].size(); ++c) {
      const HtmlCell& cell = rows[r][c];
      constexpr std::size_t kLongText = 48;  // characters, from which a cell gets room to wrap
      body_ += c < numeric.size() && numeric[c] ? "<td class=\"number\""
               : cell.text.size() > kLongText   ? "<td class=\"long\""
                                                : "<td";
      if (cell.value) {
        body_ += " data-value=\"" + number_text(*cell.value) + "\"";
      }
      body_ += ">" + html_text(cell.text) + "</td>";
    }
    body_ += "</tr>\n";
  }
  body_ += "</tbody></table></div>\n";
}

void HtmlPage::chart(const std::string& description, const Json& chart, bool tall) {
  const std::string id = "chart" + std::to_string(++num_ids_);
  const bool is_heat = chart.find("type") != nullptr && *chart.find("type") == Json("heat");
  body_ +=
      "<script type=\"application/json\" id=\"" + id + "\">" + script_json(chart) + "</script>\n";
  body_ += is_heat ? "<canvas class=\"heat\""
                   : std::string("<div class=\"chart") + (tall ? " tall" : "") + "\"><canvas";
  body_ += " data-chart=\"" + id + "\" role=\"img\" aria-label=\"" + html_text(description) +
           "\"></canvas>" + (is_heat ? "" : "</div>") + "\n<p class=\"faint\">" +
           html_text(description) + "</p>\n";
}

void HtmlPage::text_to_save(const std::string& text, const std::string& file_name) {
  const std::string id = "text" + std::to_string(++num_ids_);
  body_ += "<p><button data-save=\"" + id + "\" data-name=\"" + html_text(file_name) + "\">Save " +
           html_text(file_name) + "</button></p>\n<pre id=\"" + id + "\">" + html_text(text) +
           "</pre>\n";
}

std::string HtmlPage::html() const {
  std::string page =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<link rel=\"icon\" href=\"data:,\">\n<title>" +
      html_text(title_) + "</title>\n<style>\n";
  page += embedded::page_css;
  page += "</style>\n</head>\n<body>\n<main>\n<header><h1>" + html_text(title_) +
          "</h1><button id=\"theme\" type=\"button\">Light / dark</button></header>\n";
  page += body_;
  page += "</main>\n<script>\n";
  page += embedded::chart_js;
  page += "\n</script>\n<script>\n";
  page += embedded::page_js;
  page += "</script>\n</body>\n</html>\n";
  return page;
}

}  // namespace moesim
