// SPDX-License-Identifier: Apache-2.0
#include "calibrate/link_measurements.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <string_view>

#include "calibrate/comm_fit.h"
#include "sim/base/json.h"
#include "sim/input/measurement_tables.h"

namespace moesim {
namespace {

constexpr double kGiga = 1e9;
/// Largest rate of one GPU's links that is believed; a mistyped one is rather 1000 times too large.
constexpr double kMostGBps = 20000;
constexpr double kRateSlack =
    0.05;  // algbw is printed with two digits; small sizes are not checked
constexpr double kCheckedBytes = 1 << 20;

std::optional<double> number_of(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && std::isfinite(value)
             ? std::optional(value)
             : std::nullopt;
}

std::vector<std::string_view> lines_of(const std::string& text) {
  std::vector<std::string_view> lines;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line(text.data() + begin, end - begin);
    if (!line.empty() && line.back() == '\r') {
      line.remove_suffix(1);
    }
    lines.push_back(line);
    begin = end + 1;
  }
  return lines;
}

/// Words between blanks and commas.
std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  for (std::size_t i = 0; i < line.size();) {
    const auto is_gap = [&](std::size_t at) {
      return line[at] == ' ' || line[at] == '\t' || line[at] == ',';
    };
    if (is_gap(i)) {
      ++i;
      continue;
    }
    std::size_t end = i;
    while (end < line.size() && !is_gap(end)) {
      ++end;
    }
    words.push_back(line.substr(i, end - i));
    i = end;
  }
  return words;
}

class Reader {
 public:
  Reader(const std::string& path, LinkMeasurements& out) : path_(path), out_(out) {}

  void read() {
    const std::string text = read_maybe_gzip(path_);
    const std::size_t first = text.find_first_not_of(" \t\r\n");
    if (first != std::string::npos && text[first] == '{') {
      read_nvbandwidth(load_json(path_));
    } else if (text.find("out-of-place") != std::string::npos &&
               text.find("busbw") != std::string::npos) {
      read_collectives(lines_of(text));
    } else if (text.find("directional copy peak bandwidth") != std::string::npos ||
               text.find("All-To-All benchmark") != std::string::npos) {
      read_transfer_bench(lines_of(text));
    } else {
      throw InputError(path_, "", "is no output of a program known here",
                       "nvbandwidth --format json, nccl-tests or rccl-tests text, TransferBench "
                       "p2p or a2a");
    }
  }

 private:
  void problem(std::string where, std::string what, std::string hint = "") {
    out_.problems.push_back({path_, std::move(where), std::move(what), std::move(hint)});
  }
  void add(MeasuredLink link, double value, std::string what) {
    out_.links.push_back({link, value, std::move(what), path_});
  }

