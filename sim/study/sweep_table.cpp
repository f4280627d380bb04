// SPDX-License-Identifier: Apache-2.0
#include "sim/study/sweep_table.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

namespace moesim {

int SweepTable::column(const std::string& name) const {
  const auto found = std::find(columns.begin(), columns.end(), name);
  return found == columns.end() ? -1 : static_cast<int>(found - columns.begin());
}

double SweepTable::figure(std::size_t row, const std::string& name) const {
  const int index = column(name);
  const std::vector<double>& figures = rows[row].figures;
  return index < 0 || static_cast<std::size_t>(index) >= figures.size()
             ? std::numeric_limits<double>::quiet_NaN()
             : figures[static_cast<std::size_t>(index)];
}

void append_chunk(SweepTable& table, const SweepSpace& space, SweepChunk&& chunk) {
  if (table.pointers.empty()) {
    for (const SweepAxis& axis : space.axes()) {
      table.pointers.push_back(axis.pointer);
    }
  }
  const bool alike = table.columns == chunk.columns;
  std::vector<std::size_t> place(chunk.columns.size());
  for (std::size_t i = 0; i < chunk.columns.size(); ++i) {
    const int known = alike ? static_cast<int>(i) : table.column(chunk.columns[i]);
    place[i] = known >= 0 ? static_cast<std::size_t>(known) : table.columns.size();
    if (known < 0) {
      table.columns.push_back(chunk.columns[i]);
    }
  }
  for (SweepRow& row : chunk.rows) {
    if (!alike) {
      std::vector<double> figures(table.columns.size(), std::numeric_limits<double>::quiet_NaN());
      for (std::size_t i = 0; i < row.figures.size(); ++i) {
        figures[place[i]] = row.figures[i];
      }
      row.figures = std::move(figures);
    }
    table.varied.push_back(space.values(row.point));
    table.rows.push_back(std::move(row));
  }
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) {
    return text;
  }
  std::string field = "\"";
  for (const char c : text) {
    field += c == '"' ? "\"\"" : std::string(1, c);
  }
  return field + "\"";
}

std::string sweep_csv(const SweepTable& table) {
  std::string csv = "point";
  for (const std::string& pointer : table.pointers) {
    csv += "," + csv_field(pointer);
  }
  csv += ",feasible,reasons";
  // A band that no row has is no column.
  std::vector<std::size_t> shown;
  for (std::size_t c = 0; c < table.columns.size(); ++c) {
    const bool used = std::any_of(table.rows.begin(), table.rows.end(), [c](const SweepRow& row) {
      return c < row.figures.size() && !std::isnan(row.figures[c]);
    });
    if (used) {
      shown.push_back(c);
      csv += "," + table.columns[c];
    }
  }
  csv += "\n";
  for (std::size_t r = 0; r < table.rows.size(); ++r) {
    const SweepRow& row = table.rows[r];
    csv += std::to_string(row.point);
    for (const Json& value : table.varied[r]) {
      csv += "," + csv_field(value.is_text() ? value.as_text() : value.dump(-1));
    }
    csv += row.feasible ? ",1," : ",0,";
    csv += csv_field(row.reasons);
    for (const std::size_t c : shown) {
      csv += ",";
      if (c < row.figures.size() && !std::isnan(row.figures[c])) {
        csv += number_text(row.figures[c]);
      }
    }
    csv += "\n";
  }
  return csv;
}

std::vector<std::size_t> pareto_front(const std::vector<double>& first,
                                      const std::vector<double>& second) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < first.size(); ++i) {
    if (!std::isnan(first[i]) && !std::isnan(second[i])) {
      order.push_back(i);
    }
  }
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return first[a] != first[b] ? first[a] > first[b] : second[a] > second[b];
  });
  std::vector<std::size_t> front;
  double best = -std::numeric_limits<double>::infinity();
  for (const std::size_t i : order) {
    if (second[i] > best) {
      best = second[i];
      front.push_back(i);
    }
  }
  std::reverse(front.begin(), front.end());
  return front;
}

std::string headline_column(const SweepTable& table) {
  for (const char* name : {"output_tokens_per_s_per_gpu", "input_tokens_per_s_per_gpu"}) {
    if (table.column(name) >= 0) {
      return name;
    }
  }
  return "";
}

std::vector<std::pair<std::string, std::size_t>> reasons_by_count(const SweepTable& table) {
  std::map<std::string, std::size_t> counts;
  for (const SweepRow& row : table.rows) {
    if (row.feasible) {
      continue;
    }
    const std::string line = row.reasons.substr(0, row.reasons.find('\n'));
    counts[row.simulated ? line.substr(0, line.find(':')) : line.substr(0, line.find(';'))]++;
  }
  std::vector<std::pair<std::string, std::size_t>> list(counts.begin(), counts.end());
  std::stable_sort(list.begin(), list.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  return list;
}

}  // namespace moesim
