// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/calibrate_serving.h"

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <ostream>

#include "sim/base/error.h"
#include "sim/base/json.h"
#include "sim/cli/measured_rows.h"
#include "sim/cli/scenario_arguments.h"
#include "sim/input/card_library.h"
#include "sim/input/hardware_profile.h"
#include "sim/study/measured_load.h"
#include "sim/study/serving_calibration.h"

namespace moesim {
namespace {

// Loads that a benchmark can be asked for: slots of a closed loop, and prompts as the scenario has
// them, a quarter and four times as long.
constexpr double kSlots[] = {1, 4, 16, 64, 256};
constexpr double kPromptScales[] = {0.25, 1, 4};
constexpr std::size_t kShown = 3;

std::vector<ServingCase> cases_of(const ScenarioSpec& spec,
                                  const std::vector<ServingMeasurement>& rows,
                                  const std::string& file) {
  std::vector<ServingCase> cases;
  for (const ServingMeasurement& row : rows) {
    if (!row.tpot_s && !row.ttft_s && !row.output_rate) {
      continue;
    }
    ServingCase item;
    item.row = row;
    item.spec = at_measured_load(spec, row);
    item.output_rate = row.output_rate;
    cases.push_back(std::move(item));
  }
  if (cases.empty()) {
    throw InputError(file, "", "no row states a TPOT, a TTFT or an output rate",
                     "results of a serving benchmark, or rows of `moesim import`");
  }
  return cases;
}

std::vector<ScenarioSpec> candidates_of(const ScenarioSpec& spec) {
  std::vector<ScenarioSpec> candidates;
  for (const double slots : kSlots) {
    for (const double scale : kPromptScales) {
      ScenarioSpec candidate = spec;
      candidate.workload.concurrency = slots;
      candidate.workload.requests_per_s.reset();
      candidate.workload.arrivals = ArrivalProcess::closed;
      candidate.workload.prompt_tokens = std::round(spec.workload.prompt_tokens * scale);
      candidates.push_back(std::move(candidate));
    }
  }
  return candidates;
}

void print_fit(std::ostream& out, const EfficiencyFit& fit, const std::vector<ServingCase>& cases,
               const CardLibrary& cards) {
  out << "fitted to " << cases.size() << " rows; 80% intervals; identified: share of what was not "
      << "known before that the rows tell\n";
  char text[160];
  for (const FittedNumber& number : fit.numbers) {
    const bool is_time = number.name.ends_with("_s");
    const double unit = is_time ? 1e3 : 1.0;
    std::snprintf(text, sizeof text, "  %-11s %8.3f%s  (%.3f to %.3f)  identified %3.0f%%\n",
                  number.name.c_str(), number.value * unit, is_time ? " ms" : "   ",
                  number.low * unit, number.high * unit, 100 * number.identified);
    out << text;
  }
  out << "\n  row                              quantity   measured     before      after\n";
  for (const ServingCase& item : cases) {
    const ServingPrediction before = predict_serving(item.spec, {}, cards, item.row.id);
    const ServingPrediction after = predict_serving(item.spec, fit.set, cards, item.row.id);
    const auto line = [&](const char* name, const std::optional<double>& measured,
                          const std::optional<PredictedValue>& first,
                          const std::optional<PredictedValue>& second) {
      if (measured && first && second) {
        std::snprintf(text, sizeof text, "  %-32.32s %-8s %10.4g %9.1f%% %9.1f%%\n",
                      item.row.id.c_str(), name, *measured, 100 * (first->value / *measured - 1),
                      100 * (second->value / *measured - 1));
        out << text;
      }
    };
    line("TPOT s", item.row.tpot_s, before.tpot_s, after.tpot_s);
    line("TTFT s", item.row.ttft_s, before.ttft_s, after.ttft_s);
    line("tok/s/GPU", item.output_rate, before.output_rate, after.output_rate);
  }
  out << "\nwhat to measure next (bits about the four numbers):\n";
  for (std::size_t i = 0; i < std::min(kShown, fit.next.size()); ++i) {
    std::snprintf(text, sizeof text, "  concurrency %g with prompts of %g tokens: %.2f\n",
                  fit.next[i].concurrency, fit.next[i].prompt_tokens, fit.next[i].bits);
    out << text;
  }
}

/// Multiplies a number with provenance inside a profile's JSON and says where it comes from.
void scale(Json& number, double factor, const std::string& source) {
  number.set("value", number.find("value")->as_number() * factor);
  number.set("origin", "fitted");
  number.set("source", source);
}

}  // namespace

int calibrate_serving(const std::vector<std::string>& results, const std::string& scenario,
                      const std::string& out, const CommandContext& context) {
  namespace fs = std::filesystem;
  const CardLibrary cards = CardLibrary::open(context.root);
  ScenarioArguments arguments;
  arguments.scenario = scenario;
  const ScenarioSpec spec = spec_from(arguments, cards).spec;
  if (spec.workload.kind != WorkloadKind::serving) {
    throw InputError(scenario, "#/workload/kind", "is not \"serving\"",
                     "a serving scenario: what was measured is a server");
  }
  const Scenario resolved = resolve(spec, cards, scenario);
  const double gpus = static_cast<double>(resolved.ways.gpus * spec.serving.instances);
  std::vector<ServingMeasurement> rows;
  for (const std::string& file : results) {
    for (ServingMeasurement& row : read_measured_rows(file, "", gpus, context.err)) {
      rows.push_back(std::move(row));
    }
  }
  const std::vector<ServingCase> cases = cases_of(spec, rows, results.front());
  std::vector<const ServingCase*> pointers;
  for (const ServingCase& item : cases) {
    pointers.push_back(&item);
  }
  const std::vector<ScenarioSpec> candidates = candidates_of(spec);
  const EfficiencyFit fit = explain_efficiency(pointers, candidates, cards);
  print_fit(context.out, fit, cases, cards);

  const fs::path folder(out);
  fs::create_directories(folder);
  const std::string source = "fitted to " + std::to_string(cases.size()) + " rows of " +
                             fs::path(results.front()).filename().string() +
                             (results.size() > 1 ? " and others" : "");
  Json device = write_device_profile(*resolved.device);
  scale(*device.find("memory_bandwidth_bytes_per_s"), fit.set.memory, source);
  for (auto& [format, rate] : device.find("peak_flops_per_s")->members()) {
    scale(rate, fit.set.arithmetic, source);
  }
  const fs::path device_file = fs::absolute(folder / (resolved.device->id + ".json"));
  Json cluster = load_json(cards.path(CardKind::cluster, spec.cluster));
  for (Json& group : cluster.find("node_groups")->items()) {
    if (group.find("device")->as_text() == resolved.device->id) {
      group.set("device", device_file.string());
    }
  }
  const fs::path cluster_file = folder / (cluster.find("id")->as_text() + ".json");
  write_text_file(device_file.string(), device.dump() + "\n");
  write_text_file(cluster_file.string(), cluster.dump() + "\n");
  context.out << "\nuse it with: --set /cluster=" << cluster_file.string();
  if (fit.set.step_s > 0) {
    context.out << " --set /runtime/host_overhead_s="
                << spec.runtime.host_overhead_s + fit.set.step_s;
  }
  context.out << "\n";
  if (fit.set.step_s < 0) {
    context.out
        << "steps are " << -1e3 * fit.set.step_s
        << " ms shorter than modelled: no key takes that, the profile alone stays above it\n";
  }
  if (fit.set.request_s > 0) {
    context.out << "add " << 1e3 * fit.set.request_s
                << " ms to every TTFT: network, tokeniser, front end\n";
  }
  return 0;
}

}  // namespace moesim
