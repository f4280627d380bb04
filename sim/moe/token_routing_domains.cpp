// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/token_routing_domains.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "sim/base/error.h"

namespace moesim {

DomainRouting::DomainRouting(std::vector<RoutingDomain> domains, std::vector<DomainPhase> phases,
                             std::vector<DomainBurst> bursts, std::int32_t layers,
                             const std::string& file, const std::string& pointer)
    : domains_(std::move(domains)),
      phases_(std::move(phases)),
      bursts_(std::move(bursts)),
      layers_(layers) {
  Diagnostics problems;
  if (domains_.empty() || phases_.empty()) {
    problems.add(file, pointer, "a mixture needs at least one domain and one phase");
    problems.throw_if_any();
  }
  for (std::size_t d = 0; d < domains_.size(); ++d) {
    const std::string at = pointer + "/domains/" + std::to_string(d);
    if (!(domains_[d].spec.gate == domains_[0].spec.gate)) {
      problems.add(file, at, "has another gate than the first domain");
    }
    try {
      check_routing(domains_[d].spec, file, at);
    } catch (const InputError& error) {
      for (const Diagnostic& problem : error.diagnostics()) {
        problems.add(problem);
      }
    }
  }
  for (std::size_t p = 0; p < phases_.size(); ++p) {
    const DomainPhase& phase = phases_[p];
    const std::string at = pointer + "/phases/" + std::to_string(p);
    const double sum = std::accumulate(phase.shares.begin(), phase.shares.end(), 0.0);
    const bool negative =
        std::any_of(phase.shares.begin(), phase.shares.end(), [](double s) { return !(s >= 0.0); });
    if (phase.shares.size() != domains_.size() || negative || !(sum > 0.0 && sum < 1e300)) {
      problems.add(file, at + "/shares",
                   "allowed are " + std::to_string(domains_.size()) +
                       " numbers of at least 0, one of them above 0");
    }
    if (p > 0 && !(phase.start > phases_[p - 1].start)) {
      problems.add(file, at + "/start_s", "phases must start one after another");
    }
    if (!(phase.drift.value() >= 0.0) ||
        (p > 0 && phase.drift > phase.start - phases_[p - 1].start)) {
      problems.add(file, at + "/drift_s", "a drift lies within the phase before");
    }
  }
  for (std::size_t b = 0; b < bursts_.size(); ++b) {
    const DomainBurst& burst = bursts_[b];
    const std::string at = pointer + "/bursts/" + std::to_string(b);
    if (burst.domain >= domains_.size()) {
      problems.add(file, at + "/domain", "no such domain");
    }
    if (!(burst.share > 0.0 && burst.share <= 1.0)) {
      problems.add(file, at + "/share", number_text(burst.share) + " is out of range",
                   "allowed: above 0 to 1");
    }
    if (!(burst.length.value() > 0.0) ||
        (burst.period.value() != 0.0 && burst.period < burst.length)) {
      problems.add(file, at + "/length_s", "a burst ends before the next begins");
    }
  }
  problems.throw_if_any();
  for (const RoutingDomain& domain : domains_) {
    for (std::int32_t l = 0; l < layers_; ++l) {
      routings_.push_back(std::make_unique<const LayerRouting>(domain.spec, l));
    }
  }
}

std::vector<double> DomainRouting::shares_at(Seconds time) const {
  const auto normalised = [](std::vector<double> shares) {
    const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
    for (double& share : shares) {
      share /= sum;
    }
    return shares;
  };
  std::size_t phase = 0;
  while (phase + 1 < phases_.size() && phases_[phase + 1].start <= time) {
    ++phase;
  }
  std::vector<double> shares = normalised(phases_[phase].shares);
  if (phase + 1 < phases_.size()) {
    const DomainPhase& next = phases_[phase + 1];
    const Seconds before = next.start - time;
    if (before < next.drift) {
      const double done = 1.0 - before / next.drift;
      const std::vector<double> after = normalised(next.shares);
      for (std::size_t d = 0; d < shares.size(); ++d) {
        shares[d] += done * (after[d] - shares[d]);
      }
    }
  }
  for (const DomainBurst& burst : bursts_) {
    double since = (time - burst.first).value();
    if (since < 0.0) {
      continue;
    }
    if (burst.period.value() > 0.0) {
      since -= std::floor(since / burst.period.value()) * burst.period.value();
    }
    if (since < burst.length.value()) {
      for (double& share : shares) {
        share *= 1.0 - burst.share;
      }
      shares[burst.domain] += burst.share;
    }
  }
  return shares;
}

std::vector<double> DomainRouting::inclusion_at(std::int32_t layer, Seconds time) const {
  return inclusion_of(layer, shares_at(time));
}

std::vector<double> DomainRouting::inclusion_of(std::int32_t layer,
                                                std::span<const double> shares) const {
  std::vector<double> inclusion(static_cast<std::size_t>(domains_[0].spec.gate.experts), 0.0);
  for (std::size_t d = 0; d < shares.size(); ++d) {
    const std::span<const double> own = routing(d, layer).inclusion();
    for (std::size_t e = 0; e < inclusion.size(); ++e) {
      inclusion[e] += shares[d] * own[e];
    }
  }
  return inclusion;
}

Seconds DomainRouting::next_change(Seconds time) const {
  const double now = time.value();
  double next = std::numeric_limits<double>::infinity();
  const auto consider = [&](double at) {
    // Rounding must not make a change that has just happened the next one.
    if (at > now + 1e-9 * std::max(1.0, now)) {
      next = std::min(next, at);
    }
  };
  for (std::size_t p = 1; p < phases_.size(); ++p) {
    const double start = phases_[p].start.value();
    const double drift = phases_[p].drift.value();
    for (int step = 0; step < (drift > 0 ? kDriftSteps : 0); ++step) {
      consider(start - drift * (kDriftSteps - step) / kDriftSteps);
    }
    consider(start);
  }
  for (const DomainBurst& burst : bursts_) {
    const double first = burst.first.value();
    const double period = burst.period.value();
    const double length = burst.length.value();
    const double round = period > 0 ? std::max(0.0, std::floor((now - first) / period)) : 0.0;
    for (const double begin : {first + round * period, first + (round + 1) * period}) {
      consider(begin);
      consider(begin + length);
    }
  }
  return Seconds(next);
}

DomainRouting::Batch DomainRouting::draw_tokens(std::int32_t layer, std::int64_t tokens,
                                                Seconds time, std::uint64_t draw) const {
  const std::vector<double> shares = shares_at(time);
  const std::size_t k = static_cast<std::size_t>(domains_[0].spec.gate.top_k);
  Batch batch;
  RandomStream stream(domains_[0].spec.seed, "routing/domain", draw);
  std::vector<std::int64_t> of_domain(shares.size(), 0);
  for (std::int64_t t = 0; t < tokens; ++t) {
    double point = stream.uniform();
    std::size_t d = 0;
    while (d + 1 < shares.size() && point >= shares[d]) {
      point -= shares[d++];
    }
    batch.domains.push_back(static_cast<std::int32_t>(d));
    ++of_domain[d];
  }
  std::vector<std::vector<std::int16_t>> sets;
  for (std::size_t d = 0; d < shares.size(); ++d) {
    sets.push_back(routing(d, layer).draw_tokens(of_domain[d], draw));
  }
  std::vector<std::size_t> next(shares.size(), 0);
  batch.sets.resize(static_cast<std::size_t>(tokens) * k);
  for (std::size_t t = 0; t < batch.domains.size(); ++t) {
    const std::size_t d = static_cast<std::size_t>(batch.domains[t]);
    std::copy_n(&sets[d][next[d]], k, &batch.sets[t * k]);
    next[d] += k;
  }
  return batch;
}

}  // namespace moesim
