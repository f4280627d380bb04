// SPDX-License-Identifier: Apache-2.0
#include "calibrate/validate_comm.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <optional>
#include <set>

#include "calibrate/comm_fit.h"
#include "calibrate/published_comm.h"

namespace moesim {
namespace {

/// Systems whose name is no device's.
constexpr std::pair<const char*, const char*> kSystemDevices[] = {
    {"hopper_8gpu_cx7", "h100_sxm"},  // the source labels the same rows H100 and H200
};

constexpr double kMiB = 1048576;

/// A cluster profile and the measured systems that it stands for.
struct Machine {
  ClusterProfile profile;
  double device_sms = 1;
  std::set<std::string> systems;
  std::optional<FittedCluster> fit;  ///< to all rows
};

class CommValidator {
 public:
  CommValidator(const CommSamples& samples, const CardLibrary& cards) : samples_(samples) {
    for (const std::string& id : cards.ids(CardKind::cluster)) {
      ClusterProfile profile = cards.cluster(id);
      if (profile.node_groups.size() != 1 ||
          (profile.collectives.empty() && profile.collective_laws.empty())) {
        continue;  // mixed machines and conventions have no measured rows of their own
      }
      const DeviceProfile device = cards.device(profile.node_groups.front().device);
      const double sms = device.sm_count ? static_cast<double>(device.sm_count->value) : 1.0;
      const std::string key = profile.node_groups.front().device;
      machines_.try_emplace(key, Machine{std::move(profile), sms, {}, std::nullopt});
    }
    for (const CollectiveSample& sample : samples.collectives) {
      note_system(sample.system);
    }
    for (const ExchangeSample& sample : samples.exchanges) {
      note_system(sample.system);
    }
    for (const NvlinkSample& sample : samples.nvlink) {
      note_system(sample.system);
    }
    for (auto& [device, machine] : machines_) {
      if (!machine.systems.empty()) {
        machine.fit = fit(machine, [](const std::string&, std::int64_t) { return true; });
      }
    }
  }

  const std::map<std::string, Machine>& machines() const { return machines_; }

  CommValidation validate() {
    CommValidation result;
    for (const auto& [system, device] : system_device_) {
      if (device.empty()) {
        result.absent.push_back(system + ": no cluster profile has such a device");
        continue;
      }
      const Machine& machine = machines_.at(device);
      mode_ = "profile";
      add_system(system, machine, result, [&](std::int64_t) {
        FittedCluster all{machine.profile, true, true, true, true};
        return all;
      });
      mode_ = "leave EP size out";
      add_system(system, machine, result, [&](std::int64_t ranks) {
        return fit(machine, [&](const std::string& name, std::int64_t size) {
          return name != system || size != ranks;
        });
      });
      mode_ = "leave system out";
      std::optional<FittedCluster> without;
      add_system(system, machine, result, [&](std::int64_t) {
        if (!without) {
          without = leave_system_out(system, machine);
        }
        return *without;
      });
    }
    add_slow_fabric(result);
    return result;
  }

  /// The measured machine nearest to `profile` but not `skipped`: same kind of scale-up network,
  /// nearest link rate. Null when there is none.
  const Machine* donor(const ClusterProfile& profile, const Machine* skipped,
                       bool with_kernels) const {
    const ScaleUp& wanted = profile.node_groups.front().scale_up;
    const auto is_switch = [](ScaleUpKind kind) {
      return kind == ScaleUpKind::nvswitch || kind == ScaleUpKind::nvl_domain;
    };
    const Machine* best = nullptr;
    double nearest = 1e300;
    for (const auto& [device, machine] : machines_) {
      if (&machine == skipped || !machine.fit || (with_kernels && !machine.fit->has_low_latency)) {
        continue;
      }
      const ScaleUp& have = machine.profile.node_groups.front().scale_up;
      if (have.kind != wanted.kind && !(is_switch(have.kind) && is_switch(wanted.kind))) {
        continue;
      }
      const double distance = std::fabs(std::log(have.rate.value / wanted.rate.value)) +
                              (have.kind == wanted.kind ? 0.0 : 1e-3);
      if (distance < nearest - 1e-12) {
        nearest = distance;
        best = &machine;
      }
    }
    return best;
  }

 private:
  void note_system(const std::string& system) {
    const auto [place, is_new] = system_device_.try_emplace(system);
    if (!is_new) {
      return;
    }
    std::string device = system;
    for (const auto& [name, known] : kSystemDevices) {
      device = system == name ? known : device;
    }
    // "rtx_pro_6000_server" is the device "rtx_pro_6000": the longest id that begins the name.
    for (const auto& [id, machine] : machines_) {
      if (device == id || (device.starts_with(id + "_") && id.size() > place->second.size())) {
        place->second = id;
      }
    }
    if (!place->second.empty()) {
      machines_.at(place->second).systems.insert(system);
    }
  }

