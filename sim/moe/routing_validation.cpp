// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/routing_validation.h"

#include <charconv>
#include <filesystem>
#include <map>
#include <memory>

#include "sim/base/error.h"
#include "sim/moe/token_routing_profile.h"
#include "sim/moe/token_routing_statistics.h"

namespace moesim {
namespace {

/// Rows of a CSV table by column name.
class Table {
 public:
  explicit Table(const std::string& path) : reader_(path) {
    std::string_view line;
    if (reader_.next(line)) {
      split(line, names_);
    }
  }
  bool next() {
    std::string_view line;
    do {
      if (!reader_.next(line)) {
        return false;
      }
    } while (line.empty());
    cells_.clear();
    split(line, cells_);
    if (cells_.size() != names_.size()) {
      throw InputError(reader_.path(), "line " + std::to_string(reader_.line_number()),
                       std::to_string(cells_.size()) + " cells in a table of " +
                           std::to_string(names_.size()) + " columns");
    }
    return true;
  }
  const std::string& text(std::string_view column) const {
    for (std::size_t c = 0; c < names_.size(); ++c) {
      if (names_[c] == column) {
        return cells_[c];
      }
    }
    throw InputError(reader_.path(), "line 1", "has no column \"" + std::string(column) + "\"");
  }
  double number(std::string_view column) const {
    const std::string& cell = text(column);
    double value = 0.0;
    const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
    if (error != std::errc() || end != cell.data() + cell.size()) {
      throw InputError(
          reader_.path(),
          "line " + std::to_string(reader_.line_number()) + ", column " + std::string(column),
          "\"" + cell + "\" is no number");
    }
    return value;
  }

 private:
  static void split(std::string_view line, std::vector<std::string>& cells) {
    while (true) {
      const std::size_t comma = line.find(',');
      cells.emplace_back(line.substr(0, comma));
      if (comma == std::string_view::npos) {
        return;
      }
      line.remove_prefix(comma + 1);
    }
  }
  LineReader reader_;
  std::vector<std::string> names_;
  std::vector<std::string> cells_;
};

class Validation {
 public:
  explicit Validation(std::string folder) : folder_(std::move(folder)) {}

  RoutingValidation run() {
    for (const char* task : {"law", "translation"}) {
      const std::string file = std::string("trace_deepseek_v2_lite_") + task + ".csv.gz";
      if (present(file)) {
        traces_[task] = std::make_shared<const TokenTrace>(read_token_trace(path(file)));
      }
    }
    if (present("load_stats.csv")) {
      load_stats();
    }
    if (present("locality_by_lag.csv")) {
      locality();
    }
    if (present("batch_dependence.csv")) {
      batches();
    }
    sigma();
    return std::move(result_);
  }

 private:
  std::string path(const std::string& file) const {
    return (std::filesystem::path(folder_) / file).string();
  }
  bool present(const std::string& file) {
    std::error_code error;
    if (std::filesystem::is_regular_file(path(file), error)) {
      return true;
    }
    result_.left_out.emplace_back(file, "the file is absent");
    return false;
  }
  void add(std::string group, std::string name, double measured, double predicted) {
    result_.rows.push_back({std::move(group), std::move(name), measured, predicted});
  }
  /// Index of a layer of a trace, or -1.
  static std::ptrdiff_t layer_index(const TokenTrace& trace, double layer) {
    for (std::size_t l = 0; l < trace.layers.size(); ++l) {
      if (trace.layers[l] == layer) {
        return static_cast<std::ptrdiff_t>(l);
      }
    }
    return -1;
  }

