// SPDX-License-Identifier: Apache-2.0
// moesim traffic: a traffic matrix over a cluster, flow by flow.
#include <CLI/CLI.hpp>
#include <cstdlib>
#include <memory>
#include <ostream>

#include "sim/base/error.h"
#include "sim/base/json.h"
#include "sim/base/quantity_text.h"
#include "sim/cli/commands.h"
#include "sim/cluster/topology_presets.h"
#include "sim/input/card_library.h"
#include "sim/run/traffic.h"

namespace moesim {
namespace {

constexpr std::int64_t kMaxRanks = 65'535;  // a matrix numbers its flows in 32 bits

struct TrafficArguments {
  std::string cluster, matrix, out, paths = "trunked", uniform;
  std::int64_t ranks = 0;
  double tolerance = -1.0;
  double message = 0.0;
  bool exact = false;
  bool timing = false;
};

double uniform_bytes(const std::string& text) {
  char* end = nullptr;
  const double bytes = std::strtod(text.c_str(), &end);
  if (end == text.c_str() || *end != '\0' || !(bytes >= 0.0) || bytes > 1e18) {
    throw InputError("--uniform", "", "\"" + text + "\" is no number of bytes",
                     "allowed: 0 to 1e18, unscaled");
  }
  return bytes;
}

std::uint32_t rank_limit(const TrafficArguments& arguments, const ClusterProfile& cluster) {
  if (arguments.ranks != 0) {
    if (arguments.ranks < 1 || arguments.ranks > kMaxRanks) {
      throw InputError("--ranks", "", std::to_string(arguments.ranks) + " is out of range",
                       "allowed: 1 to " + std::to_string(kMaxRanks));
    }
    return static_cast<std::uint32_t>(arguments.ranks);
  }
  for (const NodeGroup& group : cluster.node_groups) {
    if (!group.nodes) {
      return static_cast<std::uint32_t>(kMaxRanks);
    }
  }
  return static_cast<std::uint32_t>(cluster_gpus(cluster, 1));
}

Json timing_json(const TrafficResult& result) {
  Json json = Json::object();
  json.set("solver_s", result.solver.value());
  json.set("peak_bytes", peak_memory().value());
  json.set("makespan_s", result.makespan.value());
  json.set("ranks", std::int64_t{result.num_ranks});
  json.set("flows", std::int64_t{result.num_flows});
  json.set("exact", result.tolerance == 0.0);
  json.set("tolerance_fraction", result.tolerance);
  json.set("fills", result.counters.fills);
  json.set("singles", result.counters.singles);
  return json;
}

void print_text(std::ostream& out, const TrafficResult& result) {
  out << "ranks     " << result.num_ranks << "\nflows     " << result.num_flows << "\nbytes     "
      << quantity_text(result.total) << "\nmakespan  " << quantity_text(result.makespan)
      << (result.tolerance == 0.0
              ? " (exact)"
              : " (end times within " + number_text(100.0 * result.tolerance) + "% of it)")
      << "\nbusiest links (share of their capacity over the makespan)\n";
  for (const LinkUse& link : result.busiest_links) {
    out << "  " << plain_number_text(100.0 * link.utilisation, 3) << "%  " << link.link << "  "
        << quantity_text(link.bytes) << " at " << quantity_text(link.capacity) << "\n";
  }
}

}  // namespace

CommandBody define_traffic(CLI::App& app, const CommandContext& context) {
  auto arguments = std::make_shared<TrafficArguments>();
  app.add_option("cluster", arguments->cluster, "cluster profile: a shipped id or a file")
      ->required();
  CLI::Option* matrix =
      app.add_option("--matrix", arguments->matrix, "CSV with columns src,dst,bytes; - is stdin");
  app.add_option("--uniform", arguments->uniform, "bytes from every rank to every other")
      ->excludes(matrix);
  app.add_option("--ranks", arguments->ranks, "number of ranks (GPUs)");
  app.add_option("--paths", arguments->paths, "how uplinks are shared")
      ->check(CLI::IsMember({"trunked", "hashed"}));
  app.add_option("--out", arguments->out, "write src,dst,bytes,end_s to this file");
  CLI::Option* tolerance =
      app.add_option("--tolerance", arguments->tolerance,
                     "end times may be off by this share of the makespan (default: exact up to "
                     "131072 flows of different sizes, else 0.001)");
  app.add_option("--message-bytes", arguments->message,
                 "flows consist of messages of this size: cards send so many a second at most "
                 "(default: large enough)")
      ->check(CLI::Range(1.0, 1e12));
  app.add_flag("--exact", arguments->exact, "exact whatever it takes")->excludes(tolerance);
  app.add_flag("--timing", arguments->timing, "print solver seconds and peak bytes as JSON");
  return [arguments, &out = context.out, root = context.root] {
    if (arguments->matrix.empty() == arguments->uniform.empty()) {
      throw InputError("", "", "give the traffic: --matrix FILE.csv, or --uniform BYTES --ranks R");
    }
    const CardLibrary cards = CardLibrary::open(root);
    const ClusterProfile cluster = cards.cluster(arguments->cluster);
    const std::uint32_t limit = rank_limit(*arguments, cluster);
    if (!arguments->uniform.empty() && arguments->ranks == 0) {
      throw InputError("--uniform", "", "needs --ranks", "say how many ranks take part");
    }
    TransferSet transfer =
        arguments->uniform.empty()
            ? read_traffic_matrix(arguments->matrix, limit)
            : TransferSet::uniform(limit, Bytes(uniform_bytes(arguments->uniform)));
    TrafficOptions options;
    options.paths = arguments->paths == "hashed" ? FabricPaths::hashed : FabricPaths::trunked;
    options.wants_ends = !arguments->out.empty();
    options.message = Bytes(arguments->message);
    if (arguments->exact) {
      options.tolerance = 0.0;
    } else if (arguments->tolerance != -1.0) {
      if (!(arguments->tolerance >= 0.0 && arguments->tolerance <= kMaxTolerance)) {
        throw InputError("--tolerance", "", number_text(arguments->tolerance) + " is out of range",
                         "allowed: 0 to " + number_text(kMaxTolerance));
      }
      options.tolerance = arguments->tolerance;
    }
    const TrafficResult result = options.wants_ends
                                     ? run_traffic(cluster, transfer, options)
                                     : run_traffic(cluster, std::move(transfer), options);
    if (options.wants_ends) {
      write_text_file(arguments->out, traffic_csv(transfer, result.ends_s));
    }
    if (arguments->timing) {
      out << timing_json(result).dump() << "\n";
    } else {
      print_text(out, result);
    }
    return 0;
  };
}

}  // namespace moesim