  void read_nvbandwidth(const Json& json) {
    const Json* body = json.find("nvbandwidth");
    const Json* cases = body != nullptr ? body->find("testcases") : nullptr;
    if (cases == nullptr || !cases->is_array()) {
      throw InputError(path_, "/nvbandwidth/testcases", "has no list of test cases",
                       "the output of nvbandwidth --format json");
    }
    if (const Json* error = body->find("error"); error != nullptr && error->is_text()) {
      problem("/nvbandwidth/error", "the program reports: " + error->as_text().substr(0, 120));
    }
    struct Known {
      const char* name;
      MeasuredLink link;
      bool is_between_gpus;  // cells on the diagonal are a GPU and itself
    };
    static constexpr Known kKnown[] = {
        {"host_to_device_memcpy_ce", MeasuredLink::host_link, false},
        {"host_to_all_memcpy_ce", MeasuredLink::host_link_all, false},
        {"device_to_device_memcpy_write_ce", MeasuredLink::scale_up, true},
        {"one_to_all_write_ce", MeasuredLink::scale_up_all, false},
        {"device_to_device_latency_sm", MeasuredLink::scale_up_latency, true},
    };
    for (std::size_t i = 0; i < cases->items().size(); ++i) {
      const Json& test = cases->items()[i];
      const std::string at = "/nvbandwidth/testcases/" + std::to_string(i);
      const Json* name = test.find("name");
      const Json* status = test.find("status");
      const Json* matrix = test.find("bandwidth_matrix");
      if (name == nullptr || !name->is_text()) {
        problem(at + "/name", "a test case has no name");
        continue;
      }
      const auto* known = std::find_if(std::begin(kKnown), std::end(kKnown), [&](const Known& one) {
        return name->as_text() == one.name;
      });
      const bool is_passed =
          status != nullptr && status->is_text() && status->as_text() == "Passed";
      if (known == std::end(kKnown) || !is_passed) {
        out_.unused.push_back(name->as_text() + (is_passed ? "" : " (did not pass)"));
        continue;
      }
      if (matrix == nullptr || !matrix->is_array()) {
        problem(at + "/bandwidth_matrix", "a test that passed has no matrix");
        continue;
      }
      for (std::size_t row = 0; row < matrix->items().size(); ++row) {
        const Json& cells = matrix->items()[row];
        for (std::size_t column = 0; cells.is_array() && column < cells.items().size(); ++column) {
          const Json& cell = cells.items()[column];
          if (cell.is_text() && cell.as_text() == "N/A") {
            continue;
          }
          const std::optional<double> value =
              cell.is_text() ? number_of(cell.as_text())
                             : (cell.is_number() ? std::optional(cell.as_number()) : std::nullopt);
          const bool is_latency = known->link == MeasuredLink::scale_up_latency;
          if (!value || !(*value > 0) || *value > (is_latency ? 1e9 : kMostGBps)) {
            problem(at + "/bandwidth_matrix/" + std::to_string(row) + "/" + std::to_string(column),
                    (cell.is_text() ? "\"" + cell.as_text().substr(0, 40) + "\"" : cell.dump(-1)) +
                        " is no " + (is_latency ? "latency in ns" : "rate in GB/s"),
                    "above 0, or \"N/A\"");
            continue;
          }
          if (!known->is_between_gpus || row != column) {
            add(known->link, is_latency ? *value * 1e-9 : *value * kGiga, known->name);
          }
        }
      }
    }
  }

  // Of nccl-tests and rccl-tests.
  void read_collectives(const std::vector<std::string_view>& lines) {
    std::optional<CollectiveOp> op = op_in(path_.substr(path_.find_last_of('/') + 1));
    std::string software;
    std::set<std::string> hosts;
    std::int64_t ranks = 0;
    std::vector<std::string_view> columns;
    for (std::size_t i = 0; i < lines.size(); ++i) {
      const std::string_view line = lines[i];
      if (const auto named = op_in(line); named && line.find("_perf") != std::string_view::npos) {
        op = named;
        ranks = 0;  // another run begins
        hosts.clear();
      }
      if (const std::size_t at = line.find("CCL version ");
          at != std::string_view::npos && at > 0) {
        const std::string_view rest = line.substr(at + 12);
        software = std::string(1, line[at - 1]) + "CCL " +
                   std::string(rest.substr(0, rest.find_first_of("+ \t:-")));
      }
      const std::vector<std::string_view> words = words_of(line);
      if (words.size() > 4 && words[0] == "#" && words[1] == "Rank") {
        ++ranks;
        const auto on = std::find(words.begin(), words.end(), "on");
        if (on != words.end() && on + 1 != words.end()) {
          hosts.insert(std::string(on[1]));
        }
      } else if (words.size() > 6 && words[0] == "#" && words[1] == "size") {
        columns.assign(words.begin() + 1, words.end());
      } else if (!words.empty() && words[0].front() >= '0' && words[0].front() <= '9' &&
                 !columns.empty()) {
        add_collective(words, columns, i + 1, op, ranks, static_cast<std::int64_t>(hosts.size()),
                       software);
      }
    }
    if (columns.empty()) {
      problem("", "has no line of column names",
              "keep the lines that begin with # size count type");
    }
  }

