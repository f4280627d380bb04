// SPDX-License-Identifier: Apache-2.0
#include "sim/study/sweep.h"

#include <tbb/global_control.h>
#include <tbb/info.h>
#include <tbb/parallel_pipeline.h>
#include <tbb/task_arena.h>
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <mutex>

#include "sim/base/text_hash.h"
#include "sim/cost/step_cost.h"
#include "sim/run/simulate.h"
#include "sim/run/version.h"

namespace moesim {
namespace {

constexpr double kAbsent = std::numeric_limits<double>::quiet_NaN();
constexpr std::uint64_t kFastChunk = 256;  // analytic points a chunk: some milliseconds
constexpr std::size_t kKeptDeployments = 1024;

/// Keys that no compiled step depends on (RunOptions::step_model).
bool is_batch_key(const std::string& pointer) {
  static constexpr const char* kKeys[] = {
      "/workload/batch_per_gpu", "/workload/context_tokens",       "/workload/prompt_tokens",
      "/workload/output_tokens", "/workload/cached_prompt_tokens", "/workload/prefills_per_gpu",
      "/workload/acceptance",    "/runtime/memory_utilisation"};
  return std::find(std::begin(kKeys), std::end(kKeys), pointer) != std::end(kKeys);
}

/// Names of a result's figures, one beside the other: built once for results that look alike.
struct FigureNames {
  std::vector<std::string> metrics;  ///< what the layout was built from
  std::vector<std::string> columns;
};

bool describes(const FigureNames& names, const SimulationResult& result) {
  std::size_t i = 0;
  for (const NamedMetric& named : result.metrics) {
    if (i >= names.metrics.size() || names.metrics[i++] != named.name) {
      return false;
    }
    if (const auto* group = std::get_if<MetricGroup>(&named.value)) {
      for (const auto& [part, metric] : *group) {
        if (i >= names.metrics.size() || names.metrics[i++] != part) {
          return false;
        }
      }
    }
  }
  return i == names.metrics.size();
}

void add_names(FigureNames& names, const std::string& name) {
  names.columns.push_back(name);
  names.columns.push_back(name + "_low");
  names.columns.push_back(name + "_high");
}

FigureNames names_of(const SimulationResult& result) {
  FigureNames names;
  for (const NamedMetric& named : result.metrics) {
    names.metrics.push_back(named.name);
    add_names(names, named.name);
    if (std::holds_alternative<Distribution>(named.value)) {
      for (const char* quantile : {"_p50", "_p90", "_p99"}) {
        add_names(names, named.name + quantile);
      }
    } else if (const auto* group = std::get_if<MetricGroup>(&named.value)) {
      for (const auto& [part, metric] : *group) {
        names.metrics.push_back(part);
        add_names(names, named.name + "_" + part);
      }
    }
  }
  return names;
}

void add_metric(const Metric& metric, std::vector<double>& figures) {
  figures.push_back(metric.value);
  figures.push_back(metric.low.value_or(kAbsent));
  figures.push_back(metric.high.value_or(kAbsent));
}

void add_values(const SimulationResult& result, std::vector<double>& figures) {
  for (const NamedMetric& named : result.metrics) {
    if (const auto* metric = std::get_if<Metric>(&named.value)) {
      add_metric(*metric, figures);
    } else if (const auto* distribution = std::get_if<Distribution>(&named.value)) {
      add_metric(distribution->mean, figures);
      add_metric(distribution->p50, figures);
      add_metric(distribution->p90, figures);
      add_metric(distribution->p99, figures);
    } else {
      const MetricGroup& group = std::get<MetricGroup>(named.value);
      Metric sum;
      for (const auto& [part, share] : group) {
        sum.value += share.value;
      }
      if (named.unit != "bytes") {
        sum.value = kAbsent;  // rates and shares of different parts do not add up
      }
      add_metric(sum, figures);
      for (const auto& [part, share] : group) {
        add_metric(share, figures);
      }
    }
  }
}

std::string lines_of(const std::vector<std::string>& reasons) {
  std::string text;
  for (const std::string& reason : reasons) {
    text += (text.empty() ? "" : "\n") + reason;
  }
  return text;
}

int workers_of(const SweepOptions& options) {
  return options.jobs > 0 ? options.jobs : tbb::info::default_concurrency();
}

}  // namespace

void add_figures(const SimulationResult& result, std::vector<std::string>& columns,
                 std::vector<double>& figures) {
  const FigureNames names = names_of(result);
  columns.insert(columns.end(), names.columns.begin(), names.columns.end());
  add_values(result, figures);
}

std::vector<PointRange> sweep_chunks(const SweepSpace& space, std::uint64_t done, int workers) {
  bool fast = space.base().fidelity == Fidelity::analytic &&
              space.base().workload.kind == WorkloadKind::step;
  for (const SweepAxis& axis : space.axes()) {
    fast = fast && axis.pointer != "/fidelity" && axis.pointer != "/workload/kind";
  }
  const std::uint64_t left = space.num_points() - done;
  const std::uint64_t share = left / (8 * static_cast<std::uint64_t>(std::max(1, workers)));
  const std::uint64_t size = fast ? std::clamp<std::uint64_t>(share, 1, kFastChunk) : 1;
  std::vector<PointRange> chunks;
  for (std::uint64_t first = done; first < space.num_points(); first += size) {
    chunks.push_back({first, std::min(size, space.num_points() - first)});
  }
  return chunks;
}

/// Compiled steps by the values of the axes that they depend on.
struct PointEvaluator::Deployments {
  std::mutex mutex;
  std::map<std::string, std::shared_ptr<const StepCostModel>> models;

