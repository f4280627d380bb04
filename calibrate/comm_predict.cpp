// SPDX-License-Identifier: Apache-2.0
// Constants moved to another machine, and what a profile predicts for a sample.
#include <algorithm>
#include <cmath>

#include "calibrate/comm_fit.h"

namespace moesim {
namespace {

double ratio_or_one(BytesPerSecond a, BytesPerSecond b) {
  return a.value() > 0 && b.value() > 0 ? a / b : 1.0;
}

}  // namespace

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
  for (std::optional<NvlinkKernels>* some :
       {&kernels.nvlink_one_sided, &kernels.nvlink_two_sided}) {
    if (*some) {
      std::vector<NvlinkExchange*> fits = {&(*some)->dispatch, &(*some)->combine};
      for (std::optional<NvlinkExchange>* part :
           {&(*some)->prepare, &(*some)->combine_low_precision}) {
        if (*part) {
          fits.push_back(&**part);
        }
      }
      for (NvlinkExchange* fit : fits) {
        static_cast<Provenance&>(*fit) = {Origin::transferred, source, {}, {}};
        fit->rate *= links;
      }
    }
  }
  result.expert_kernels = kernels;
  return result;
}

std::optional<double> predicted_seconds(const ClusterProfile& profile, const NvlinkSample& sample) {
  if (!profile.expert_kernels) {
    return std::nullopt;
  }
  const std::optional<NvlinkKernels>& kernels = sample.is_one_sided
                                                    ? profile.expert_kernels->nvlink_one_sided
                                                    : profile.expert_kernels->nvlink_two_sided;
  if (!kernels) {
    return std::nullopt;
  }
  const std::optional<NvlinkExchange> fit =
      sample.part == NvlinkPart::prepare    ? kernels->prepare
      : sample.part == NvlinkPart::dispatch ? std::optional(kernels->dispatch)
      : sample.part == NvlinkPart::combine  ? std::optional(kernels->combine)
                                            : kernels->combine_low_precision;
  return fit ? std::optional(exchange_time(*fit, sample.size).value()) : std::nullopt;
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