  using Keep = std::function<bool(const std::string& system, std::int64_t ranks)>;

  FittedCluster fit(const Machine& machine, const Keep& keep,
                    const ExpertKernels* donor = nullptr) const {
    MachineSamples chosen;
    for (const CollectiveSample& sample : samples_.collectives) {
      if (machine.systems.count(sample.system) > 0 && keep(sample.system, sample.ranks)) {
        chosen.collectives.push_back(&sample);
      }
    }
    for (const ExchangeSample& sample : samples_.exchanges) {
      if (machine.systems.count(sample.system) > 0 && keep(sample.system, sample.ranks())) {
        chosen.exchanges.push_back(&sample);
      }
    }
    for (const NvlinkSample& sample : samples_.nvlink) {
      if (machine.systems.count(sample.system) > 0 &&
          keep(sample.system, sample.size.demand.ranks)) {
        chosen.nvlink.push_back(&sample);
      }
    }
    return fit_cluster(machine.profile, chosen, machine.device_sms, "given rows", donor);
  }

  FittedCluster leave_system_out(const std::string& system, const Machine& machine) const {
    std::optional<ClusterProfile> moved;
    if (const Machine* from = donor(machine.profile, &machine, true)) {
      moved = transfer_cluster(machine.profile, from->fit->profile);
    }
    FittedCluster result = fit(
        machine, [&](const std::string& name, std::int64_t) { return name != system; },
        moved ? &*moved->expert_kernels : nullptr);
    if (result.profile.collective_laws.empty()) {
      if (const Machine* from = donor(machine.profile, &machine, false)) {
        result.profile.collective_laws =
            transfer_cluster(machine.profile, from->fit->profile).collective_laws;
      }
    }
    if (moved && !result.profile.expert_kernels) {
      result.profile.expert_kernels = moved->expert_kernels;
      result.has_low_latency = result.has_normal = true;
    }
    if (moved && !result.has_low_latency) {
      result.profile.expert_kernels->low_latency = moved->expert_kernels->low_latency;
      result.has_low_latency = true;
    }
    if (moved && !result.has_normal) {
      result.profile.expert_kernels->normal = moved->expert_kernels->normal;
      result.has_normal = true;
    }
    if (!result.has_network && result.profile.expert_kernels) {
      set_network(result, machine);
    }
    return result;
  }

  /// Nothing was measured across nodes: as another machine's kernels, cards scaled by their rates,
  /// or what the cards alone are known to do.
  void set_network(FittedCluster& result, const Machine& machine) const {
    const NodeGroup& node = result.profile.node_groups.front();
    const double cards =
        static_cast<double>(node.nics.per_node) / static_cast<double>(node.gpus_per_node);
    const Machine* from = nullptr;
    for (const auto& [device, other] : machines_) {
      if (&other != &machine && other.fit && other.fit->has_network) {
        from = &other;
      }
    }
    LowLatencyKernels& kernels = result.profile.expert_kernels->low_latency;
    for (const bool is_dispatch : {true, false}) {
      LowLatencyExchange& kernel = is_dispatch ? kernels.dispatch : kernels.combine;
      if (from != nullptr) {
        const LowLatencyKernels& theirs = from->fit->profile.expert_kernels->low_latency;
        const LowLatencyExchange& other = is_dispatch ? theirs.dispatch : theirs.combine;
        const NodeGroup& other_node = from->profile.node_groups.front();
        kernel.alpha_net = other.alpha_net;
        kernel.remote_expert_s = other.remote_expert_s;
        kernel.nic_rate = other.nic_rate * (node.nics.rate.value / other_node.nics.rate.value *
                                            cards * static_cast<double>(other_node.gpus_per_node) /
                                            static_cast<double>(other_node.nics.per_node));
      } else {
        kernel.alpha_net = node.nics.latency.value;
        kernel.remote_expert_s = 0;
        kernel.nic_rate =
            (node.nics.achieved ? node.nics.achieved->value : node.nics.rate.value) * cards;
      }
    }
    result.has_network = node.nics.per_node > 0;
  }

