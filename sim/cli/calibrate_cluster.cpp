// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/calibrate_cluster.h"

#include <ostream>

#include "calibrate/validate_comm.h"
#include "sim/base/error.h"
#include "sim/input/card_library.h"

namespace moesim {

int calibrate_cluster(const std::vector<std::string>& inputs, const std::string& cluster,
                      const std::string& out, const std::string& source,
                      const CommandContext& context) {
  if (inputs.size() != 1) {
    throw InputError("", "", "a cluster is fitted to one folder",
                     "the folder that holds nccl_collectives.csv and deepep_*.csv");
  }
  const ClusterProfile profile =
      calibrated_cluster(inputs.front(), CardLibrary::open(context.root), cluster, source);
  for (const CollectiveLaw& law : profile.collective_laws) {
    context.out << choice_name(law.op) << ' ' << choice_name(law.library) << ' ' << law.software
                << ": " << law.protocols.size() << " protocols, " << choice_name(law.origin);
    if (law.points && law.residual_fraction) {
      context.out << " on " << *law.points << " rows, mean error "
                  << number_text(100 * *law.residual_fraction) << '%';
    }
    context.out << '\n';
  }
  const std::string path = out == "." ? profile.id + ".json" : out;
  write_text_file(path, write_cluster_profile(profile).dump() + "\n");
  context.out << path << '\n';
  return 0;
}

}  // namespace moesim
