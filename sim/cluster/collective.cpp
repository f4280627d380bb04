// SPDX-License-Identifier: Apache-2.0
#include "sim/cluster/collective.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "sim/base/error.h"

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

double work_seconds(const std::optional<ExchangeWork>& work, const ExchangeSize& size,
                    double copies, double sms) {
  if (!work) {
    return 0;
  }
  const double tokens = size.demand.tokens;
  const double on_sms = tokens * (work->sm_token_s + size.hidden * work->sm_token_element_s) +
                        copies * (work->sm_copy_s + size.hidden * work->sm_copy_element_s);
  return size.hidden * work->element_s + size.demand.experts * work->expert_s +
         tokens * work->token_s + on_sms / std::max(1.0, sms);
}

/// Multiprocessors of a low-latency kernel: groups of warps share out the experts evenly (DeepEP,
/// csrc/kernels/internode_ll.cu: warp groups = ceil(experts / SMs), SMs = ceil(experts / groups)).
double low_latency_sms(double experts, double device_sms) {
  const double groups = std::max(1.0, std::ceil(experts / std::max(1.0, device_sms)));
  return std::max(1.0, std::ceil(experts / groups));
}

}  // namespace

double steps_of(StepPattern pattern, double ranks) {
  return pattern == StepPattern::in_switch && ranks >= 4 ? 0.5 * (ranks + 1.0) : ranks - 1.0;
}

Seconds law_time(const CollectiveLaw& law, double ranks, Bytes buffer) {
  const Bytes peer = buffer / ranks;
  const CollectiveProtocol* protocol = &law.protocols.front();
  for (const CollectiveProtocol& next : law.protocols) {
    if (next.from > peer) {
      break;
    }
    protocol = &next;
  }
  const double steps = steps_of(protocol->steps, ranks);
  return protocol->start + protocol->step * steps +
         Seconds(peer.value() * (protocol->own_s_per_byte + steps * protocol->wire_s_per_byte));
}

Seconds exchange_time(const LowLatencyExchange& fit, const ExchangeSize& size) {
  const ExchangeDemand& demand = size.demand;
  const Bytes copy = copy_bytes(size.hidden, size.format, fit.header);
  const double copies = demand.local_selections + demand.remote_selections;
  const Seconds work(
      work_seconds(fit.work, size, copies, low_latency_sms(demand.experts, size.device_sms)));
  if (size.is_one_node) {
    return fit.one_node_alpha + copy * copies / fit.one_node_rate + work;
  }
  const double remote_experts =
      demand.experts * (1.0 - size.domain_ranks / static_cast<double>(demand.ranks));
  // One copy is one message (RDMA write): small ones are bound by the messages a card can send.
  const Seconds messages(size.messages_per_s > 0 ? demand.remote_selections / size.messages_per_s
                                                 : 0.0);
  return fit.alpha + fit.alpha_net + Seconds(remote_experts * fit.remote_expert_s) +
         std::max({copy * demand.remote_selections / fit.nic_rate, messages,
                   copy * demand.local_selections / fit.scale_up_rate}) +
         work;
}

Seconds exchange_time(const NormalExchange& fit, const ExchangeSize& size) {
  const ExchangeDemand& demand = size.demand;
  const Bytes copy = copy_bytes(size.hidden, size.format, fit.header);
  const double sms = std::max(1.0, size.kernel_sms);
  const auto limited = [sms](BytesPerSecond rate, const std::optional<BytesPerSecond>& per_sm) {
    return per_sm ? std::min(rate, *per_sm * sms) : rate;
  };
  if (size.is_one_node) {
    return fit.one_node_alpha +
           copy * demand.rank_copies / limited(fit.one_node_rate, fit.one_node_per_sm_rate) +
           Seconds(work_seconds(fit.one_node_work, size, demand.rank_copies, sms));
  }
  // What SMs do for the copies runs beside the network; the slower of both decides.
  const Seconds scale_up = copy * demand.rank_copies / limited(fit.scale_up_rate, fit.per_sm_rate) +
                           Seconds(work_seconds(fit.work, size, demand.rank_copies, sms));
  return fit.alpha + std::max(copy * demand.node_copies / fit.nic_rate, scale_up);
}

Seconds exchange_time(const NvlinkExchange& fit, const ExchangeSize& size) {
  const ExchangeDemand& demand = size.demand;
  const Bytes copy = copy_bytes(size.hidden, size.format, fit.header);
  const double ranks = static_cast<double>(demand.ranks);
  return fit.alpha + Seconds(ranks * fit.rank_s) + Seconds(demand.tokens * fit.token_s) +
         Seconds(demand.tokens * copy.value() * fit.own_s_per_byte) +
         copy * (demand.rank_copies * (ranks - 1.0) / ranks) / fit.rate;
}

Bytes copy_bytes(double hidden, NumberFormat format, Bytes header) {
  double bytes = hidden * bytes_per_element(format);
  if (format == NumberFormat::fp8_block) {
    bytes +=
        hidden / 128.0 * 4.0;  // activations are scaled per token and 128 elements, unlike weights
  }
  return Bytes(bytes) + header;
}