  template <class Fitted>
  void add_system(const std::string& system, const Machine& machine, CommValidation& result,
                  const Fitted& fitted_without) {
    std::map<std::int64_t, FittedCluster> fits;
    const auto fit_for = [&](std::int64_t ranks) -> const FittedCluster& {
      const auto found = fits.find(ranks);
      return found != fits.end() ? found->second : fits[ranks] = fitted_without(ranks);
    };
    for (const CollectiveSample& sample : samples_.collectives) {
      if (sample.system == system) {
        add_collective(sample, machine, fit_for(sample.ranks).profile, result);
      }
    }
    for (const ExchangeSample& sample : samples_.exchanges) {
      if (sample.system == system && !sample.is_slow_fabric) {
        add_exchange(sample, machine, fit_for(sample.ranks()), result);
      }
    }
    for (const NvlinkSample& sample : samples_.nvlink) {
      if (sample.system == system) {
        add_nvlink(sample, fit_for(sample.size.demand.ranks).profile, result);
      }
    }
  }

  void add_nvlink(const NvlinkSample& sample, const ClusterProfile& profile,
                  CommValidation& result) const {
    static constexpr const char* kParts[] = {"prepare", "dispatch", "combine",
                                             "combine in four bits"};
    CommComparison row;
    row.group = mode_ + ": NVLink " + (sample.is_one_sided ? "one-sided " : "two-sided ") +
                kParts[static_cast<std::size_t>(sample.part)] + " " + sample.system + " EP" +
                std::to_string(sample.size.demand.ranks);
    row.name = sample.file + " row " + std::to_string(sample.file_row);
    row.measured = sample.seconds;
    const std::optional<double> predicted = predicted_seconds(profile, sample);
    if (!predicted || mode_ == "leave system out") {
      row.left_out = mode_ == "leave system out" ? "no other system has these kernels"
                                                 : "the profile has no constants of these kernels";
    } else {
      row.predicted = *predicted;
      row.basis = "fitted";
    }
    add(row, result);
    add_summary(row, "all NVLink exchanges", result);
  }

  void add_collective(const CollectiveSample& sample, const Machine& machine,
                      const ClusterProfile& profile, CommValidation& result) const {
    const bool is_nccl = sample.library == CollectiveLibrary::nccl;
    CommComparison row;
    row.group = mode_ + ": " + (is_nccl ? "nccl " : sample.variant + " ") + choice_name(sample.op) +
                " " + sample.system + " EP" + std::to_string(sample.ranks);
    row.name = sample.file + " row " + std::to_string(sample.file_row);
    row.measured = sample.seconds;
    const CollectiveLaw* law = profile.law(sample.op, CollectiveScope::scale_up, sample.library);
    const std::int64_t domain = profile.node_groups.front().scale_up.domain_gpus;
    if (sample.is_eager()) {
      row.left_out = "launched one by one: host time, not the kernel's";
    } else if (law != nullptr && sample.ranks <= domain) {
      row.predicted =
          law_time(*law, static_cast<double>(sample.ranks), Bytes(sample.bytes)).value();
      row.basis = choice_name(law->origin);
    } else if (is_nccl && mode_ == "profile") {
      row.predicted = CollectiveModel(profile, static_cast<std::int64_t>(machine.device_sms))
                          .collective(sample.op, sample.ranks, Bytes(sample.bytes))
                          .value();
      row.basis = "estimate";
    } else {
      row.left_out = "no law can be fitted without these rows";
    }
    add(row, result);
    if (!is_nccl) {
      const std::string heading = std::string("all ") + choice_name(sample.library) + " all-reduce";
      add_summary(row, heading.c_str(), result);
    } else {
      add_summary(row, "all NCCL, all sizes", result);
      if (sample.bytes >= kMiB) {
        add_summary(row, "all NCCL, >= 1 MiB", result);
      }
    }
  }

  void add_exchange(const ExchangeSample& sample, const Machine& machine,
                    const FittedCluster& fitted, CommValidation& result) const {
    CommComparison row;
    row.group = mode_ + ": " + (sample.is_low_latency ? "deepep_low_latency " : "deepep_normal ") +
                (sample.direction == ExchangeDirection::dispatch ? "dispatch " : "combine ") +
                sample.system + " EP" + std::to_string(sample.ranks());
    if (!sample.is_low_latency) {
      row.group += sample.tokens >= 512 ? " >= 512 tokens" : " < 512 tokens";
    }
    row.name = sample.file + " row " + std::to_string(sample.file_row);
    row.measured = measured_seconds(sample);
    const bool has = sample.is_one_node()
                         ? (sample.is_low_latency ? fitted.has_low_latency : fitted.has_normal)
                         : (sample.is_low_latency ? fitted.has_low_latency && fitted.has_network
                                                  : fitted.has_normal_network);
    if (!has || !fitted.profile.expert_kernels) {
      row.left_out = "no law can be fitted without these rows";
    } else {
      const ExpertKernels& kernels = *fitted.profile.expert_kernels;
      row.predicted = predicted_seconds(fitted.profile, sample, machine.device_sms);
      row.basis = choice_name(sample.is_low_latency ? kernels.low_latency.dispatch.origin
                                                    : kernels.normal.dispatch.origin);
    }
    add(row, result);
    if (sample.is_low_latency) {
      add_summary(row, "all DeepEP low latency", result);
    } else if (sample.tokens >= 512) {
      add_summary(row, "all DeepEP normal, >= 512 tokens", result);
    }
  }

