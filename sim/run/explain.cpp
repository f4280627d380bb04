// SPDX-License-Identifier: Apache-2.0
#include "sim/run/explain.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "sim/base/quantity_text.h"
#include "sim/base/random.h"

namespace moesim {
namespace {

constexpr double kStep = 1.1;  // a parameter 10% larger

std::string percent(double fraction) { return plain_number_text(fraction * 100.0, 2) + "%"; }

std::string name_of(const CurvePick& pick, const Op& op) {
  if (pick.curve == nullptr) {
    return "profile /efficiency/" + choice_name(family_of(op));
  }
  std::string name = pick.source->id() + " " + choice_name(pick.curve->family) + " " +
                     choice_name(pick.curve->format);
  if (!pick.curve->variant.empty()) {
    name += " (" + pick.curve->variant + ")";
  }
  return name;
}

std::string origin_of(const CurvePick& pick, const DeviceProfile& device, const Op& op) {
  if (pick.curve == nullptr) {
    const OpEfficiency& efficiency = device.efficiency.of(choice_name(family_of(op)));
    return choice_name(efficiency.origin) + ": " + efficiency.source;
  }
  const CurveFitRecord& fit = pick.curve->record;
  std::string text = choice_name(pick.basis) + ": fit to " + count_text(fit.rows) +
                     " rows, left-out median error " + percent(fit.median_ape) + ", P90 " +
                     percent(fit.p90_ape);
  if (!pick.source->set->transferred_from.empty()) {
    text += ", transferred from " + pick.source->set->transferred_from;
  }
  return text;
}

/// Adds up what each parameter does over all ops that share it.
void add_parameters(Explanation& out, const StepCostModel& model, const DeviceProfile& device,
                    const std::vector<ExposedOp>& ops) {
  std::map<std::pair<std::string, std::string>, Influence> known;
  for (const ExposedOp& one : ops) {
    const std::vector<CostParameter> parameters =
        model.cost_model().parameters(one.pick, family_of(one.op));
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const double change =
          one.exposed_s * (model.cost_model().ratio(one.op, one.pick, i, kStep) - 1.0);
      if (change == 0) {
        continue;
      }
      const std::string where = name_of(one.pick, one.op);
      Influence& influence = known[{where, std::string(parameters[i].name)}];
      if (influence.where.empty()) {
        influence = {where,
                     std::string(parameters[i].name),
                     std::string(parameters[i].doc),
                     origin_of(one.pick, device, one.op),
                     parameters[i].value,
                     0};
      }
      influence.change_s += change;
    }
  }
  for (auto& [key, influence] : known) {
    out.influences.push_back(std::move(influence));
  }
}

/// What the scenario itself asserts, evaluated anew.
void add_assumptions(Explanation& out, const Scenario& scenario, const StepCostModel& model,
                     const StepBatch& batch) {
  const auto add = [&](const std::string& pointer, const std::string& doc, double value,
                       double step_s) {
    if (step_s != out.step_s) {
      out.influences.push_back(
          {"scenario", pointer, doc, "the scenario's word", value, step_s - out.step_s});
    }
  };
  if (scenario.spec.routing.kind == RoutingModel::gumbel && scenario.spec.routing.sigma > 0) {
    Scenario changed = scenario;
    changed.spec.routing.sigma *= kStep;
    add("/routing/sigma", "spread of expert popularity", scenario.spec.routing.sigma,
        StepCostModel(changed, routing_of(changed)).evaluate(batch).seconds.value());
  }
  if (batch.decode_sequences > 0) {
    StepBatch longer = batch;
    longer.decode_context *= kStep;
    add("/workload/context_tokens", "tokens cached a sequence", batch.decode_context,
        model.evaluate(longer).seconds.value());
  }
  if (scenario.spec.runtime.host_overhead_s > 0) {
    add("/runtime/host_overhead_s", "host time of a step", scenario.spec.runtime.host_overhead_s,
        out.step_s + (kStep - 1.0) * scenario.spec.runtime.host_overhead_s);
  }
}

void add_band(Explanation& out, const StepBand& band) {
  const auto add = [&](const std::string& source, const ErrorSource& error) {
    if (error.exposed_s > 0) {
      out.band.push_back({source, error.exposed_s, error.half_width_s()});
    }
  };
  for (const Choice<OpFamily>& family : choices_of(OpFamily{})) {
    add("times of " + std::string(family.name),
        band.families[static_cast<std::size_t>(family.value)]);
  }
  add("dispatch and combine", band.exchange);
  add("tensor collectives", band.sync);
  add("one machine against another", band.machine);
  std::stable_sort(out.band.begin(), out.band.end(), [](const BandPart& a, const BandPart& b) {
    return a.half_width_s > b.half_width_s;
  });
}

void add_extrapolated(Explanation& out, const std::vector<ExposedOp>& ops) {
  for (const ExposedOp& one : ops) {
    if (one.pick.curve == nullptr || one.cost.in_range || one.exposed_s <= 0) {
      continue;
    }
    const std::string what = choice_name(one.kind) + " by " + name_of(one.pick, one.op);
    const auto known = std::find_if(out.extrapolated.begin(), out.extrapolated.end(),
                                    [&](const Extrapolation& other) { return other.what == what; });
    if (known == out.extrapolated.end()) {
      out.extrapolated.push_back({what, one.exposed_s});
    } else {
      known->exposed_s += one.exposed_s;
    }
  }
  std::stable_sort(
      out.extrapolated.begin(), out.extrapolated.end(),
      [](const Extrapolation& a, const Extrapolation& b) { return a.exposed_s > b.exposed_s; });
}

}  // namespace

