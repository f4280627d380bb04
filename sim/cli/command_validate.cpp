// SPDX-License-Identifier: Apache-2.0
// moesim validate: predictions against measurements, group by group.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <ostream>

#include "calibrate/validate_compute.h"
#include "sim/base/error.h"
#include "sim/cli/commands.h"

namespace moesim {
namespace {

struct ValidateArguments {
  std::vector<std::string> folders;
  std::string suite = "compute";
  std::string format = "text";
  bool rows = false;
};

std::string percent(double fraction) {
  char text[32];
  std::snprintf(text, sizeof text, "%7.2f", 100.0 * fraction);
  return text;
}

void print_text(std::ostream& out, const ComputeValidation& validation) {
  std::size_t width = 5;
  for (const ValidationGroup& group : validation.groups) {
    width = std::max(width, group.group.size());
  }
  out << std::string("group").append(width - 5, ' ')
      << "       n  left out  median%    P90%   mean%   bias%  in band%  half-width%\n";
  for (const ValidationGroup& group : validation.groups) {
    char counts[48];
    std::snprintf(counts, sizeof counts, "%8zu %9zu", group.n, group.left_out);
    out << group.group << std::string(width - group.group.size(), ' ') << counts;
    if (group.n > 0) {
      out << "  " << percent(group.median_ape) << ' ' << percent(group.p90_ape) << ' '
          << percent(group.mape) << ' ' << percent(group.bias) << "   "
          << percent(group.band_coverage) << "      " << percent(group.band_half_width);
    }
    out << '\n';
  }
}

}  // namespace

CommandBody define_validate(CLI::App& app, const CommandContext& context) {
  const auto arguments = std::make_shared<ValidateArguments>();
  app.add_option("--data", arguments->folders,
                 "folder with measured tables (compute/SYSTEM/TABLE.FRAMEWORK-VERSION.csv[.gz])");
  app.add_option("--suite", arguments->suite, "which measurements")
      ->check(CLI::IsMember({"compute"}));
  app.add_flag("--rows", arguments->rows, "also every row, predicted or left out with its reason");
  app.add_option("--format", arguments->format, "text or json")
      ->check(CLI::IsMember({"text", "json"}));
  return [arguments, context] {
    if (arguments->folders.empty()) {
      throw InputError("", "", "no measurements given", "--data DIR, once or more often");
    }
    const ComputeValidation validation =
        validate_compute(arguments->folders, load_curve_sets(context.root), arguments->rows);
    if (arguments->format == "json") {
      context.out << to_json(validation).dump() << '\n';
    } else {
      print_text(context.out, validation);
      if (arguments->rows) {
        context.err << "--rows writes rows only with --format json\n";
      }
    }
    for (const Diagnostic& problem : validation.problems) {
      context.err << problem.text() << '\n';
    }
    for (const std::string& absent : validation.absent) {
      context.err << "not used: " << absent << '\n';
    }
    return 0;
  };
}

}  // namespace moesim