  void load_stats() {
    Table table(path("load_stats.csv"));
    std::size_t others = 0;
    while (table.next()) {
      const auto trace = traces_.find(table.text("task"));
      const bool replayed =
          trace != traces_.end() && table.text("dataset") == "esft" && table.text("kind") == "topk";
      const std::ptrdiff_t layer =
          replayed ? layer_index(*trace->second, table.number("layer")) : -1;
      if (layer < 0) {
        ++others;
        continue;
      }
      const std::vector<std::int64_t> totals =
          layer_totals(*trace->second, static_cast<std::size_t>(layer));
      const LoadStatistics s = load_statistics(std::vector<double>(totals.begin(), totals.end()));
      const std::string name = trace->first + " layer " + table.text("layer");
      add("replay_load_stats", name + " max/mean", table.number("max_over_mean"), s.max_over_mean);
      add("replay_load_stats", name + " cv", table.number("cv"), s.cv);
    }
    if (others > 0) {
      result_.left_out.emplace_back("load_stats.csv: " + std::to_string(others) + " rows",
                                    "no token trace of that recording");
    }
  }

  void locality() {
    Table table(path("locality_by_lag.csv"));
    while (table.next()) {
      const auto trace = traces_.find(table.text("task"));
      const std::ptrdiff_t layer =
          trace != traces_.end() ? layer_index(*trace->second, table.number("layer")) : -1;
      if (layer >= 0) {
        add("replay_locality",
            trace->first + " layer " + table.text("layer") + " lag " + table.text("lag"),
            table.number("overlap"),
            lag_overlap(*trace->second, static_cast<std::size_t>(layer),
                        static_cast<std::int64_t>(table.number("lag"))));
      }
    }
  }

  /// Expected loads of independent tokens, from the inclusion rates alone, against sampled batches.
  void batches() {
    std::map<std::string, std::vector<LayerLoads>> loads;
    for (const auto& [task, trace] : traces_) {
      const GateShape gate = {.experts = trace->experts, .top_k = trace->top_k};
      for (std::size_t l = 0; l < trace->layers.size(); ++l) {
        RoutingSpec spec = {.kind = RoutingKind::trace, .gate = gate, .trace = trace};
        loads[task].emplace_back(
            std::make_shared<const LayerRouting>(spec, static_cast<std::int32_t>(l)),
            ExpertMap::contiguous(gate.experts, 8, 8));
      }
    }
    Table table(path("batch_dependence.csv"));
    while (table.next()) {
      const auto layers = loads.find(table.text("task"));
      if (layers == loads.end()) {
        continue;
      }
      if (table.text("sampling") != "random") {
        continue;
      }
      const double tokens = table.number("batch_tokens");
      double hottest = 0.0;
      double active = 0.0;
      for (const LayerLoads& layer : layers->second) {
        const LoadProfile profile = layer.at(tokens);
        hottest += profile.expert_max_over_mean();
        active += profile.active_experts;
      }
      const double count = static_cast<double>(layers->second.size());
      const std::string name = layers->first + " batch " + table.text("batch_tokens");
      add("model_hottest", name, table.number("max_over_mean"), hottest / count);
      add("model_active", name, table.number("active_experts"), active / count);
    }
    result_.left_out.emplace_back("batch_dependence.csv: contiguous batches",
                                  "expected loads are of independent tokens");
  }

  /// DeepSeek-R1 on 32 GB200 in decode (reported_figures.csv trt0r, trt0e: 1.564 and 10.948 above
  /// the mean), against gumbel sigma 1.1 over 58 layers.
  void sigma() {
    const ExpertMap map = ExpertMap::contiguous(256, 32, 8);
    const RoutingSpec spec = {
        .kind = RoutingKind::gumbel, .gate = {.experts = 256, .top_k = 8}, .sigma = 1.1, .seed = 1};
    double rank = 0.0;
    double expert = 0.0;
    for (std::int32_t l = 0; l < 58; ++l) {
      const LoadProfile profile =
          LayerLoads(std::make_shared<const LayerRouting>(spec, l), map).at(4096);
      rank += profile.rank_max_over_mean() / 58.0;
      expert += profile.expert_max_over_mean() / 58.0;
    }
    add("model_sigma_rank", "DeepSeek-R1 EP32", 2.564, rank);
    add("model_sigma_expert", "DeepSeek-R1 EP32", 11.948, expert);
  }

  std::string folder_;
  std::map<std::string, std::shared_ptr<const TokenTrace>> traces_;
  RoutingValidation result_;
};

}  // namespace

RoutingValidation validate_routing(const std::string& folder) { return Validation(folder).run(); }

}  // namespace moesim
