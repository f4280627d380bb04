// SPDX-License-Identifier: Apache-2.0
#include "sim/run/serving_faults.h"

#include <algorithm>

#include "sim/base/quantity_text.h"
#include "sim/engine/link_share.h"
#include "sim/run/fault_cost.h"

namespace moesim {
namespace {

constexpr std::size_t kToldIncidents = 4;

void add(SimulationResult& result, std::string name, std::string unit, std::string doc,
         double value) {
  Metric metric;
  metric.value = value;
  result.metrics.push_back({std::move(name), std::move(unit), std::move(doc), metric});
}

/// The fault is there from `begin_s` to `end_s`, cut off or slow.
struct Timed {
  FaultSpec fault;
  double begin_s = 0;
  double end_s = 0;
};

/// Requests that wait, over time: a step function of arrivals and admissions.
class QueueLength {
 public:
  explicit QueueLength(const ServingRecord& record) {
    for (std::size_t i = 0; i < record.requests.size(); ++i) {
      if (record.rejected[i] != 0) {
        continue;
      }
      changes_.emplace_back(record.requests[i].arrival_s, 1);
      if (record.requests[i].admitted_s >= 0) {
        changes_.emplace_back(record.requests[i].admitted_s, -1);
      }
    }
    std::sort(changes_.begin(), changes_.end());  // who leaves at a time leaves first
  }

  /// Most that waited within [from, to].
  double most(double from, double to) const {
    double length = 0;
    double top = 0;
    bool inside = false;
    for (const auto& [time, change] : changes_) {
      if (time > to) {
        break;
      }
      if (time >= from && !inside) {
        top = length;
        inside = true;
      }
      length += change;
      top = inside ? std::max(top, length) : top;
    }
    return inside ? top : length;
  }

  /// First moment from `from` on at which at most `limit` wait.
  std::optional<double> falls_to(double limit, double from) const {
    double length = 0;
    for (std::size_t i = 0; i < changes_.size(); ++i) {
      if (changes_[i].first > from && length <= limit) {
        return std::max(from, i > 0 ? changes_[i - 1].first : 0.0);
      }
      length += changes_[i].second;
    }
    return length <= limit && !changes_.empty()
               ? std::optional(std::max(from, changes_.back().first))
               : std::nullopt;
  }

