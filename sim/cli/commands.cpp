// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/commands.h"

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <ostream>

#include "sim/base/error.h"
#include "sim/run/version.h"

namespace moesim {
namespace {

constexpr int kInputExit = 2;
constexpr int kDeviceExit = 3;

constexpr Command kCommands[] = {
    {"run", "simulate one scenario",
     "moesim run scenarios/quickstart.json --set /routing/sigma=1.1", define_run},
    {"compare", "two scenarios or results side by side", "moesim compare quickstart result.json",
     define_compare},
    {"sweep", "simulate many variants of a scenario, on all cores or ranks, into one table",
     "moesim sweep quickstart --vary /routing/sigma=0:1.1:12 --db results.sqlite", define_sweep},
    {"plan", "the cheapest deployments that carry a load within its limits",
     "moesim plan --init > request.json && moesim plan request.json", define_plan},
    {"advise", "MoE or dense for the services of a plan request, with the numbers behind it",
     "moesim plan --init > request.json && moesim advise request.json", define_advise},
    {"explain", "which parameters an answer hangs on, and what its band is made of",
     "moesim explain quickstart", define_explain},
    {"diagnose", "why a measured deployment is not as fast as predicted, cause by cause",
     "moesim diagnose serving_deepseek_r1_h200 --measured result.json", define_diagnose},
    {"show", "list or print models, profiles, scenarios and file formats",
     "moesim show deepseek_v3", define_show},
    {"import", "turn other people's files into cards",
     "moesim import config.json --out models/mine.json", define_import},
    {"route", "what a recorded or modelled routing does to batches: skew, active experts, drops",
     "moesim route --trace scenarios/traces/generated_64x6.csv --capacity-factor 1,1.25,2",
     define_route},
    {"place", "put experts on GPUs so that none waits for another",
     "moesim place loads.json --policy best --format sglang", define_place},
    {"traffic", "run a traffic matrix over a cluster, flow by flow",
     "moesim traffic cluster_reference_rail --uniform 1000000 --ranks 64", define_traffic},
    {"calibrate", "fit cost curves of a device to measured kernel tables",
     "moesim calibrate tables/h100_sxm --device h100_sxm --out curves", define_calibrate},
    {"validate", "compare predictions with measurements",
     "moesim validate --data measurements --suite routing", define_validate},
    {"gui", "drag sliders and see the answer change, in a window", "moesim gui quickstart",
     define_gui},
};

bool holds_cards(const std::filesystem::path& folder) {
  std::error_code error;
  return std::filesystem::is_directory(folder / "models", error) &&
         std::filesystem::is_directory(folder / "hardware_profiles", error);
}

/// $MOESIM_HOME, then the folders above the program (a build tree), its share folder (an
/// installation), the working folder.
std::string find_root() {
  if (const char* home = std::getenv("MOESIM_HOME"); home != nullptr && *home != '\0') {
    if (!holds_cards(home)) {
      throw InputError("MOESIM_HOME", "",
                       "\"" + std::string(home) + "\" holds no models/ and hardware_profiles/",
                       "set it to the folder that does, or unset it");
    }
    return home;
  }
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  for (std::filesystem::path folder = program.parent_path(); !error && !folder.empty();
       folder = folder.parent_path()) {
    if (holds_cards(folder)) {
      return folder.string();
    }
    if (holds_cards(folder / "share" / "moesim")) {
      return (folder / "share" / "moesim").string();
    }
    if (folder == folder.root_path()) {
      break;
    }
  }
  if (holds_cards(".")) {
    return ".";
  }
  throw InputError("", "",
                   "the shipped models/ and hardware_profiles/ are nowhere near the program",
                   "set MOESIM_HOME to the folder that holds them");
}

}  // namespace

std::span<const Command> commands() { return kCommands; }

int run_program(int argc, const char* const* argv, CommandContext context) {
  CLI::App app("moesim: how a Mixture-of-Experts model will behave on a cluster, and why",
               "moesim");
  app.set_version_flag("--version", "moesim " + version_text());
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 done, 1 our bug, 2 input, 3 device.\nExample: moesim run "
      "scenarios/quickstart.json");
  try {
    std::vector<std::pair<CLI::App*, CommandBody>> bodies;
    for (const Command& command : commands()) {
      CLI::App* sub = app.add_subcommand(command.name, command.doc);
      sub->footer("Example: " + std::string(command.example));
      bodies.emplace_back(sub, nullptr);
    }
    bool needs_root = false;
    for (int i = 1; i < argc; ++i) {
      const std::string word = argv[i];
      needs_root = needs_root || (word != "--help" && word != "-h" && word != "--version");
    }
    if (context.root.empty() && needs_root) {
      context.root = find_root();
    }
    for (std::size_t i = 0; i < bodies.size(); ++i) {
      bodies[i].second = commands()[i].define(*bodies[i].first, context);
    }
    try {
      app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      return app.exit(error, context.out, context.err) == 0 ? 0 : kInputExit;
    }
    for (const auto& [sub, body] : bodies) {
      if (sub->parsed()) {
        return body();
      }
    }
    return 0;
  } catch (const InputError& error) {
    context.err << error.what() << "\n";
    return kInputExit;
  } catch (const DeviceError& error) {
    context.err << error.what() << "\n";
    return kDeviceExit;
  }
}

}  // namespace moesim