CollectiveModel::CollectiveModel(const ClusterProfile& cluster, std::int64_t sm_count,
                                 std::int64_t communication_sms, CollectiveLibrary framework)
    : cluster_(std::make_shared<const ClusterProfile>(cluster)),
      domain_gpus_(std::max<std::int64_t>(1, cluster.node_groups.front().scale_up.domain_gpus)),
      sm_count_(static_cast<double>(std::max<std::int64_t>(1, sm_count))),
      framework_(framework) {
  if (communication_sms >= 0) {
    communication_sms_ = static_cast<double>(communication_sms);
  } else if (cluster.expert_kernels) {
    communication_sms_ = static_cast<double>(cluster.expert_kernels->normal.sms);
  }
}

CollectiveModel CollectiveModel::with_profile(const ClusterProfile& profile) const {
  CollectiveModel copy = *this;
  copy.cluster_ = std::make_shared<const ClusterProfile>(profile);
  return copy;
}

ExchangeSize CollectiveModel::size_of(const ExchangeDemand& demand, double hidden,
                                      NumberFormat format) const {
  ExchangeSize size = {
      demand, hidden, format, sm_count_, communication_sms_, demand.ranks <= domain_gpus_};
  size.domain_ranks = static_cast<double>(std::min(demand.ranks, domain_gpus_));
  const NodeGroup& node = cluster_->node_groups.front();
  if (node.nics.messages_per_s) {
    size.messages_per_s = node.nics.messages_per_s->value *
                          static_cast<double>(node.nics.per_node) /
                          static_cast<double>(node.gpus_per_node);
  }
  return size;
}

ExchangeKernel CollectiveModel::available(ExchangeKernel wanted) const {
  if (!cluster_->expert_kernels) {
    return ExchangeKernel::pairwise;
  }
  return wanted;
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
  const ExchangeSize size = size_of(demand, hidden, format);
  switch (available(kernel)) {
    case ExchangeKernel::low_latency: {
      const LowLatencyKernels& kernels = cluster_->expert_kernels->low_latency;
      return {exchange_time(is_dispatch ? kernels.dispatch : kernels.combine, size), 0.0};
    }
    case ExchangeKernel::normal: {
      const NormalKernels& kernels = cluster_->expert_kernels->normal;
      const NormalExchange& fit = is_dispatch ? kernels.dispatch : kernels.combine;
      return {fit.notify + exchange_time(fit, size), std::min(0.9, communication_sms_ / sm_count_)};
    }
    case ExchangeKernel::nvlink_one_sided:
    case ExchangeKernel::nvlink_two_sided: {
      const std::optional<NvlinkKernels>& kernels =
          kernel == ExchangeKernel::nvlink_one_sided ? cluster_->expert_kernels->nvlink_one_sided
                                                     : cluster_->expert_kernels->nvlink_two_sided;
      MOESIM_CHECK(kernels.has_value(), "a scenario may only ask for kernels that there are");
      const bool is_short = format == NumberFormat::nvfp4 || format == NumberFormat::mxfp4;
      const NvlinkExchange& combine = is_short && kernels->combine_low_precision
                                          ? *kernels->combine_low_precision
                                          : kernels->combine;
      Seconds time = exchange_time(is_dispatch ? kernels->dispatch : combine, size);
      if (is_dispatch && kernels->prepare) {
        ExchangeSize indices = size;  // a choice of rank and slot for each selection
        indices.hidden = 0;
        time += exchange_time(*kernels->prepare, indices);
      }
      return {time, 0.0};
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
  for (const CollectiveLibrary library :
       {CollectiveLibrary::nccl, framework_, CollectiveLibrary::custom}) {
    if (const CollectiveLaw* law = cluster_->law(op, CollectiveScope::scale_up, library)) {
      const Seconds time = law_time(*law, static_cast<double>(ranks), buffer);
      best = found ? std::min(best, time) : time;
      found = true;
    } else if (const CollectiveFit* fit =
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

CollectiveLibrary framework_of(const std::string& software) {
  for (const auto& [name, library] : {std::pair{"sglang", CollectiveLibrary::sglang},
                                      std::pair{"trtllm", CollectiveLibrary::trtllm}}) {
    if (software.starts_with(name)) {
      return library;
    }
  }
  return CollectiveLibrary::vllm;
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
  // A ring moves least and takes domains - 1 steps each way; a pair of trees takes their depth, so
  // NCCL prefers them for small sums (Sanders, Speck & Traeff 2009).
  const double rounds = op == CollectiveOp::all_reduce ? 2.0 : 1.0;
  const Bytes wire = wire_bytes(op, domains, op == CollectiveOp::point_to_point ? buffer : share);
  const Seconds hop = node.nics.latency.value;
  Seconds between =
      hop * (op == CollectiveOp::point_to_point ? 1.0 : rounds * (domains - 1.0)) + wire / nic;
  if (op == CollectiveOp::all_to_all) {
    // All peers at once, those of the own domain beside the others: nothing is combined on the way,
    // so each GPU's card carries all that leaves its domain.
    const Bytes inside = buffer / domains;
    return std::max(within_domain(op, domain_gpus_, inside), hop + (buffer - inside) / nic);
  }
  if (op == CollectiveOp::all_reduce) {
    const double depth = std::ceil(std::log2(domains));
    between = std::min(between, hop * (rounds * depth) + share * rounds / nic);
  }
  return within_domain(op, domain_gpus_, buffer) + between;
}

}  // namespace moesim