  std::shared_ptr<const StepCostModel> get(const std::string& key, const Scenario& scenario) {
    {
      const std::lock_guard lock(mutex);
      if (const auto known = models.find(key); known != models.end()) {
        return known->second;
      }
    }
    auto model = std::make_shared<const StepCostModel>(scenario, routing_of(scenario));
    const std::lock_guard lock(mutex);
    if (models.size() >= kKeptDeployments) {
      models.clear();
    }
    return models.emplace(key, std::move(model)).first->second;
  }
};

PointEvaluator::PointEvaluator(const SweepSpace& space, const CardLibrary& cards, std::string file,
                               bool wants_scenarios)
    : space_(space),
      cards_(cards),
      file_(std::move(file)),
      wants_scenarios_(wants_scenarios),
      deployments_(std::make_unique<Deployments>()) {
  for (const SweepAxis& axis : space.axes()) {
    is_batch_axis_.push_back(is_batch_key(axis.pointer));
  }
}

PointEvaluator::~PointEvaluator() = default;

SimulationResult PointEvaluator::simulate_point(const Scenario& scenario,
                                                const std::vector<Json>& values) const {
  RunOptions options;
  options.what_ifs = false;
  options.echo_scenario = false;
  if (scenario.spec.workload.kind == WorkloadKind::step) {
    std::string deployment;
    for (std::size_t a = 0; a < values.size(); ++a) {
      if (!is_batch_axis_[a]) {
        deployment += values[a].dump(-1) + "\n";
      }
    }
    options.step_model = deployments_->get(deployment, scenario);
  }
  return simulate(scenario, options);
}

SimulationResult PointEvaluator::result(std::uint64_t point) const {
  const std::vector<Json> values = space_.values(point);
  const Scenario scenario = resolve(space_.spec(values), cards_, file_);
  SimulationResult result = simulate_point(scenario, values);
  result.scenario = write_object(scenario.spec);
  return result;
}

SweepRow PointEvaluator::evaluate_point(std::uint64_t point, SweepChunk& chunk) const {
  SweepRow row;
  row.point = point;
  const std::vector<Json> values = space_.values(point);
  const ScenarioSpec spec = space_.spec(values);
  std::string cards;
  try {
    const Scenario scenario = resolve(spec, cards_, file_);
    for (const auto& [id, hash] : scenario.card_hashes) {
      cards += hash + "\n";
    }
    const SimulationResult result = simulate_point(scenario, values);
    row.simulated = true;
    row.feasible = result.feasibility.ok;
    row.reasons = lines_of(result.feasibility.reasons);
    thread_local FigureNames names;
    if (!describes(names, result)) {
      names = names_of(result);
    }
    std::vector<double> figures;
    figures.reserve(names.columns.size());
    add_values(result, figures);
    if (chunk.columns.empty()) {
      chunk.columns = names.columns;
    }
    if (chunk.columns == names.columns) {
      row.figures = std::move(figures);
    } else {
      row.figures.assign(chunk.columns.size(), kAbsent);
      for (std::size_t i = 0; i < figures.size(); ++i) {
        const auto found = std::find(chunk.columns.begin(), chunk.columns.end(), names.columns[i]);
        if (found != chunk.columns.end()) {
          row.figures[static_cast<std::size_t>(found - chunk.columns.begin())] = figures[i];
        } else {
          chunk.columns.push_back(names.columns[i]);
          row.figures.push_back(figures[i]);
        }
      }
    }
  } catch (const InputError& error) {
    for (const Diagnostic& diagnostic : error.diagnostics()) {
      row.reasons += (row.reasons.empty() ? "" : "\n") + diagnostic.pointer + ": " +
                     diagnostic.problem +
                     (diagnostic.allowed.empty() ? "" : "; " + diagnostic.allowed);
    }
  }
  if (wants_scenarios_) {
    row.scenario = write_object(spec).dump(-1);
    row.key = hash_text(
        text_hash(version_text() + "\n" + cards + std::to_string(spec.seed) + "\n" + row.scenario));
  }
  return row;
}

SweepChunk PointEvaluator::evaluate(const PointRange& range) const {
  SweepChunk chunk;
  chunk.rows.reserve(range.count);
  for (std::uint64_t i = 0; i < range.count; ++i) {
    chunk.rows.push_back(evaluate_point(range.first + i, chunk));
  }
  for (SweepRow& row : chunk.rows) {
    row.figures.resize(chunk.columns.size(), kAbsent);
  }
  return chunk;
}

bool run_sweep(const PointEvaluator& evaluator, const std::vector<PointRange>& chunks,
               const SweepOptions& options, const ChunkSink& sink) {
  const int workers = workers_of(options);
  // More workers than cores are a wish to be granted: rows do not depend on it.
  const tbb::global_control limit(tbb::global_control::max_allowed_parallelism,
                                  static_cast<std::size_t>(std::max(workers, 2)));
  tbb::task_arena arena(workers);
  std::size_t next = 0;
  arena.execute([&] {
    tbb::parallel_pipeline(
        static_cast<std::size_t>(4 * workers),
        tbb::make_filter<void, std::size_t>(tbb::filter_mode::serial_in_order,
                                            [&](tbb::flow_control& control) -> std::size_t {
                                              if (next == chunks.size() ||
                                                  options.stop.stop_requested()) {
                                                control.stop();
                                                return 0;
                                              }
                                              return next++;
                                            }) &
            tbb::make_filter<std::size_t, std::shared_ptr<SweepChunk>>(
                tbb::filter_mode::parallel,
                [&](std::size_t index) {
                  // A simulation that waits for its own parallel parts must not start another
                  // chunk meanwhile.
                  return tbb::this_task_arena::isolate([&] {
                    return std::make_shared<SweepChunk>(evaluator.evaluate(chunks[index]));
                  });
                }) &
            tbb::make_filter<std::shared_ptr<SweepChunk>, void>(
                tbb::filter_mode::serial_in_order,
                [&](std::shared_ptr<SweepChunk> chunk) { sink(std::move(*chunk)); }));
  });
  return next == chunks.size();
}

}  // namespace moesim
