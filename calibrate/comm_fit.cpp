// SPDX-License-Identifier: Apache-2.0
#include "calibrate/comm_fit.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <tuple>

#include "calibrate/nonnegative_fit.h"

namespace moesim {
namespace {

constexpr std::size_t kMinShapes = 3;  // below that a kernel's work cannot be told from its bytes

/// "2.29.2" after "2.9": by the numbers in the text.
bool version_less(const std::string& a, const std::string& b) {
  const auto parts = [](const std::string& text) {
    std::vector<int> numbers;
    int value = -1;
    for (const char c : text) {
      if (c >= '0' && c <= '9') {
        value = std::max(value, 0) * 10 + (c - '0');
      } else if (value >= 0) {
        numbers.push_back(value);
        value = -1;
      }
    }
    if (value >= 0) {
      numbers.push_back(value);
    }
    return numbers;
  };
  return parts(a) < parts(b);
}

double safe_rate(double seconds_per_byte) { return 1.0 / std::max(seconds_per_byte, 1.0 / 9e14); }

struct Fit {
  std::vector<double> features;
  std::vector<double> measured;
  std::vector<double> known;
};

double ratio_or_one(BytesPerSecond a, BytesPerSecond b) {
  return a.value() > 0 && b.value() > 0 ? a / b : 1.0;
}

LowLatencyExchange& exchange_of(LowLatencyKernels& kernels, ExchangeDirection direction) {
  return direction == ExchangeDirection::dispatch ? kernels.dispatch : kernels.combine;
}
NormalExchange& exchange_of(NormalKernels& kernels, ExchangeDirection direction) {
  return direction == ExchangeDirection::dispatch ? kernels.dispatch : kernels.combine;
}

std::size_t shapes_of(const std::vector<const ExchangeSample*>& samples) {
  std::set<std::tuple<double, double, double>> shapes;
  for (const ExchangeSample* sample : samples) {
    shapes.insert({sample->size.hidden, sample->top_k, sample->size.demand.experts});
  }
  return shapes.size();
}

void record(Provenance& provenance, const std::vector<const ExchangeSample*>& samples,
            const ClusterProfile& profile, double device_sms, const std::string& source) {
  double sum = 0;
  for (const ExchangeSample* sample : samples) {
    sum += std::fabs(predicted_seconds(profile, *sample, device_sms) / measured_seconds(*sample) -
                     1.0);
  }
  provenance.origin = Origin::fitted;
  provenance.source = source;
  provenance.points = static_cast<std::int64_t>(samples.size());
  provenance.residual_fraction =
      samples.empty() ? 0.0 : std::round(1e5 * sum / static_cast<double>(samples.size())) / 1e5;
}

/// Multiprocessors of a low-latency kernel, recovered from the law: with one second a token on one
/// SM and nothing else the time is tokens / SMs.
double low_latency_sms(ExchangeSize size) {
  LowLatencyExchange probe;
  probe.nic_rate = probe.scale_up_rate = probe.one_node_rate = BytesPerSecond(1e300);
  probe.work = ExchangeWork{.sm_token_s = 1.0};
  size.is_one_node = true;
  return size.demand.tokens / exchange_time(probe, size).value();
}

void fit_low_latency(LowLatencyExchange& fit, const std::vector<const ExchangeSample*>& one_node,
                     const std::vector<const ExchangeSample*>& across, double device_sms,
                     FittedCluster& result) {
  if (shapes_of(one_node) >= kMinShapes) {
    Fit rows;
    for (const ExchangeSample* sample : one_node) {
      ExchangeSize size = sample->size;
      size.device_sms = device_sms;
      const double share = size.demand.tokens / low_latency_sms(size);
      const double copies = size.demand.local_selections + size.demand.remote_selections;
      const double bytes = copies * copy_bytes(size.hidden, size.format, fit.header).value();
      rows.features.insert(rows.features.end(), {1.0, size.hidden, size.demand.experts, bytes,
                                                 share, share * size.hidden});
      rows.measured.push_back(sample->seconds);
    }
    const std::vector<double> c = fit_nonnegative(rows.features, 6, rows.measured).coefficients;
    fit.one_node_alpha = fit.alpha = Seconds(c[0]);
    fit.one_node_rate = fit.scale_up_rate = BytesPerSecond(safe_rate(c[3]));
    fit.work = ExchangeWork{
        .element_s = c[1], .expert_s = c[2], .sm_token_s = c[4], .sm_token_element_s = c[5]};
    result.has_low_latency = true;
  }
  if (across.size() >= 8) {
    Fit rows;
    std::set<std::int64_t> sizes;
    for (const ExchangeSample* sample : across) {
      sizes.insert(sample->ranks());
    }
    LowLatencyExchange local = fit;
    local.alpha_net = Seconds(0);
    local.remote_expert_s = 0;
    local.nic_rate = local.scale_up_rate = BytesPerSecond(1e300);
    for (const ExchangeSample* sample : across) {
      ExchangeSize size = sample->size;
      size.device_sms = device_sms;
      const double remote_experts =
          size.demand.experts * (1.0 - size.domain_ranks / static_cast<double>(size.demand.ranks));
      // One size alone cannot tell the fixed part from what grows: all of it is then flags.
      rows.features.insert(rows.features.end(),
                           {sizes.size() > 1 ? 1.0 : 0.0, remote_experts,
                            size.demand.remote_selections *
                                copy_bytes(size.hidden, size.format, fit.header).value()});
      rows.measured.push_back(sample->seconds);
      rows.known.push_back(exchange_time(local, size).value());
    }
    const std::vector<double> c =
        fit_nonnegative(rows.features, 3, rows.measured, 8, rows.known).coefficients;
    fit.alpha_net = Seconds(c[0]);
    fit.remote_expert_s = c[1];
    fit.nic_rate = BytesPerSecond(safe_rate(c[2]));
    result.has_network = true;
  }
}

void fit_normal(NormalExchange& fit, const std::vector<const ExchangeSample*>& one_node,
                const std::vector<const ExchangeSample*>& across, BytesPerSecond nic,
                FittedCluster& result) {
  fit.header = Bytes(0);
  if (shapes_of(one_node) >= kMinShapes) {
    Fit rows;
    for (const ExchangeSample* sample : one_node) {
      const ExchangeSize& size = sample->size;
      const double share = size.demand.tokens / size.kernel_sms;
      const double copies = size.demand.rank_copies;
      const double bytes = copies * copy_bytes(size.hidden, size.format, fit.header).value();
      rows.features.insert(rows.features.end(),
                           {1.0, size.hidden, size.demand.tokens, bytes, share, share * size.hidden,
                            copies / size.kernel_sms, copies * size.hidden / size.kernel_sms});
      rows.measured.push_back(sample->seconds);
    }
    const std::vector<double> c = fit_nonnegative(rows.features, 8, rows.measured).coefficients;
    fit.one_node_alpha = Seconds(c[0]);
    fit.one_node_rate = BytesPerSecond(safe_rate(c[3]));
    fit.one_node_per_sm_rate.reset();
    fit.one_node_work = ExchangeWork{.element_s = c[1],
                                     .expert_s = 0,
                                     .token_s = c[2],
                                     .sm_token_s = c[4],
                                     .sm_token_element_s = c[5],
                                     .sm_copy_s = c[6],
                                     .sm_copy_element_s = c[7]};
    result.has_normal = true;
  }
  if (across.size() >= 8) {
    fit.nic_rate = nic;
    // A row counts for the branch that binds it: what the SMs do, or the network. Two rounds
    // settle.
    std::vector<bool> is_network(across.size(), false);
    for (int round = 0; round < 3; ++round) {
      Fit rows;
      std::vector<double> notifies;
      for (std::size_t i = 0; i < across.size(); ++i) {
        const ExchangeSize& size = across[i]->size;
        const Bytes copy = copy_bytes(size.hidden, size.format, fit.header);
        const double copies = size.demand.rank_copies;
        const double on = is_network[i] ? 0.0 : 1.0;
        rows.features.insert(rows.features.end(), {1.0, on * copies * copy.value(),
                                                   on * copies * size.hidden / size.kernel_sms});
        rows.measured.push_back(measured_seconds(*across[i]));
        rows.known.push_back(is_network[i] ? (copy * size.demand.node_copies / fit.nic_rate).value()
                                           : 0.0);
        notifies.push_back(across[i]->notify_seconds);
      }
      std::nth_element(notifies.begin(),
                       notifies.begin() + static_cast<std::ptrdiff_t>(notifies.size() / 2),
                       notifies.end());
      const std::vector<double> c =
          fit_nonnegative(rows.features, 3, rows.measured, 8, rows.known).coefficients;
      fit.notify = Seconds(std::min(c[0], notifies[notifies.size() / 2]));
      fit.alpha = Seconds(c[0]) - fit.notify;
      fit.scale_up_rate = BytesPerSecond(safe_rate(c[1]));
      fit.per_sm_rate.reset();
      fit.work = ExchangeWork{.sm_copy_element_s = c[2]};
      for (std::size_t i = 0; i < across.size(); ++i) {
        const ExchangeSize& size = across[i]->size;
        const Bytes copy = copy_bytes(size.hidden, size.format, fit.header);
        const double network = (copy * size.demand.node_copies / fit.nic_rate).value();
        is_network[i] = network > exchange_time(fit, size).value() - fit.alpha.value() - 1e-12;
      }
    }
    result.has_normal_network = true;
  }
}

}  // namespace

FittedCluster fit_cluster(const ClusterProfile& base, const MachineSamples& samples,
                          double device_sms, const std::string& source) {
  FittedCluster result;
  result.profile = base;
  ClusterProfile& profile = result.profile;

  // Collectives: newest version of each library and variant of custom kernels.
  profile.collective_laws.clear();
  for (const CollectiveLibrary library : {CollectiveLibrary::nccl, CollectiveLibrary::custom}) {
    for (const Choice<CollectiveOp>& op : choices_of(CollectiveOp{})) {
      std::vector<const CollectiveSample*> chosen;
      for (const CollectiveSample* sample : samples.collectives) {
        if (sample->library == library && sample->op == op.value &&
            (library == CollectiveLibrary::nccl || sample->variant == "vLLM_custom_graph")) {
          if (!chosen.empty() && version_less(chosen.front()->software, sample->software)) {
            chosen.clear();
          }
          if (chosen.empty() || !version_less(sample->software, chosen.front()->software)) {
            chosen.push_back(sample);
          }
        }
      }
      if (chosen.empty()) {
        continue;
      }
      if (std::optional<CollectiveLaw> law = fit_collective_law(chosen)) {
        law->source = source;
        law->residual_fraction = std::round(1e5 * *law->residual_fraction) / 1e5;
        profile.collective_laws.push_back(std::move(*law));
        std::erase_if(profile.collectives, [&](const CollectiveFit& line) {
          return line.op == op.value && line.library == library &&
                 line.scope == CollectiveScope::scale_up;
        });
      }
    }
  }

  if (samples.exchanges.empty()) {
    return result;
  }
  ExpertKernels kernels = base.expert_kernels.value_or(ExpertKernels{});
  if (!base.expert_kernels) {
    kernels.normal.sms = 20;
    kernels.low_latency.dispatch.header = Bytes(16);
  }
  const auto select = [&](bool is_low_latency, ExchangeDirection direction, bool one_node) {
    std::vector<const ExchangeSample*> chosen;
    for (const ExchangeSample* sample : samples.exchanges) {
      if (sample->is_low_latency == is_low_latency && sample->direction == direction &&
          sample->is_one_node() == one_node && !sample->is_slow_fabric) {
        chosen.push_back(sample);
      }
    }
    return chosen;
  };
  for (const ExchangeDirection direction :
       {ExchangeDirection::dispatch, ExchangeDirection::combine}) {
    LowLatencyExchange& low_latency = exchange_of(kernels.low_latency, direction);
    const auto ll_node = select(true, direction, true), ll_across = select(true, direction, false);
    fit_low_latency(low_latency, ll_node, ll_across, device_sms, result);
    NormalExchange& normal = exchange_of(kernels.normal, direction);
    const auto node = select(false, direction, true), across = select(false, direction, false);
    fit_normal(normal, node, across, low_latency.nic_rate, result);
    profile.expert_kernels = kernels;
    std::vector<const ExchangeSample*> both = ll_node;
    both.insert(both.end(), ll_across.begin(), ll_across.end());
    if (!both.empty()) {
      record(exchange_of(profile.expert_kernels->low_latency, direction), both, profile, device_sms,
             source);
    }
    both = node;
    both.insert(both.end(), across.begin(), across.end());
    if (!both.empty()) {
      record(exchange_of(profile.expert_kernels->normal, direction), both, profile, device_sms,
             source);
    }
    kernels = *profile.expert_kernels;
  }
  return result;
}

ClusterProfile transfer_cluster(const ClusterProfile& base, const ClusterProfile& donor) {
  ClusterProfile result = base;
  const NodeGroup& to = base.node_groups.front();
  const NodeGroup& from = donor.node_groups.front();
  const double links = ratio_or_one(to.scale_up.rate.value, from.scale_up.rate.value);
  const double nics = ratio_or_one(to.nics.rate.value * static_cast<double>(to.nics.per_node) /
                                       static_cast<double>(to.gpus_per_node),
                                   from.nics.rate.value * static_cast<double>(from.nics.per_node) /
                                       static_cast<double>(from.gpus_per_node));
  const std::string source = "fit of " + donor.id + ", seconds a byte scaled by " +
                             number_text(links) + " (scale-up) and " + number_text(nics) +
                             " (network) times the line rate";
  result.collective_laws.clear();
  for (const CollectiveLaw& law : donor.collective_laws) {
    CollectiveLaw copy = transferred(law, links);
    copy.source = source;
    copy.points.reset();
    copy.residual_fraction.reset();
    std::erase_if(result.collectives, [&](const CollectiveFit& line) {
      return line.op == copy.op && line.library == copy.library &&
             line.scope == CollectiveScope::scale_up;
    });
    result.collective_laws.push_back(std::move(copy));
  }
  if (!donor.expert_kernels) {
    return result;
  }
  ExpertKernels kernels = *donor.expert_kernels;
  for (LowLatencyExchange* fit : {&kernels.low_latency.dispatch, &kernels.low_latency.combine}) {
    static_cast<Provenance&>(*fit) = {Origin::transferred, source, {}, {}};
    fit->nic_rate *= nics;
    fit->scale_up_rate *= links;
    fit->one_node_rate *= links;
  }
  for (NormalExchange* fit : {&kernels.normal.dispatch, &kernels.normal.combine}) {
    static_cast<Provenance&>(*fit) = {Origin::transferred, source, {}, {}};
    fit->nic_rate *= nics;
    fit->scale_up_rate *= links;
    fit->one_node_rate *= links;
  }
  result.expert_kernels = kernels;
  return result;
}

double measured_seconds(const ExchangeSample& sample) {
  return sample.seconds + sample.notify_seconds;
}

double predicted_seconds(const ClusterProfile& profile, const ExchangeSample& sample,
                         double device_sms, double oversubscription) {
  MOESIM_CHECK(profile.expert_kernels.has_value(), "only machines with kernels are predicted");
  ExchangeSize size = sample.size;
  size.device_sms = device_sms;
  const bool is_dispatch = sample.direction == ExchangeDirection::dispatch;
  if (sample.is_low_latency) {
    const LowLatencyKernels& kernels = profile.expert_kernels->low_latency;
    LowLatencyExchange fit = is_dispatch ? kernels.dispatch : kernels.combine;
    fit.nic_rate *= 1.0 / oversubscription;
    return exchange_time(fit, size).value();
  }
  const NormalKernels& kernels = profile.expert_kernels->normal;
  NormalExchange fit = is_dispatch ? kernels.dispatch : kernels.combine;
  fit.nic_rate *= 1.0 / oversubscription;
  const bool has_notify = sample.notify_seconds > 0;
  return exchange_time(fit, size).value() + (has_notify ? fit.notify.value() : 0.0);
}

double fit_oversubscription(const ClusterProfile& profile,
                            const std::vector<const ExchangeSample*>& samples, double device_sms) {
  double best = 1;
  double least = 1e300;
  for (int step = 0; step <= 700; ++step) {
    const double factor = (100.0 + step) / 100.0;
    double sum = 0;
    for (const ExchangeSample* sample : samples) {
      sum += std::fabs(predicted_seconds(profile, *sample, device_sms, factor) /
                           measured_seconds(*sample) -
                       1.0);
    }
    if (sum < least) {
      least = sum;
      best = factor;
    }
  }
  return best;
}

}  // namespace moesim