  static std::optional<CollectiveOp> op_in(std::string_view text) {
    static constexpr std::pair<const char*, CollectiveOp> kNames[] = {
        {"all_reduce", CollectiveOp::all_reduce},
        {"all_gather", CollectiveOp::all_gather},
        {"reduce_scatter", CollectiveOp::reduce_scatter},
        {"alltoall", CollectiveOp::all_to_all},
        {"sendrecv", CollectiveOp::point_to_point}};
    for (const auto& [name, op] : kNames) {
      if (text.find(name) != std::string_view::npos) {
        return op;
      }
    }
    return std::nullopt;
  }

  void add_collective(const std::vector<std::string_view>& words,
                      const std::vector<std::string_view>& columns, std::size_t line,
                      const std::optional<CollectiveOp>& op, std::int64_t ranks, std::int64_t hosts,
                      const std::string& software) {
    const std::string row = "row " + std::to_string(line);
    const auto cell = [&](const char* name) -> std::optional<double> {
      const auto found = std::find(columns.begin(), columns.end(), name);
      const auto at = static_cast<std::size_t>(found - columns.begin());
      if (found == columns.end() || at >= words.size()) {
        problem(row, std::string("has no column \"") + name + "\"");
        return std::nullopt;
      }
      const std::optional<double> value = number_of(words[at]);
      if (!value || *value < 0) {
        problem(row + ", column " + name,
                "\"" + std::string(words[at].substr(0, 40)) + "\" is no number of at least 0");
        return std::nullopt;
      }
      return value;
    };
    const std::optional<double> size = cell("size"), time = cell("time"), rate = cell("algbw");
    if (!size || !time || !rate) {
      return;
    }
    if (*size == 0 || *time == 0) {
      return;  // sizes below one element a rank are printed as nothing
    }
    const double printed = *size / (*time * 1e-6) / kGiga;
    if (*size >= kCheckedBytes && std::fabs(printed / std::max(*rate, 1e-9) - 1) > kRateSlack) {
      problem(row + ", column algbw",
              number_text(*rate) + " GB/s is not " + number_text(*size) + " B over " +
                  number_text(*time) + " us",
              "the line is damaged, or not of these tests");
      return;
    }
    const auto wrong = std::find(columns.begin(), columns.end(), "#wrong");
    const auto at = static_cast<std::size_t>(wrong - columns.begin());
    if (wrong != columns.end() && at < words.size() && words[at] != "0" && words[at] != "N/A") {
      problem(row + ", column #wrong", "\"" + std::string(words[at]) + "\" results were wrong",
              "a time without a correct result is not used");
      return;
    }
    if (!op || ranks < 2) {
      if (std::exchange(has_reported_run_, true)) {
        return;
      }
      problem(row,
              op ? "no \"# Rank\" lines say how many GPUs took part"
                 : "nothing says which collective this is",
              op ? "keep the whole output"
                 : "name the file after the program, such as all_reduce_perf.txt");
      return;
    }
    if (hosts > 1) {
      // Between nodes only the rates of the cards are wanted, from the largest sizes.
      const double local = static_cast<double>(ranks) / static_cast<double>(hosts);
      const double n = static_cast<double>(ranks);
      if (*op == CollectiveOp::all_to_all && *size / n >= kCheckedBytes) {
        add(MeasuredLink::nic, *size * (n - local) / n / (*time * 1e-6), "alltoall between nodes");
      } else {
        note_unused("collectives between nodes, save large all-to-alls");
      }
      return;
    }
    if (*op == CollectiveOp::point_to_point) {
      if (*size >= 64 * kCheckedBytes) {
        add(MeasuredLink::scale_up, *size / (*time * 1e-6), "sendrecv");
      }
      return;
    }
    CollectiveSample sample;
    sample.software = software.empty() ? "NCCL" : software;
    sample.op = *op;
    sample.ranks = ranks;
    sample.bytes = *size;
    sample.seconds = *time * 1e-6;
    sample.file = path_;
    sample.file_row = static_cast<std::int64_t>(line);
    out_.collectives.push_back(std::move(sample));
  }