  /// Rows that ran on a congested network: one factor, fitted to the dispatches of a system and
  /// used for its combines too.
  void add_slow_fabric(CommValidation& result) {
    for (const auto& [system, device] : system_device_) {
      std::vector<const ExchangeSample*> slow;
      std::vector<const ExchangeSample*> dispatches;
      for (const ExchangeSample& sample : samples_.exchanges) {
        if (sample.system == system && sample.is_slow_fabric) {
          slow.push_back(&sample);
          if (sample.direction == ExchangeDirection::dispatch && sample.tokens >= 512) {
            dispatches.push_back(&sample);
          }
        }
      }
      if (slow.empty() || device.empty() || !machines_.at(device).profile.expert_kernels) {
        continue;
      }
      const Machine& machine = machines_.at(device);
      const double factor = fit_oversubscription(machine.profile, dispatches, machine.device_sms);
      for (const ExchangeSample* sample : slow) {
        CommComparison row;
        const bool is_dispatch = sample->direction == ExchangeDirection::dispatch;
        row.group = "profile: slow fabric at " + number_text(factor) + ":1 over-subscription, " +
                    (is_dispatch ? "dispatch (fitted) " : "combine (not fitted) ") + system +
                    " EP" + std::to_string(sample->ranks()) +
                    (sample->tokens >= 512 ? " >= 512 tokens" : " < 512 tokens");
        row.name = sample->file + " row " + std::to_string(sample->file_row);
        row.measured = measured_seconds(*sample);
        row.predicted = predicted_seconds(machine.profile, *sample, machine.device_sms, factor);
        row.basis = "fitted";
        add(row, result);
      }
    }
  }

  void add(const CommComparison& row, CommValidation& result) const { result.rows.push_back(row); }
  void add_summary(CommComparison row, const char* heading, CommValidation& result) const {
    row.group = mode_ + ": " + heading;
    row.is_summary = true;
    result.rows.push_back(std::move(row));
  }

  const CommSamples& samples_;
  std::map<std::string, Machine> machines_;           // by device
  std::map<std::string, std::string> system_device_;  // "" when no profile has it
  std::string mode_;
};

}  // namespace

CommValidation validate_comm(const std::string& folder, const CardLibrary& cards) {
  const CommSamples samples = read_comm_samples(folder);
  CommValidation result = CommValidator(samples, cards).validate();
  add_published_comm(folder, cards, result);
  result.problems = samples.problems;
  result.absent.insert(result.absent.end(), samples.absent.begin(), samples.absent.end());
  return result;
}

ClusterProfile calibrated_cluster(const std::string& folder, const CardLibrary& cards,
                                  const std::string& id, const std::string& source) {
  const CommSamples samples = read_comm_samples(folder);
  Diagnostics problems;
  for (const Diagnostic& problem : samples.problems) {
    problems.add(problem);
  }
  problems.throw_if_any();
  const ClusterProfile base = cards.cluster(id);
  CommValidator validator(samples, cards);
  for (const auto& [device, machine] : validator.machines()) {
    if (machine.profile.id == base.id && machine.fit) {
      MachineSamples own;
      for (const CollectiveSample& sample : samples.collectives) {
        if (machine.systems.count(sample.system) > 0) {
          own.collectives.push_back(&sample);
        }
      }
      for (const ExchangeSample& sample : samples.exchanges) {
        if (machine.systems.count(sample.system) > 0) {
          own.exchanges.push_back(&sample);
        }
      }
      for (const NvlinkSample& sample : samples.nvlink) {
        if (machine.systems.count(sample.system) > 0) {
          own.nvlink.push_back(&sample);
        }
      }
      return fit_cluster(base, own, machine.device_sms, source).profile;
    }
  }
  const Machine* from = validator.donor(base, nullptr, base.expert_kernels.has_value());
  if (from == nullptr) {
    throw InputError(folder, "",
                     "holds no rows of \"" + base.id + "\" nor of a machine of its kind",
                     "measure it, or one with the same kind of scale-up network");
  }
  return transfer_cluster(base, from->fit->profile);
}

}  // namespace moesim
