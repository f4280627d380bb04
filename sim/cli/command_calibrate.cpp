// SPDX-License-Identifier: Apache-2.0
// moesim calibrate: cost curves of a device from measured kernel tables.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <ostream>

#include "calibrate/device_fit.h"
#include "sim/base/error.h"
#include "sim/cli/commands.h"
#include "sim/input/card_library.h"

namespace moesim {
namespace {

struct CalibrateArguments {
  std::vector<std::string> inputs;
  std::string device;
  std::string out = ".";
  std::string source = "not stated";
  int threads = 2;
  bool keep_good_rows = false;
};

void print_fit(std::ostream& out, const DeviceFit& fit) {
  out << "left-out errors by op, system, software and number format (4 folds of whole shapes)\n";
  for (const FittedCurve& fitted : fit.curves) {
    const CurveFitRecord& record = fitted.curve.record;
    char text[160];
    std::snprintf(text, sizeof text,
                  "%-64s %7.0f rows  median %5.2f%%  P90 %6.2f%%  law alone %5.1f%%  roofline "
                  "%5.1f%%  in band %4.1f%%",
                  fitted.rows.group().c_str(), record.rows, 100.0 * record.median_ape,
                  100.0 * record.p90_ape, 100.0 * record.law_median_ape,
                  100.0 * fitted.roofline_median_ape, 100.0 * record.band_coverage);
    out << text << (fitted.refused.empty() ? "" : "  REFUSED: " + fitted.refused) << '\n';
  }
  out << fit.rejected.size() << " rows rejected as impossible\n";
}

}  // namespace

CommandBody define_calibrate(CLI::App& app, const CommandContext& context) {
  const auto arguments = std::make_shared<CalibrateArguments>();
  app.add_option("inputs", arguments->inputs, "tables, or folders with tables")->required();
  app.add_option("--device", arguments->device, "device profile whose datasheet peaks are used")
      ->required();
  app.add_option("--out", arguments->out,
                 "folder for DEVICE.SOFTWARE.json, one file a software stack");
  app.add_option("--source", arguments->source, "who measured: repository, commit, licence");
  app.add_option("--threads", arguments->threads, "worker threads")->check(CLI::Range(1, 64));
  app.add_flag("--keep-good-rows", arguments->keep_good_rows,
               "go on when tables have bad rows, without those rows");
  return [arguments, context] {
    const CardLibrary cards = CardLibrary::open(context.root);
    DeviceFitOptions options;
    options.threads = arguments->threads;
    options.keep_good_rows = arguments->keep_good_rows;
    options.source = arguments->source;
    options.progress = [&](const std::string& group, std::size_t done, std::size_t all) {
      context.err << done << '/' << all << ' ' << group << '\n';
    };
    const DeviceFit fit =
        fit_device(arguments->inputs, cards.device(arguments->device, "--device"), options);
    for (const Diagnostic& problem : fit.problems) {
      context.err << "left out: " << problem.text() << '\n';
    }
    print_fit(context.out, fit);
    std::filesystem::create_directories(arguments->out);
    for (const CurveSet& set : fit.sets) {
      const std::string path = arguments->out + "/" + set.device + "." + set.software + ".json";
      write_text_file(path, set.to_json().dump(-1) + "\n");
      context.out << path << '\n';
    }
    return 0;
  };
}

}  // namespace moesim
