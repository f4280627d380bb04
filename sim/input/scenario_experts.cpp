// SPDX-License-Identifier: Apache-2.0
#include "sim/input/scenario_experts.h"

#include <algorithm>
#include <cmath>

namespace moesim {
namespace {

std::string number(std::int64_t value) { return std::to_string(value); }

/// The checks, with what they all need.
class ExpertChecks {
 public:
  ExpertChecks(const ScenarioSpec& spec, const FfnSpec& ffn, const ParallelWays& ways,
               const ClusterProfile& cluster, const std::string& file, Diagnostics& diagnostics)
      : spec_(spec),
        ffn_(ffn),
        ways_(ways),
        cluster_(cluster),
        file_(file),
        diagnostics_(diagnostics) {}

  void run() {
    edits();
    routing();
    capacity();
    placement();
    offload();
  }

 private:
  void problem(const std::string& pointer, const std::string& text, const std::string& allowed) {
    diagnostics_.add(file_, pointer, text, allowed);
  }

  /// Kinds that need a recorded file have one, the others do not.
  void recording(RoutingModel kind, const std::string& trace, const std::string& pointer) {
    const bool needs_file = kind == RoutingModel::trace || kind == RoutingModel::counts;
    if (needs_file && trace.empty()) {
      problem(pointer + "/trace", "is missing",
              "routing of kind " + choice_name(kind) + " needs a file");
    }
    if (!needs_file && !trace.empty()) {
      problem(pointer + "/trace", "is not used by routing of kind " + choice_name(kind),
              "leave it out, or choose the kind trace or counts");
    }
  }

  void edits() {
    const ModelEdits& edits = spec_.model_edits;
    const bool reshapes = edits.pruned_experts + edits.merged_experts + edits.added_experts > 0;
    if (reshapes && spec_.routing.kind == RoutingModel::domains) {
      problem("/model_edits/pruned_experts", "which experts are edited depends on their popularity",
              "allowed: with routing that does not change over time");
    }
    if ((spec_.precision.cold_fraction > 0) != spec_.precision.cold_experts.has_value()) {
      problem("/precision/cold_fraction", "needs /precision/cold_experts, and that needs it",
              "both or neither");
    }
  }

  void routing() {
    const RoutingConfig& routing = spec_.routing;
    recording(routing.kind, routing.trace, "/routing");
    if (routing.kind == RoutingModel::typical && routing.sigma != 0) {
      problem("/routing/sigma", "is not used by routing of kind typical",
              "leave it out, or choose the kind gumbel");
    }
    if (!routing.layer_sigma.empty() && routing.kind != RoutingModel::gumbel) {
      problem("/routing/layer_sigma", "is not used by routing of kind " + choice_name(routing.kind),
              "leave it out, or choose the kind gumbel");
    }
    const LocalityConfig& locality = routing.locality;
    if (locality.repeat_fraction.value_or(0) + locality.affinity_fraction.value_or(0) >= 1) {
      problem("/routing/locality", "repeat_fraction and affinity_fraction leave nothing to choose",
              "allowed: a sum below 1");
    }
    if (routing.kind != RoutingModel::domains) {
      for (const auto& [is_given, key] : {std::pair(!routing.domains.empty(), "domains"),
                                          std::pair(!routing.phases.empty(), "phases"),
                                          std::pair(!routing.bursts.empty(), "bursts"),
                                          std::pair(routing.time_s > 0, "time_s")}) {
        if (is_given) {
          problem(std::string("/routing/") + key,
                  "is not used by routing of kind " + choice_name(routing.kind),
                  "leave it out, or choose the kind domains");
        }
      }
      return;
    }
    domains(routing);
  }

