// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/calibrate_cluster.h"

#include <algorithm>
#include <filesystem>
#include <ostream>

#include "calibrate/link_measurements.h"
#include "calibrate/validate_comm.h"
#include "sim/base/error.h"
#include "sim/base/quantity_text.h"
#include "sim/input/card_library.h"

namespace moesim {

namespace {

void print_links(std::ostream& out, const ClusterProfile& profile) {
  const NodeGroup& node = profile.node_groups.front();
  const auto print = [&](const char* name, const auto& number, const char* unit) {
    if (number.origin == Origin::measured && number.points) {
      out << name << ": " << number_text(number.value.value()) << ' ' << unit << ", median of "
          << *number.points << ", mean distance "
          << plain_number_text(100 * number.residual_fraction.value_or(0), 3) << "%\n";
    }
  };
  const auto print_optional = [&](const char* name, const auto& number) {
    if (number) {
      print(name, *number, "bytes/s");
    }
  };
  print_optional("scale_up achieved", node.scale_up.achieved);
  print("scale_up latency", node.scale_up.latency, "s");
  print("host link", node.host.link_rate, "bytes/s");
  print_optional("host link, all copy", node.host.all_copy_rate);
  print_optional("network cards", node.nics.achieved);
}

}  // namespace

int calibrate_cluster(const std::vector<std::string>& inputs, const std::string& cluster,
                      const std::string& out, const std::string& source,
                      const CommandContext& context) {
  const CardLibrary cards = CardLibrary::open(context.root);
  const bool are_files =
      !inputs.empty() && std::none_of(inputs.begin(), inputs.end(), [](const std::string& path) {
        std::error_code error;
        return std::filesystem::is_directory(path, error);
      });
  if (!are_files && inputs.size() != 1) {
    throw InputError("", "", "a cluster is fitted to one folder, or to files of benchmarks",
                     "the folder that holds nccl_collectives.csv and deepep_*.csv, or output of "
                     "nvbandwidth --format json, nccl-tests, rccl-tests and TransferBench");
  }
  ClusterProfile profile;
  if (are_files) {
    LinkMeasurements measurements;
    for (const std::string& path : inputs) {
      read_link_measurements(path, measurements);
    }
    for (const Diagnostic& problem : measurements.problems) {
      context.err << "left out: " << problem.text() << '\n';
    }
    for (const std::string& test : measurements.unused) {
      context.err << "not used: " << test << '\n';
    }
    if (measurements.links.empty() && measurements.collectives.empty()) {
      throw InputError(inputs.front(), "", "holds nothing that a cluster profile has",
                       "copies between GPUs or with the host, or collectives inside one node");
    }
    profile = with_measurements(cards.cluster(cluster, "--cluster"), measurements, source);
    print_links(context.out, profile);
  } else {
    profile = calibrated_cluster(inputs.front(), cards, cluster, source);
  }
  for (const CollectiveLaw& law : profile.collective_laws) {
    context.out << choice_name(law.op) << ' ' << choice_name(law.library) << ' ' << law.software
                << ": " << law.protocols.size() << " protocols, " << choice_name(law.origin);
    if (law.points && law.residual_fraction) {
      context.out << " on " << *law.points << " rows, mean error "
                  << plain_number_text(100 * *law.residual_fraction, 3) << '%';
    }
    context.out << '\n';
  }
  const std::string path = out == "." ? profile.id + ".json" : out;
  profile.id = std::filesystem::path(path).stem().string();  // a profile is called as its file
  write_text_file(path, write_cluster_profile(profile).dump() + "\n");
  context.out << path << '\n';
  return 0;
}

}  // namespace moesim
