// SPDX-License-Identifier: Apache-2.0
#include "sim/study/sweep.h"

#include <tbb/enumerable_thread_specific.h>
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
#include "sim/input/scenario_batch.h"
#include "sim/run/simulate.h"
#include "sim/run/version.h"

namespace moesim {
namespace {

constexpr double kAbsent = std::numeric_limits<double>::quiet_NaN();
constexpr std::uint64_t kFastChunk = 256;  // analytic points a chunk: some milliseconds
constexpr std::size_t kKeptDeployments = 1024;
constexpr std::size_t kKeptByWorker = 256;  // scenarios of some kilobytes each

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

/// A resolved scenario of one deployment; its batch keys are set anew for every point.
struct PointEvaluator::Resolved {
  Scenario scenario;
  std::string card_hashes;  ///< one a line
  std::shared_ptr<const StepCostModel> model;
};

/// What one thread keeps from point to point.
struct PointEvaluator::Worker {
  std::vector<Json> values;              ///< of the point
  std::vector<Json> last_values;         ///< of the point before, if its deployment was kept ...
  Resolved* last = nullptr;              ///< ... here
  std::map<std::string, Resolved> kept;  ///< by deployment_key
  Resolved other;                        ///< of a point that is not kept
  FigureNames names;
};

/// Compiled steps by deployment_key, for all threads.
struct PointEvaluator::Deployments {
  std::mutex mutex;
  std::map<std::string, std::shared_ptr<const StepCostModel>> models;
  tbb::enumerable_thread_specific<Worker> workers;

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
  bool plans_for_batch = space.base().placement.policy == PlacementKind::activated;
  for (const SweepAxis& axis : space.axes()) {
    plans_for_batch = plans_for_batch || axis.pointer == "/placement/policy";
  }
  for (const SweepAxis& axis : space.axes()) {
    is_batch_axis_.push_back(is_batch_key(axis.pointer) && !plans_for_batch);
  }
}

PointEvaluator::~PointEvaluator() = default;

/// The values of the axes that a deployment depends on, as text.
std::string PointEvaluator::deployment_key(const std::vector<Json>& values) const {
  std::string key;
  for (std::size_t a = 0; a < values.size(); ++a) {
    if (!is_batch_axis_[a]) {
      key += values[a].dump(-1) + "\n";
    }
  }
  return key;
}

/// The scenario of `worker.values`: that of a deployment which the worker knows with the batch keys
/// set, else resolved from the beginning. Throws InputError for a point that breaks a rule.
PointEvaluator::Resolved& PointEvaluator::resolved(Worker& worker) const {
  const std::vector<Json>& values = worker.values;
  bool is_last = worker.last != nullptr;
  for (std::size_t a = 0; is_last && a < values.size(); ++a) {
    is_last = is_batch_axis_[a] || values[a] == worker.last_values[a];
  }
  std::string key;
  if (!is_last) {
    key = deployment_key(values);
    const auto known = worker.kept.find(key);
    worker.last = known == worker.kept.end() ? nullptr : &known->second;
  }
  if (worker.last != nullptr) {
    worker.last_values = values;
    Scenario& scenario = worker.last->scenario;
    for (std::size_t a = 0; a < values.size(); ++a) {
      if (is_batch_axis_[a]) {
        space_.set(scenario.spec, a, values[a]);
      }
    }
    check_batch(scenario);
    return *worker.last;
  }
  worker.other = {resolve(space_.spec(values), cards_, file_), "", nullptr};
  for (const auto& [id, hash] : worker.other.scenario.card_hashes) {
    worker.other.card_hashes += hash + "\n";
  }
  if (worker.other.scenario.spec.workload.kind != WorkloadKind::step) {
    return worker.other;
  }
  worker.other.model = deployments_->get(key, worker.other.scenario);
  if (worker.kept.size() >= kKeptByWorker) {
    worker.kept.clear();
  }
  worker.last = &worker.kept.insert_or_assign(key, std::move(worker.other)).first->second;
  worker.last_values = values;
  return *worker.last;
}

SimulationResult PointEvaluator::result(std::uint64_t point) const {
  Worker worker;
  space_.values(point, worker.values);
  const Resolved& deployment = resolved(worker);
  RunOptions options;
  options.what_ifs = false;
  options.step_model = deployment.model;
  return simulate(deployment.scenario, options);
}

SweepRow PointEvaluator::evaluate_point(std::uint64_t point, Worker& worker,
                                        SweepChunk& chunk) const {
  SweepRow row;
  row.point = point;
  space_.values(point, worker.values);
  const Resolved* deployment = nullptr;
  try {
    deployment = &resolved(worker);
    RunOptions options;
    options.what_ifs = false;
    options.echo_scenario = false;
    options.step_model = deployment->model;
    const SimulationResult result = simulate(deployment->scenario, options);
    row.simulated = true;
    row.feasible = result.feasibility.ok;
    row.reasons = lines_of(result.feasibility.reasons);
    FigureNames& names = worker.names;
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
    const ScenarioSpec spec =
        deployment != nullptr ? deployment->scenario.spec : space_.spec(worker.values);
    row.scenario = write_object(spec).dump(-1);
    row.key = hash_text(text_hash(version_text() + "\n" +
                                  (deployment != nullptr ? deployment->card_hashes : "") +
                                  std::to_string(spec.seed) + "\n" + row.scenario));
  }
  return row;
}

SweepChunk PointEvaluator::evaluate(const PointRange& range) const {
  SweepChunk chunk;
  Worker& worker = deployments_->workers.local();
  chunk.rows.reserve(range.count);
  for (std::uint64_t i = 0; i < range.count; ++i) {
    chunk.rows.push_back(evaluate_point(range.first + i, worker, chunk));
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