  void domains(const RoutingConfig& routing) {
    if (routing.domains.empty()) {
      problem("/routing/domains", "is missing", "routing of kind domains needs at least one");
    }
    for (std::size_t d = 0; d < routing.domains.size(); ++d) {
      const DomainConfig& domain = routing.domains[d];
      const std::string at = "/routing/domains/" + number(static_cast<std::int64_t>(d));
      if (domain.kind == RoutingModel::domains) {
        problem(at + "/kind", "a domain cannot be a mixture itself", "allowed: any other kind");
      }
      recording(domain.kind, domain.trace, at);
      for (std::size_t before = 0; before < d; ++before) {
        if (routing.domains[before].name == domain.name) {
          problem(at + "/name", "\"" + domain.name + "\" is the name of another domain",
                  "a name of its own");
        }
      }
    }
    for (std::size_t p = 0; p < routing.phases.size(); ++p) {
      if (routing.phases[p].shares.size() != routing.domains.size()) {
        problem("/routing/phases/" + number(static_cast<std::int64_t>(p)) + "/shares",
                number(static_cast<std::int64_t>(routing.phases[p].shares.size())) + " shares",
                "one for each of the " + number(static_cast<std::int64_t>(routing.domains.size())) +
                    " domains");
      }
    }
    for (std::size_t b = 0; b < routing.bursts.size(); ++b) {
      const std::string& name = routing.bursts[b].domain;
      std::string allowed;
      bool is_known = false;
      for (const DomainConfig& domain : routing.domains) {
        is_known = is_known || domain.name == name;
        allowed += (allowed.empty() ? "" : ", ") + domain.name;
      }
      if (!is_known) {
        problem("/routing/bursts/" + number(static_cast<std::int64_t>(b)) + "/domain",
                "\"" + name.substr(0, 80) + "\" is no domain", "allowed: " + allowed);
      }
    }
  }

  void capacity() {
    const CapacityConfig& capacity = spec_.capacity;
    if (capacity.factor || capacity.evaluating) {
      return;
    }
    if (capacity.overflow != Overflow::dropless) {
      problem("/capacity/factor", "is missing",
              "overflow " + choice_name(capacity.overflow) +
                  " needs a capacity factor, for example 1.25");
    } else if (capacity.padding) {
      problem("/capacity/factor", "is missing",
              "padding fills places, so their number must be known: for example 1.25");
    }
  }