 private:
  std::vector<std::pair<double, int>> changes_;
};

double overlap(double begin, double end, double until) {
  return std::max(0.0, std::min(end, until) - begin);
}

}  // namespace

Scenario without_timed_faults(const Scenario& scenario) {
  Scenario lasting = scenario;
  std::erase_if(lasting.spec.faults, [](const FaultSpec& fault) { return fault.at_s.has_value(); });
  return lasting;
}

void plan_timed_faults(ServingPlan& plan, const Scenario& asked) {
  Scenario base = without_timed_faults(asked);
  if (base.spec.faults.size() == asked.spec.faults.size()) {
    return;
  }
  outage_of(asked);  // every name is one of the cluster, whatever happens first
  if (!outage_of(base).empty()) {
    base.spec.faults.clear();  // figures are without these (simulate.cpp)
  }
  const RecoverySpec& rule = asked.spec.recovery;
  const bool has_spare = rule.spare_nodes.value_or(0) > 0;
  const double until_repaired = rule.detection_s + (has_spare ? 0.0 : rule.repair_s);
  const double until_restarted = recovery_time(asked, plan.serving.room.memory).value();
  std::vector<Timed> timed;
  std::vector<double> borders;
  for (const FaultSpec& fault : asked.spec.faults) {
    if (!fault.at_s) {
      continue;
    }
    Scenario alone = base;
    alone.spec.faults.push_back(fault);
    const double usual = outage_of(alone).empty() ? until_repaired : until_restarted;
    timed.push_back({fault, *fault.at_s, *fault.at_s + fault.lasts_s.value_or(usual)});
    borders.push_back(timed.back().begin_s);
    borders.push_back(timed.back().end_s);
  }
  std::sort(borders.begin(), borders.end());
  borders.erase(std::unique(borders.begin(), borders.end()), borders.end());
  std::vector<ClusterSpell> spells;
  for (std::size_t i = 0; i + 1 < borders.size(); ++i) {
    Scenario struck = base;
    for (const Timed& one : timed) {
      if (one.begin_s <= borders[i] && one.end_s > borders[i]) {
        struck.spec.faults.push_back(one.fault);
      }
    }
    if (struck.spec.faults.size() == base.spec.faults.size()) {
      continue;
    }
    if (!outage_of(struck).empty()) {
      plan.outages.push_back({borders[i], borders[i + 1]});
    } else {
      spells.push_back({borders[i], borders[i + 1],
                        std::make_shared<const Scenario>(with_links_shared(struck))});
    }
  }
  if (!spells.empty()) {
    plan.struck = std::make_unique<StepTimeline>(*plan.serving.timeline, std::move(spells));
  }
}

std::vector<Incident> incidents(const ServingPlan& plan, const ServingRecord& record) {
  std::vector<Incident> all;
  for (const Outage& outage : plan.outages) {
    all.push_back({outage.begin_s, outage.end_s, true, 0, 0, {}});
  }
  if (plan.struck != nullptr) {
    for (const ClusterSpell& spell : plan.struck->spells()) {
      all.push_back({spell.begin_s, spell.end_s, false, 0, 0, {}});
    }
  }
  std::erase_if(all, [&](const Incident& one) { return one.begin_s >= record.end_s; });
  std::sort(all.begin(), all.end(), [](const Incident& a, const Incident& b) {
    return a.begin_s != b.begin_s ? a.begin_s < b.begin_s : a.is_outage > b.is_outage;
  });
  if (all.empty()) {
    return all;
  }
  const QueueLength queue(record);
  for (Incident& one : all) {
    const double length = one.end_s - one.begin_s;
    one.waiting_before = queue.most(std::max(0.0, one.begin_s - length), one.begin_s);
    if (one.end_s <= record.end_s) {
      one.recovered_at_s = queue.falls_to(one.waiting_before, one.end_s);
    }
    one.waiting_most = queue.most(one.begin_s, one.recovered_at_s.value_or(record.end_s));
  }
  return all;
}

void add_fault_history(SimulationResult& result, const ServingPlan& plan,
                       const ServingRecord& record) {
  const std::vector<Incident> all = incidents(plan, record);
  if (all.empty()) {
    return;
  }
  double down = 0;
  double slow = 0;
  double longest = 0;
  bool is_over = true;
  double reached = 0;  // outages may overlap
  for (const Incident& one : all) {
    const double seconds = overlap(one.is_outage ? std::max(one.begin_s, reached) : one.begin_s,
                                   one.end_s, record.end_s);
    (one.is_outage ? down : slow) += seconds;
    reached = one.is_outage ? std::max(reached, one.end_s) : reached;
    is_over = is_over && one.recovered_at_s.has_value();
    longest = std::max(longest, one.recovered_at_s.value_or(0) - one.begin_s);
  }
  const auto time = [](double seconds) { return quantity_text(Seconds(seconds)); };
  for (std::size_t i = 0; i < std::min(all.size(), kToldIncidents); ++i) {
    const Incident& one = all[i];
    result.findings.push_back(
        std::string("the first instance ") + (one.is_outage ? "is down" : "has slow parts") +
        " from " + time(one.begin_s) + " to " + time(one.end_s) + ": " +
        count_text(one.waiting_before) + " requests waited at most before, " +
        count_text(one.waiting_most) + " after; " +
        (one.recovered_at_s ? "the queue is as short as before " +
                                  time(*one.recovered_at_s - one.begin_s) + " after it began"
                            : "the run ended before the queue was as short again"));
  }
  if (down > 0) {
    add(result, "unavailable_s", "s", "the first instance did not run", down);
    add(result, "restarted_requests", "", "lost with it and started anew", record.lost_requests);
  }
  if (slow > 0) {
    add(result, "slowed_s", "s", "the first instance ran with parts that faults slowed", slow);
  }
  if (is_over) {
    add(result, "service_recovery_s", "s",
        "from a fault until no more requests wait than before it, longest", longest);
  }
}

}  // namespace moesim
