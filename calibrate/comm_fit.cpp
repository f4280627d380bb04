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

constexpr std::size_t kMinAcross = 4;  // rows across nodes, for three constants
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

/// `donor` times two factors, from samples of few shapes.
LowLatencyExchange anchored(const LowLatencyExchange& donor,
                            const std::vector<const ExchangeSample*>& one_node, double device_sms) {
  Fit rows;
  for (const ExchangeSample* sample : one_node) {
    ExchangeSize size = sample->size;
    size.device_sms = device_sms;
    ExchangeSize empty = size;
    empty.demand.tokens = empty.demand.local_selections = empty.demand.remote_selections = 0;
    const double start = exchange_time(donor, empty).value();
    rows.features.insert(rows.features.end(), {start, exchange_time(donor, size).value() - start});
    rows.measured.push_back(sample->seconds);
  }
  const std::vector<double> factors = fit_nonnegative(rows.features, 2, rows.measured).coefficients;
  LowLatencyExchange fit = donor;
  fit.one_node_alpha *= factors[0];
  fit.alpha *= factors[0];
  for (BytesPerSecond* rate : {&fit.one_node_rate, &fit.scale_up_rate}) {
    *rate *= 1.0 / std::max(factors[1], 1e-3);
  }
  if (fit.work) {
    fit.work->element_s *= factors[0];
    fit.work->expert_s *= factors[0];
    for (double* cost : {&fit.work->token_s, &fit.work->sm_token_s, &fit.work->sm_token_element_s,
                         &fit.work->sm_copy_s, &fit.work->sm_copy_element_s}) {
      *cost *= factors[1];
    }
  }
  return fit;
}

void fit_low_latency(LowLatencyExchange& fit, const std::vector<const ExchangeSample*>& one_node,
                     const std::vector<const ExchangeSample*>& across, double device_sms,
                     const LowLatencyExchange* donor, FittedCluster& result) {
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
  } else if (donor != nullptr) {
    const LowLatencyExchange own = fit;
    fit = one_node.empty() ? *donor : anchored(*donor, one_node, device_sms);
    fit.nic_rate = own.nic_rate;
    result.has_low_latency = true;
  }
  if (across.size() >= kMinAcross) {
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

/// The part of `kernels` that a sample timed, made where there was none.
NvlinkExchange& part_of(NvlinkKernels& kernels, NvlinkPart part) {
  switch (part) {
    case NvlinkPart::prepare:
      return kernels.prepare ? *kernels.prepare : kernels.prepare.emplace();
    case NvlinkPart::combine_low_precision:
      return kernels.combine_low_precision ? *kernels.combine_low_precision
                                           : kernels.combine_low_precision.emplace();
    case NvlinkPart::combine:
      return kernels.combine;
    case NvlinkPart::dispatch:
      break;
  }
  return kernels.dispatch;
}

void fit_nvlink(ExpertKernels& kernels, const std::vector<const NvlinkSample*>& samples,
                const std::string& source) {
  for (const bool is_one_sided : {true, false}) {
    std::optional<NvlinkKernels>& target =
        is_one_sided ? kernels.nvlink_one_sided : kernels.nvlink_two_sided;
    target.reset();
    std::set<NvlinkPart> parts;
    for (const NvlinkSample* sample : samples) {
      if (sample->is_one_sided == is_one_sided) {
        parts.insert(sample->part);
      }
    }
    if (parts.count(NvlinkPart::dispatch) == 0 || parts.count(NvlinkPart::combine) == 0) {
      continue;
    }
    target.emplace().software = "TensorRT-LLM";
    for (const NvlinkPart part : parts) {
      Fit rows;
      std::vector<const NvlinkSample*> chosen;
      // Indices are a few bytes a selection: seconds a copy then stand for seconds a byte.
      const Bytes header(part == NvlinkPart::prepare ? 8.0 : 0.0);
      for (const NvlinkSample* sample : samples) {
        if (sample->is_one_sided != is_one_sided || sample->part != part) {
          continue;
        }
        const ExchangeDemand& demand = sample->size.demand;
        const double ranks = static_cast<double>(demand.ranks);
        const double copy = copy_bytes(sample->size.hidden, sample->size.format, header).value();
        rows.features.insert(rows.features.end(),
                             {1.0, ranks, demand.tokens, demand.tokens * copy,
                              copy * demand.rank_copies * (ranks - 1.0) / ranks});
        rows.measured.push_back(sample->seconds);
        chosen.push_back(sample);
      }
      const std::vector<double> c = fit_nonnegative(rows.features, 5, rows.measured).coefficients;
      NvlinkExchange& fit = part_of(*target, part);
      fit.alpha = Seconds(c[0]);
      fit.rank_s = c[1];
      fit.token_s = c[2];
      fit.own_s_per_byte = c[3];
      fit.rate = BytesPerSecond(safe_rate(c[4]));
      fit.header = header;
      double sum = 0;
      for (const NvlinkSample* sample : chosen) {
        sum += std::fabs(exchange_time(fit, sample->size).value() / sample->seconds - 1.0);
      }
      fit.origin = Origin::fitted;
      fit.source = source;
      fit.points = static_cast<std::int64_t>(chosen.size());
      fit.residual_fraction = std::round(1e5 * sum / static_cast<double>(chosen.size())) / 1e5;
    }
  }
}

}  // namespace

FittedCluster fit_cluster(const ClusterProfile& base, const MachineSamples& samples,
                          double device_sms, const std::string& source,
                          const ExpertKernels* donor) {
  FittedCluster result;
  result.profile = base;
  ClusterProfile& profile = result.profile;

  // Collectives: newest version of each library; kernels in graphs, not launched one by one.
  profile.collective_laws.clear();
  for (const CollectiveLibrary library : {CollectiveLibrary::nccl, CollectiveLibrary::vllm,
                                          CollectiveLibrary::sglang, CollectiveLibrary::trtllm}) {
    for (const Choice<CollectiveOp>& op : choices_of(CollectiveOp{})) {
      std::vector<const CollectiveSample*> chosen;
      for (const CollectiveSample* sample : samples.collectives) {
        if (sample->library == library && sample->op == op.value && !sample->is_eager()) {
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

  if (!samples.nvlink.empty() && profile.expert_kernels) {
    fit_nvlink(*profile.expert_kernels, samples.nvlink, source);
  }
  if (samples.exchanges.empty()) {
    return result;
  }
  ExpertKernels kernels = profile.expert_kernels.value_or(ExpertKernels{});
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
    const LowLatencyExchange* like = donor == nullptr ? nullptr
                                     : direction == ExchangeDirection::dispatch
                                         ? &donor->low_latency.dispatch
                                         : &donor->low_latency.combine;
    fit_low_latency(low_latency, ll_node, ll_across, device_sms, like, result);
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

}  // namespace moesim