  void note_unused(const std::string& what) {
    if (std::find(out_.unused.begin(), out_.unused.end(), what) == out_.unused.end()) {
      out_.unused.push_back(what);
    }
  }

  // Matrices of TransferBench: names of columns, then "GPU 00 -> 1.0 2.0" or "GPU 00 1.0 2.0".
  void read_transfer_bench(const std::vector<std::string_view>& lines) {
    enum class Table { none, p2p, all } table = Table::none;
    std::size_t cpus = 0;
    std::vector<std::string> columns;
    for (std::size_t i = 0; i < lines.size(); ++i) {
      const std::string_view line = lines[i];
      const std::vector<std::string_view> words = words_of(line);
      if (line.find("Unidirectional copy peak bandwidth") != std::string_view::npos) {
        table = Table::p2p;
      } else if (line.find("Bidirectional copy peak bandwidth") != std::string_view::npos) {
        table = Table::none;
        note_unused("bidirectional copies");
      } else if (line.starts_with("Summary:")) {
        table = Table::all;
      } else if (table != Table::none && !words.empty() && words[0].starts_with("SRC")) {
        columns.clear();
        cpus = 0;
        for (std::size_t w = 1; w < words.size(); ++w) {
          if (words[w] == "CPU" || words[w] == "GPU") {
            columns.push_back(std::string(words[w]) + " " +
                              std::string(w + 1 < words.size() ? words[w + 1] : ""));
            cpus += words[w] == "CPU" ? 1 : 0;
          }
        }
      } else if (table != Table::none && words.size() > 2 &&
                 (words[0] == "GPU" || words[0] == "CPU")) {
        read_matrix_row(words, i + 1, columns, cpus, table == Table::all);
      }
    }
  }

  void read_matrix_row(const std::vector<std::string_view>& words, std::size_t line,
                       const std::vector<std::string>& columns, std::size_t cpus, bool is_all) {
    const bool is_arrow = words[2] == "->";
    if (!is_all && !is_arrow) {
      return;  // minima, maxima and deviations of the same row
    }
    const std::string source = std::string(words[0]) + " " + std::string(words[1]);
    const std::size_t first = is_arrow ? 3 : 2;
    const std::size_t count = words.size() - first;
    // a2a adds the row's total and what its slowest copy allows for all.
    if (count < columns.size() || (is_all && count != columns.size() + 2)) {
      problem("row " + std::to_string(line), "has " + std::to_string(count) + " figures for " +
                                                 std::to_string(columns.size()) + " columns");
      return;
    }
    for (std::size_t c = 0; c < count; ++c) {
      const std::string_view text = words[first + c];
      if (text == "N/A") {
        continue;
      }
      const std::string name = c < columns.size()    ? columns[c]
                               : c == columns.size() ? "STotal"
                                                     : "Actual";
      const std::optional<double> rate = number_of(text);
      if (!rate || !(*rate > 0) || *rate > kMostGBps) {
        problem("row " + std::to_string(line) + ", column " + name,
                "\"" + std::string(text.substr(0, 40)) + "\" is no rate in GB/s",
                "above 0, or N/A");
        continue;
      }
      const double value = *rate * kGiga;
      if (is_all) {
        if (name == "Actual") {
          add(MeasuredLink::scale_up_all, value, "TransferBench a2a");
        }
      } else if (words[0] == "GPU" && c >= cpus && columns[c] != source) {
        add(MeasuredLink::scale_up, value, "TransferBench p2p");
      } else if (words[0] == "CPU" && c >= cpus) {
        add(MeasuredLink::host_link, value, "TransferBench p2p");
      }
    }
  }

  const std::string& path_;
  LinkMeasurements& out_;
  bool has_reported_run_ = false;
};

