// SPDX-License-Identifier: Apache-2.0
// moesim calibrate: cost curves of a device from measured kernel tables.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <ostream>

#include "calibrate/device_fit.h"
#include "calibrate/device_transfer.h"
#include "calibrate/fit_report.h"
#include "calibrate/joint_fit.h"
#include "calibrate/profile_writer.h"
#include "sim/base/error.h"
#include "sim/cli/calibrate_cluster.h"
#include "sim/cli/calibrate_serving.h"
#include "sim/cli/commands.h"
#include "sim/input/card_library.h"

namespace moesim {
namespace {

struct CalibrateArguments {
  std::vector<std::string> inputs;
  std::string device;
  std::string cluster;
  std::string out = ".";
  std::string source = "not stated";
  int threads = 2;
  bool keep_good_rows = false;
  std::string report;
  std::string transfer_from;
  bool same_chip = false;
  bool leave_device_out = false;
  std::string scenario;
};

/// Errors |predicted / measured - 1| of the rows that were left out, of all curves that were kept.
std::vector<double> left_out_errors(const DeviceFit& fit) {
  std::vector<double> errors;
  for (const FittedCurve& fitted : fit.curves) {
    const std::vector<LeftOut>& rows = fitted.validation.rows;
    for (std::size_t i = 0; fitted.refused.empty() && i < rows.size(); ++i) {
      if (rows[i].law_seconds > 0) {
        errors.push_back(std::fabs(rows[i].seconds / fitted.rows.rows[i].seconds - 1.0));
      }
    }
  }
  std::sort(errors.begin(), errors.end());
  return errors;
}

void print_fit(std::ostream& out, const DeviceFit& fit) {
  out << "left-out errors by op, system, software and number format (4 folds of whole shapes)\n";
  for (const FittedCurve& fitted : fit.curves) {
    const CurveFitRecord& record = fitted.curve.record;
    char text[256];
    std::snprintf(text, sizeof text,
                  "%-64s %7.0f rows  median %5.2f%%  P90 %6.2f%%  law alone %5.1f%%  roofline "
                  "%5.1f%%  in band %4.1f%%",
                  fitted.rows.group().c_str(), record.rows, 100.0 * record.median_ape,
                  100.0 * record.p90_ape, 100.0 * record.law_median_ape,
                  100.0 * fitted.roofline_median_ape, 100.0 * record.band_coverage);
    out << text << (fitted.refused.empty() ? "" : "  REFUSED: " + fitted.refused) << '\n';
  }
  if (const std::vector<double> errors = left_out_errors(fit); !errors.empty()) {
    char text[128];
    std::snprintf(text, sizeof text,
                  "all curves kept: %zu rows left out, median %.2f%%, P90 %.2f%%\n", errors.size(),
                  100.0 * errors[errors.size() / 2], 100.0 * errors[errors.size() * 9 / 10]);
    out << text;
  }
  out << fit.rejected.size() << " rows rejected: impossible, or nothing to fit\n";
}

/// Writes the transfer of a measured relative's curves; scales typed into an earlier file are kept.
int write_transfer(const CalibrateArguments& arguments, const CommandContext& context) {
  const CardLibrary cards = CardLibrary::open(context.root);
  const std::string folder = context.root + "/hardware_profiles/curves";
  const CurveSet base = CurveSet::load(folder + "/" + arguments.transfer_from + ".json");
  if (!base.transferred_from.empty()) {
    throw InputError("--transfer-from", "",
                     "\"" + arguments.transfer_from + "\" is a transfer itself",
                     "a measured set, as " + base.transferred_from);
  }
  const DeviceProfile device = cards.device(arguments.device, "--device");
  const std::string path = (arguments.out == "." ? folder : arguments.out) + "/" + device.id + "." +
                           base.software + ".json";
  CurveTransfer known;
  const bool is_known = std::filesystem::exists(path);
  if (is_known) {
    known = read_curve_transfer(load_json(path), path);
  }
  const std::string base_vendor = cards.device(base.device, "--transfer-from").vendor;
  const Kinship kinship = arguments.same_chip            ? Kinship::same_chip
                          : device.vendor == base_vendor ? Kinship::other_chip
                                                         : Kinship::other_vendor;
  const CurveTransfer transfer = curve_transfer(device, base, kinship, is_known ? &known : nullptr);
  write_text_file(path, write_object(transfer).dump() + "\n");
  context.out << path << '\n';
  return 0;
}

/// Predicts each GPU of the tables from the others and prints how far off.
int judge_left_out_devices(const CalibrateArguments& arguments, const CommandContext& context) {
  const CardLibrary cards = CardLibrary::open(context.root);
  const auto known = cards.ids(CardKind::device);
  std::map<std::string, DeviceProfile> profiles;
  const auto profile = [&](const std::string& id) -> const DeviceProfile* {
    if (std::find(known.begin(), known.end(), id) == known.end()) {
      return nullptr;
    }
    return &profiles.try_emplace(id, cards.device(id, "tables")).first->second;
  };
  const std::vector<DeviceLeftOut> results =
      leave_device_out(arguments.inputs, profile, arguments.threads);
  if (results.empty()) {
    throw InputError("--leave-device-out", "", "needs tables of two GPUs at least",
                     "a folder with a folder of tables for each GPU");
  }
  context.out << "errors on a GPU that was left out: joint law of the other GPUs, its datasheet\n";
  for (const DeviceLeftOut& result : results) {
    char text[256];
    std::snprintf(text, sizeof text,
                  "%-44s %7zu rows  median %5.1f%%  P90 %5.1f%%  bias %+6.1f%%  law alone %5.1f%%  "
                  "without slow rows %5.1f%% %5.1f%%",
                  result.group.c_str(), result.rows, 100.0 * result.median_ape,
                  100.0 * result.p90_ape, 100.0 * result.bias, 100.0 * result.law_median_ape,
                  100.0 * result.usual_median_ape, 100.0 * result.usual_p90_ape);
    context.out << text << "\n    from " << result.from << '\n';
  }
  return 0;
}

}  // namespace

CommandBody define_calibrate(CLI::App& app, const CommandContext& context) {
  const auto arguments = std::make_shared<CalibrateArguments>();
  app.add_option("inputs", arguments->inputs,
                 "tables, folders with tables, or samples of moesim-kernels (.jsonl)");
  CLI::Option* device = app.add_option("--device", arguments->device,
                                       "device profile whose datasheet peaks are used");
  app.add_option("--cluster", arguments->cluster,
                 "instead of a device: cluster profile whose communication constants are fitted to "
                 "one comm/ folder, or to output of nvbandwidth --format json, nccl-tests, "
                 "rccl-tests and TransferBench; --out FILE.json")
      ->excludes(device);
  app.add_option(
      "--out", arguments->out,
      "folder for DEVICE.SOFTWARE.json, one file a software stack; or FILE.json: a device "
      "profile with what was measured, the curves beside it");
  app.add_option("--report", arguments->report,
                 "FILE.html: measured against predicted, residuals by shape, parameters");
  app.add_option("--source", arguments->source, "who measured: repository, commit, licence");
  app.add_option("--threads", arguments->threads, "worker threads")->check(CLI::Range(1, 64));
  app.add_flag("--keep-good-rows", arguments->keep_good_rows,
               "go on when tables have bad rows, without those rows");
  app.add_option("--transfer-from", arguments->transfer_from,
                 "instead of tables: curve set of a measured relative (h100_sxm.trtllm-1.3.0rc20), "
                 "scaled by the device's datasheet and marked as transferred");
  app.add_flag("--same-chip", arguments->same_chip,
               "with --transfer-from: the relative has the same chip, so its kernels behave alike");
  app.add_flag("--leave-device-out", arguments->leave_device_out,
               "instead of a device: predict the products and experts of each GPU in the folders "
               "from the others' tables and its datasheet, and print the errors")
      ->excludes(device);
  app.add_option(
         "--scenario", arguments->scenario,
         "instead of a device: the serving scenario of a deployment whose benchmark results "
         "are the inputs; its efficiency, and what to measure next; profiles go to --out")
      ->excludes(device);
  return [arguments, context] {
    if (!arguments->scenario.empty()) {
      if (arguments->inputs.empty()) {
        throw InputError("", "", "nothing to calibrate from",
                         "results of a serving benchmark, or rows of `moesim import`");
      }
      return calibrate_serving(arguments->inputs, arguments->scenario, arguments->out, context);
    }
    if (arguments->leave_device_out) {
      return judge_left_out_devices(*arguments, context);
    }
    if (arguments->device.empty() == arguments->cluster.empty()) {
      throw InputError("", "", "nothing to calibrate",
                       "--device ID, --cluster ID, or --scenario SCENARIO");
    }
    if (!arguments->cluster.empty()) {
      return calibrate_cluster(arguments->inputs, arguments->cluster, arguments->out,
                               arguments->source, context);
    }
    if (!arguments->transfer_from.empty()) {
      return write_transfer(*arguments, context);
    }
    if (arguments->inputs.empty()) {
      throw InputError("", "", "nothing to calibrate from",
                       "tables, folders or --transfer-from SET");
    }
    const CardLibrary cards = CardLibrary::open(context.root);
    DeviceFitOptions options;
    options.threads = arguments->threads;
    options.keep_good_rows = arguments->keep_good_rows;
    options.source = arguments->source;
    options.progress = [&](const std::string& group, std::size_t done, std::size_t all) {
      context.err << done << '/' << all << ' ' << group << '\n';
    };
    const auto known = cards.ids(CardKind::device);
    std::optional<DeviceProfile> profile;
    if (std::find(known.begin(), known.end(), arguments->device) != known.end()) {
      profile = cards.device(arguments->device, "--device");
    }
    const DeviceFit fit =
        fit_device(arguments->inputs, arguments->device, profile ? &*profile : nullptr, options);
    for (const Diagnostic& problem : fit.problems) {
      context.err << "left out: " << problem.text() << '\n';
    }
    print_fit(context.out, fit);
    if (!arguments->report.empty()) {
      write_text_file(arguments->report, fit_report_html(fit, arguments->device));
      context.out << arguments->report << '\n';
    }
    const bool is_profile = arguments->out.ends_with(".json");
    const std::filesystem::path folder = is_profile
                                             ? std::filesystem::path(arguments->out).parent_path()
                                             : std::filesystem::path(arguments->out);
    if (!folder.empty()) {
      std::filesystem::create_directories(folder);
    }
    if (is_profile) {
      const std::string source =
          arguments->source == "not stated" ? arguments->inputs.front() : arguments->source;
      const DeviceProfile measured =
          measured_profile(fit, profile ? &*profile : nullptr, arguments->device, source);
      write_text_file(arguments->out, write_device_profile(measured).dump() + "\n");
      context.out << arguments->out << '\n';
    }
    for (const CurveSet& set : fit.sets) {
      const std::string path = (folder / (set.device + "." + set.software + ".json")).string();
      write_text_file(path, set.to_json().dump(-1) + "\n");
      context.out << path << '\n';
    }
    return 0;
  };
}

}  // namespace moesim