  void placement() {
    const PlacementConfig& placement = spec_.placement;
    const std::int64_t slots = placement.slots.value_or(ffn_.experts);
    if (slots < ffn_.experts) {
      problem("/placement/slots",
              number(slots) + " slots do not hold " + number(ffn_.experts) + " experts",
              "allowed: at least " + number(ffn_.experts));
    } else if (slots % ways_.expert != 0) {
      if (placement.slots) {
        problem("/placement/slots",
                number(slots) + " slots cannot be shared out evenly over " + number(ways_.expert) +
                    " expert-parallel ranks",
                "allowed: a multiple of " + number(ways_.expert) + ", for example " +
                    number((slots / ways_.expert + 1) * ways_.expert));
      } else {
        problem("/parallelism/expert",
                number(ways_.expert) + " does not divide " + number(slots) + " experts",
                divisors_text(slots, ways_.gpus));
      }
    } else if (slots / ways_.expert > ffn_.experts && !placement.same_gpu_replicas) {
      problem("/placement/slots",
              number(slots / ways_.expert) + " slots a rank for " + number(ffn_.experts) +
                  " experts: replicas of one expert would share a GPU",
              "allowed: at most " + number(ffn_.experts * ways_.expert) +
                  ", or /placement/same_gpu_replicas true");
    }
    if (ways_.expert_tensor > 0 && ffn_.width % ways_.expert_tensor != 0) {
      problem(
          "/parallelism/expert_tensor",
          number(ways_.expert_tensor) + " does not divide the expert width " + number(ffn_.width),
          divisors_text(ffn_.width, ways_.gpus));
    }
    const auto belongs = [&](bool is_given, PlacementKind policy, const std::string& key) {
      if (is_given != (placement.policy == policy)) {
        problem("/placement/" + key,
                is_given ? "is not used by policy " + choice_name(placement.policy) : "is missing",
                is_given ? "leave it out, or choose the policy " + choice_name(policy)
                         : "policy " + choice_name(policy) + " needs it");
      }
    };
    belongs(!placement.file.empty(), PlacementKind::file, "file");
    belongs(!placement.command.empty(), PlacementKind::program, "command");
    const bool has_time = spec_.routing.kind == RoutingModel::domains;
    if (placement.planned_at_s && !has_time) {
      problem("/placement/planned_at_s", "needs routing that changes over time",
              "allowed: with /routing/kind domains");
    }
    if (placement.planned_at_s && !placement.planned_on.empty()) {
      problem("/placement/planned_at_s", "the plan already knows /placement/planned_on",
              "allowed: one of the two");
    }
    if (placement.rebalance.trigger == RebalanceRule::never) {
      return;
    }
    const double windows = spec_.routing.time_s / placement.rebalance.window_s;
    if (spec_.workload.kind == WorkloadKind::serving) {
      if (!has_time || windows > 2000) {
        problem("/placement/rebalance/trigger",
                "re-balancing follows traffic that changes while it is served",
                "allowed: with /routing/kind domains and at most 2000 windows before "
                "/routing/time_s");
      }
      if (placement.rebalance.window_s < 1) {
        problem("/placement/rebalance/window_s",
                number_text(placement.rebalance.window_s) + " is too short for serving",
                "allowed: at least 1");
      }
    } else if (!has_time || windows < 1 || windows > 2000) {
      problem("/placement/rebalance/trigger",
              "re-balancing runs from 0 to /routing/time_s, window by window",
              "allowed: with /routing/kind domains and 1 to 2000 windows before /routing/time_s");
    }
    if (placement.policy == PlacementKind::file || placement.policy == PlacementKind::program) {
      problem("/placement/rebalance/trigger",
              "policy " + choice_name(placement.policy) + " makes one plan",
              "allowed: with a policy that can plan anew");
    }
  }

  void offload() {
    const OffloadConfig& offload = spec_.offload;
    if (offload.experts == ExpertHome::gpu) {
      return;
    }
    if (spec_.workload.kind == WorkloadKind::serving && offload.host_managed &&
        spec_.serving.cuda_graphs.value_or(false)) {
      problem("/serving/cuda_graphs", "cannot surround layers whose experts the host looks up",
              "leave it out, or set /offload/host_managed to false");
    }
    const Host& host = cluster_.node_groups.front().host;
    if (!(host.link_rate.value.value() > 0)) {
      problem("/offload/experts", "\"" + cluster_.id + "\" does not say how fast its host link is",
              "allowed: gpu, or a cluster profile with host/link_bytes_per_s");
    }
    if (offload.experts == ExpertHome::nvme && !offload.nvme_bytes_per_s && !host.nvme_read) {
      problem("/offload/nvme_bytes_per_s",
              "is missing: \"" + cluster_.id + "\" does not say how fast its drives read",
              "for example 7e9");
    }
    if (offload.on_miss == MissHandling::cpu && !offload.cpu_bytes_per_s &&
        !host.memory_bandwidth) {
      problem("/offload/cpu_bytes_per_s",
              "is missing: \"" + cluster_.id + "\" does not say how fast its host memory is",
              "for example 200e9");
    }
    if (spec_.placement.slots && *spec_.placement.slots != ffn_.experts) {
      problem("/placement/slots", "replicas of experts that do not fit make no sense",
              "leave it out, or choose /offload/experts gpu");
    }
  }