/// Median, how many stand behind it and their mean distance from it.
struct Middle {
  double value = 0;
  std::int64_t points = 0;
  double spread = 0;
};

std::optional<Middle> middle_of(const LinkMeasurements& measurements, MeasuredLink link) {
  std::vector<double> values;
  for (const LinkSample& sample : measurements.links) {
    if (sample.link == link) {
      values.push_back(sample.value);
    }
  }
  if (values.empty()) {
    return std::nullopt;
  }
  std::sort(values.begin(), values.end());
  Middle middle;
  const std::size_t half = values.size() / 2;
  middle.value = values.size() % 2 == 1 ? values[half] : 0.5 * (values[half - 1] + values[half]);
  middle.points = static_cast<std::int64_t>(values.size());
  for (const double value : values) {
    middle.spread += std::fabs(value / middle.value - 1) / static_cast<double>(values.size());
  }
  middle.spread = std::round(1e5 * middle.spread) / 1e5;
  return middle;
}

template <class T>
Sourced<T> sourced(const Middle& middle, double factor, const std::string& source) {
  Sourced<T> number;
  number.value = T(middle.value * factor);
  number.origin = Origin::measured;
  number.source = source;
  number.points = middle.points;
  number.residual_fraction = middle.spread;
  return number;
}

}  // namespace

void read_link_measurements(const std::string& path, LinkMeasurements& measurements) {
  Reader(path, measurements).read();
}

ClusterProfile with_measurements(const ClusterProfile& base, const LinkMeasurements& measurements,
                                 const std::string& source) {
  ClusterProfile profile = base;
  if (!measurements.collectives.empty()) {
    MachineSamples samples;
    std::set<CollectiveOp> ops;
    for (const CollectiveSample& sample : measurements.collectives) {
      samples.collectives.push_back(&sample);
      ops.insert(sample.op);
    }
    const std::vector<CollectiveLaw> kept = profile.collective_laws;
    profile = fit_cluster(profile, samples, 1, source).profile;
    for (const CollectiveLaw& law : kept) {
      if (profile.law(law.op, law.scope, law.library) == nullptr) {
        profile.collective_laws.push_back(law);  // not measured, or at one group size only
      }
    }
  }
  NodeGroup& node = profile.node_groups.front();
  const bool is_mesh = node.scale_up.kind == ScaleUpKind::xgmi_mesh ||
                       node.scale_up.kind == ScaleUpKind::nvlink_mesh;
  if (const auto pair = middle_of(measurements, MeasuredLink::scale_up)) {
    // Through a switch one copy has all links of a GPU, in a mesh the one link of the pair.
    const double pairs = is_mesh ? static_cast<double>(node.gpus_per_node - 1) : 1.0;
    node.scale_up.achieved = sourced<BytesPerSecond>(*pair, pairs, source);
  }
  if (const auto all = middle_of(measurements, MeasuredLink::scale_up_all)) {
    node.scale_up.achieved = sourced<BytesPerSecond>(*all, 1, source);
  }
  if (const auto latency = middle_of(measurements, MeasuredLink::scale_up_latency)) {
    node.scale_up.latency = sourced<Seconds>(*latency, 1, source);
  }
  if (const auto host = middle_of(measurements, MeasuredLink::host_link)) {
    node.host.link_rate = sourced<BytesPerSecond>(*host, 1, source);
  }
  if (const auto host = middle_of(measurements, MeasuredLink::host_link_all)) {
    node.host.all_copy_rate = sourced<BytesPerSecond>(*host, 1, source);
  }
  if (const auto nic = middle_of(measurements, MeasuredLink::nic); nic && node.nics.per_node > 0) {
    // Of a GPU; the profile counts cards.
    node.nics.achieved = sourced<BytesPerSecond>(
        *nic, static_cast<double>(node.gpus_per_node) / static_cast<double>(node.nics.per_node),
        source);
  }
  return profile;
}

}  // namespace moesim
