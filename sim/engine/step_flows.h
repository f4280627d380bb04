// SPDX-License-Identifier: Apache-2.0
// Flow fidelity: the exchanges of a step carried pair by pair over the cluster's topology, so that
// all copies that share a link contend.
//
// A kernel's own limits become capacities of the ports (its network rate, and the rate at which its
// SMs copy within a domain); its start-up and its work a token stay what the closed form says. Then
// where nothing contends both fidelities agree, and what flows add is the price of the fabric: few
// uplinks, hashed paths, shared cards, incast, faults, other traffic (/background). All ranks of an
// exchange start together, as the executor's groups do; exchanges of two micro-batches follow each
// other on one stream.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "sim/cluster/route_plan.h"
#include "sim/engine/step_loads.h"

namespace moesim {

/// Classes of links, for totals.
enum class LinkClass : std::uint8_t { scale_up, nic, fabric, host };
inline constexpr std::size_t kNumLinkClasses = 4;
std::span<const Choice<LinkClass>> choices_of(LinkClass);

/// One exchange as flows saw it.
struct FlowedExchange {
  std::vector<float> seconds;      ///< [GPUs] until all that a GPU sends and receives has arrived
  std::vector<float> link_bytes;   ///< [links]
  double longest = 0;              ///< seconds of the slowest GPU
  double uncontended = 0;          ///< the closed form of the same loads, slowest GPU
  std::vector<double> background;  ///< [/background] bytes/s of a stream at the start, mean
};

class StepFlows {
 public:
  /// Throws InputError at the scenario's file: no graph of the cluster, a fault or a stream that
  /// names nothing, GPUs that a fault cuts off.
  StepFlows(const Scenario& scenario, const StepCostModel& model);
  ~StepFlows();

  /// Carries one dispatch or combine; `pass` must hold its pairs. Pure: threads may share this.
  FlowedExchange carry(ExchangeDirection direction, const PassLoads& pass,
                       NumberFormat format) const;
  /// A collective of every group of `ranks` neighbours at once. Inside a domain the measured law;
  /// across domains rings between GPUs of equal index, over the network.
  Seconds collective(CollectiveOp op, std::int64_t ranks, Bytes buffer) const;

  /// Links are the same for dispatch and combine, save for their capacity.
  std::size_t num_links() const;
  std::string link_name(LinkIndex link) const;
  LinkClass link_class(LinkIndex link) const;
  BytesPerSecond capacity(ExchangeDirection direction, LinkIndex link) const;

 private:
  struct Network;

  const StepCostModel& model_;
  std::size_t num_background_ = 0;
  CollectiveModel start_up_;                          // without rates: what does not cross links
  std::array<std::unique_ptr<Network>, 2> networks_;  // by direction
};

}  // namespace moesim