Explanation explain(const Scenario& scenario) {
  const StepCostModel model(scenario, routing_of(scenario));
  const StepBatch batch = batch_of(scenario);
  StepBand band;
  const StepCost cost = model.evaluate(batch, band);
  Explanation out;
  out.title = scenario.spec.name.empty() ? scenario.model->name + " on " + scenario.cluster->name
                                         : scenario.spec.name;
  out.step_s = cost.seconds.value();
  const double factor = portable_exp(band.log_half_width);
  out.low_s = out.step_s / factor;
  out.high_s = out.step_s * factor;

  std::vector<ExposedOp> ops = model.exposed_ops(batch);
  for (ExposedOp& one : ops) {
    one.pick = model.cost_model().running(one.op, one.pick);
  }
  add_parameters(out, model, *scenario.device, ops);
  const auto add_communication = [&](const std::string& what, const ErrorSource& source) {
    if (source.exposed_s > 0) {
      out.influences.push_back({"cluster", what, "all their times", "the cluster profile's fits",
                                source.exposed_s, source.exposed_s * (kStep - 1.0)});
    }
  };
  add_communication("dispatch and combine", band.exchange);
  add_communication("tensor collectives", band.sync);
  add_assumptions(out, scenario, model, batch);
  std::stable_sort(out.influences.begin(), out.influences.end(),
                   [](const Influence& a, const Influence& b) {
                     return std::fabs(a.change_s) > std::fabs(b.change_s);
                   });
  add_band(out, band);
  add_extrapolated(out, ops);
  for (const Choice<OpKind>& kind : choices_of(OpKind{})) {
    const double seconds = cost.by_kind[static_cast<std::size_t>(kind.value)];
    if (seconds > 0) {
      out.critical_path.emplace_back(kind.name, seconds);
    }
  }
  const double exposed_exchange = cost.by_kind[static_cast<std::size_t>(OpKind::dispatch)] +
                                  cost.by_kind[static_cast<std::size_t>(OpKind::combine)];
  out.hidden_exchange_s = std::max(0.0, cost.exchange.value() - exposed_exchange);
  return out;
}

}  // namespace moesim
