// SPDX-License-Identifier: Apache-2.0
#include "sim/cluster/collective.h"

#include <algorithm>
#include <memory>

namespace moesim {
namespace {

/// Bytes that one rank puts on its wire, per direction.
Bytes wire_bytes(CollectiveOp op, double ranks, Bytes buffer) {
  switch (op) {
    case CollectiveOp::point_to_point:
      return buffer;
    case CollectiveOp::all_reduce:
      return buffer * (2.0 * (ranks - 1.0) / ranks);
    default:
      return buffer * ((ranks - 1.0) / ranks);
  }
}

}  // namespace

Bytes copy_bytes(double hidden, NumberFormat format, Bytes header) {
  double bytes = hidden * bytes_per_element(format);
  if (format == NumberFormat::fp8_block) {
    bytes +=
        hidden / 128.0 * 4.0;  // activations are scaled per token and 128 elements, unlike weights
  }
  return Bytes(bytes) + header;
}

CollectiveModel::CollectiveModel(const ClusterProfile& cluster, std::int64_t sm_count,
                                 std::int64_t communication_sms)
    : cluster_(std::make_shared<const ClusterProfile>(cluster)),
      domain_gpus_(std::max<std::int64_t>(1, cluster.node_groups.front().scale_up.domain_gpus)),
      sm_count_(static_cast<double>(std::max<std::int64_t>(1, sm_count))) {
  if (communication_sms >= 0) {
    communication_sms_ = static_cast<double>(communication_sms);
  } else if (cluster.expert_kernels) {
    communication_sms_ = static_cast<double>(cluster.expert_kernels->normal.sms);
  }
}

ExchangeKernel CollectiveModel::available(ExchangeKernel wanted) const {
  return cluster_->expert_kernels ? wanted : ExchangeKernel::pairwise;
}

ExchangeCost CollectiveModel::exchange(ExchangeKernel kernel, ExchangeDirection direction,
                                       const ExchangeDemand& demand, double hidden,
                                       NumberFormat format) const {
  const double copies =
      demand.remote_selections + demand.local_selections + demand.node_copies + demand.rank_copies;
  if (demand.ranks <= 1 || copies <= 0) {
    return {};
  }
  const bool one_domain = demand.ranks <= domain_gpus_;
  const bool is_dispatch = direction == ExchangeDirection::dispatch;
  switch (available(kernel)) {
    case ExchangeKernel::low_latency: {
      const LowLatencyKernels& kernels = cluster_->expert_kernels->low_latency;
      const LowLatencyExchange& fit = is_dispatch ? kernels.dispatch : kernels.combine;
      const Bytes copy = copy_bytes(hidden, format, fit.header);
      if (one_domain) {
        return {fit.one_node_alpha +
                    copy * (demand.local_selections + demand.remote_selections) / fit.one_node_rate,
                0.0};
      }
      return {fit.alpha + fit.alpha_net +
                  std::max(copy * demand.remote_selections / fit.nic_rate,
                           copy * demand.local_selections / fit.scale_up_rate),
              0.0};
    }
    case ExchangeKernel::normal: {
      const NormalKernels& kernels = cluster_->expert_kernels->normal;
      const NormalExchange& fit = is_dispatch ? kernels.dispatch : kernels.combine;
      const Bytes copy = copy_bytes(hidden, format, fit.header);
      const double sms = std::max(1.0, communication_sms_);
      const double sm_fraction = std::min(0.9, communication_sms_ / sm_count_);
      if (one_domain) {
        const BytesPerSecond rate = std::min(fit.one_node_rate, fit.one_node_per_sm_rate * sms);
        return {fit.one_node_alpha + fit.notify + copy * demand.rank_copies / rate, sm_fraction};
      }
      const BytesPerSecond scale_up = std::min(fit.scale_up_rate, fit.per_sm_rate * sms);
      return {fit.alpha + fit.notify +
                  std::max(copy * demand.node_copies / fit.nic_rate,
                           copy * demand.rank_copies / scale_up),
              sm_fraction};
    }
    case ExchangeKernel::pairwise: {
      // Plain all-to-all of the framework: one copy per selection; the NIC and the scale-up network
      // run at the same time.
      const NodeGroup& node = cluster_->node_groups.front();
      const Bytes copy = copy_bytes(hidden, format, Bytes(0));
      const BytesPerSecond scale_up =
          node.scale_up.achieved ? node.scale_up.achieved->value : node.scale_up.rate.value;
      Seconds time = node.scale_up.latency.value + copy * demand.local_selections / scale_up;
      if (!one_domain && node.nics.per_node > 0) {
        const BytesPerSecond nic =
            (node.nics.achieved ? node.nics.achieved->value : node.nics.rate.value) *
            (static_cast<double>(node.nics.per_node) / static_cast<double>(node.gpus_per_node));
        time = std::max(time, node.nics.latency.value + copy * demand.remote_selections / nic);
      }
      return {time, 0.0};
    }
  }
  return {};
}

Seconds CollectiveModel::within_domain(CollectiveOp op, std::int64_t ranks, Bytes buffer) const {
  const Bytes wire = wire_bytes(op, static_cast<double>(ranks), buffer);
  Seconds best(0);
  bool found = false;
  for (const CollectiveLibrary library : {CollectiveLibrary::nccl, CollectiveLibrary::custom}) {
    if (const CollectiveFit* fit =
            cluster_->collective(op, CollectiveScope::scale_up, library, ranks)) {
      const Seconds time = fit->alpha + wire / fit->rate;
      best = found ? std::min(best, time) : time;
      found = true;
    }
  }
  if (!found) {
    const ScaleUp& scale_up = cluster_->node_groups.front().scale_up;
    const double steps = op == CollectiveOp::all_reduce ? 2.0 : 1.0;
    best = scale_up.latency.value * steps +
           wire / (scale_up.achieved ? scale_up.achieved->value : scale_up.rate.value);
  }
  return best;
}

Seconds CollectiveModel::collective(CollectiveOp op, std::int64_t ranks, Bytes buffer) const {
  if (ranks <= 1) {
    return Seconds(0);
  }
  if (ranks <= domain_gpus_) {
    return within_domain(op, ranks, buffer);
  }
  // Hierarchical: inside each domain first, then each GPU exchanges its share with its peers over
  // its own NIC.
  const NodeGroup& node = cluster_->node_groups.front();
  const double domains = static_cast<double>(ranks) / static_cast<double>(domain_gpus_);
  const Bytes share = buffer / static_cast<double>(domain_gpus_);
  BytesPerSecond nic = node.nics.achieved ? node.nics.achieved->value : node.nics.rate.value;
  if (node.nics.per_node > 0) {
    nic *= static_cast<double>(node.nics.per_node) / static_cast<double>(node.gpus_per_node);
  }
  const double steps = op == CollectiveOp::all_reduce ? 2.0 : 1.0;
  return within_domain(op, domain_gpus_, buffer) + node.nics.latency.value * steps +
         wire_bytes(op, domains, op == CollectiveOp::point_to_point ? buffer : share) / nic;
}

}  // namespace moesim