  const ScenarioSpec& spec_;
  const FfnSpec& ffn_;
  const ParallelWays& ways_;
  const ClusterProfile& cluster_;
  const std::string& file_;
  Diagnostics& diagnostics_;
};

}  // namespace

const FfnSpec* expert_layers(const ModelCard& model) {
  for (const LayerClass& layer : model.layers) {
    if (layer.ffn.kind == FfnKind::moe) {
      return &layer.ffn;
    }
  }
  return nullptr;
}

std::string divisors_text(std::int64_t value, std::int64_t at_most) {
  std::string text;
  for (std::int64_t i = 1; i <= std::min(value, at_most); ++i) {
    if (value % i == 0) {
      text += (text.empty() ? "" : ", ") + number(i);
    }
  }
  return "allowed: " + text;
}

namespace {

/// Kernels that store into each other's memory need one domain, and constants.
void check_nvlink_kernels(const ScenarioSpec& spec, const ParallelWays& ways,
                          const ClusterProfile& cluster, const std::string& file,
                          Diagnostics& diagnostics) {
  const DispatchKernel kernel = spec.communication.dispatch;
  if (kernel != DispatchKernel::nvlink_one_sided && kernel != DispatchKernel::nvlink_two_sided) {
    return;
  }
  const bool is_one_sided = kernel == DispatchKernel::nvlink_one_sided;
  const char* name = is_one_sided ? "nvlink_one_sided" : "nvlink_two_sided";
  if (!cluster.expert_kernels || !(is_one_sided ? cluster.expert_kernels->nvlink_one_sided
                                                : cluster.expert_kernels->nvlink_two_sided)) {
    diagnostics.add(
        file, "/communication/dispatch",
        "\"" + cluster.id + "\" has no constants of " + name + " kernels",
        "use automatic, or a cluster profile with /expert_kernels/" + std::string(name));
    return;
  }
  const std::int64_t domain = cluster.node_groups.front().scale_up.domain_gpus;
  if (ways.expert > domain) {
    diagnostics.add(file, "/communication/dispatch",
                    std::string(name) + " kernels cannot leave an NVLink domain of " +
                        number(domain) + " GPUs, and " + number(ways.expert) +
                        " share out the experts",
                    "use automatic, or set /parallelism/expert to at most " + number(domain));
  }
}

}  // namespace

void resolve_typical(RoutingConfig& routing, const ModelCard& model) {
  const double sigma = model.expert_use ? model.expert_use->sigma : kTypicalSigma;
  const auto resolve = [sigma](auto& law) {
    if (law.kind == RoutingModel::typical) {
      law.kind = RoutingModel::gumbel;
      law.sigma = sigma;
    }
  };
  resolve(routing);
  for (DomainConfig& domain : routing.domains) {
    resolve(domain);
  }
}

void check_experts(const ScenarioSpec& spec, const ModelCard& model, const ParallelWays& ways,
                   const ClusterProfile& cluster, const std::string& file,
                   Diagnostics& diagnostics) {
  const FfnSpec* ffn = expert_layers(model);
  if (ffn == nullptr) {
    const auto unused = [&](bool is_given, const char* pointer) {
      if (is_given) {
        diagnostics.add(file, pointer, "\"" + model.id + "\" has no experts", "leave the key out");
      }
    };
    unused(spec.capacity.factor.has_value(), "/capacity/factor");
    unused(spec.placement.slots.has_value(), "/placement/slots");
    unused(spec.offload.experts != ExpertHome::gpu, "/offload/experts");
    return;
  }
  for (const LayerClass& layer : model.layers) {
    if (layer.ffn.kind == FfnKind::moe &&
        (layer.ffn.experts != ffn->experts || layer.ffn.top_k != ffn->top_k)) {
      diagnostics.add(file, "/model",
                      "layers \"" + model.layers.front().name + "\" and \"" + layer.name +
                          "\" of \"" + model.id + "\" have different numbers of experts",
                      "this version simulates models whose MoE layers are alike");
      return;
    }
  }
  ExpertChecks(spec, *ffn, ways, cluster, file, diagnostics).run();
  check_nvlink_kernels(spec, ways, cluster, file, diagnostics);
}

}  // namespace moesim
