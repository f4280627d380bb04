// SPDX-License-Identifier: Apache-2.0
// moesim-kernels: measures this machine's devices and writes raw samples (docs/kernels.md).
#include <CLI/CLI.hpp>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>

#include "kernels/collective_cases.h"
#include "kernels/runner.h"

namespace {

using namespace moesim;
using namespace moesim::gpu;

struct Options {
  std::string device;
  std::string out;
  std::string filter;
  std::string suite = "quick";
  std::string params;
  std::string rendezvous;
  bool is_cold = false;
  bool is_resumed = false;
  bool is_quiet = false;
  double max_seconds = 0;
};

/// The samples' target: a file that grows line by line, or standard output.
class SampleWriter {
 public:
  SampleWriter(const std::string& path, bool is_resumed) {
    if (path.empty() || path == "-") {
      return;
    }
    if (is_resumed) {
      drop_cut_line(path);
    }
    file_ = std::make_unique<std::ofstream>(path, is_resumed ? std::ios::app : std::ios::trunc);
    check(path);
    path_ = path;
  }
  void write(const Sample& sample) {
    std::ostream& out = file_ ? *file_ : std::cout;
    out << sample_line(sample) << '\n' << std::flush;
    check(path_);
  }

 private:
  void check(const std::string& path) const {
    if (file_ && !*file_) {
      throw InputError(path, "", "cannot be written");
    }
  }
  /// A killed run can leave half a line; the next line must not be glued to it.
  static void drop_cut_line(const std::string& path) {
    if (!std::filesystem::is_regular_file(path)) {
      return;
    }
    const std::string text = read_text_file(path, std::size_t{1} << 30);
    const std::size_t end = text.rfind('\n');
    std::filesystem::resize_file(path, end == std::string::npos ? 0 : end + 1);
  }

  std::unique_ptr<std::ofstream> file_;
  std::string path_;
};

/// The device asked for, else the first GPU; without a GPU says so (exit code 3).
std::unique_ptr<Device> chosen_device(const Options& options, const ProcessPlace& place) {
  if (!options.device.empty()) {
    return open_device(options.device);
  }
  const std::string first = device_names().front();
  if (first == "host") {
    std::string text = "no GPU was found";
    for (const std::string& reason : absent_backends()) {
      text += "\n  " + reason;
    }
    throw DeviceError(text + "\n  to measure this CPU instead, add --device host");
  }
  const std::size_t num_gpus = device_names().size() - 1;
  return open_device(device_names()[static_cast<std::size_t>(place.local_rank) % num_gpus]);
}

int print_list(const Options& options) {
  std::cout << "Devices:";
  for (const std::string& name : device_names()) {
    std::cout << " " << name;
  }
  std::cout << "\n";
  for (const std::string& reason : absent_backends()) {
    std::cout << "Absent: " << reason << "\n";
  }
  const std::unique_ptr<Device> device =
      open_device(options.device.empty() ? device_names().front() : options.device);
  std::cout << "\nOperations (cases of the quick and the full suite on " << device->info().name
            << "):\n";
  for (const Operation& operation : operations()) {
    std::printf(
        "  %-18s %4zu %5zu  %s\n", std::string(operation.name).c_str(),
        operation.cases(device->info(), SuiteSize::quick).size(),
        operation.cases(device->info(), SuiteSize::full).size() * (operation.has_cold ? 2 : 1),
        std::string(operation.doc).c_str());
  }
  return 0;
}

int run(const Options& options, SuiteSize size, const std::string& command) {
  const ProcessPlace place = process_place(options.rendezvous);
  const std::unique_ptr<Device> device = chosen_device(options, place);
  cases::set_process_place(place);
  const bool is_first = place.rank == 0;  // of a job: the one that writes and reports
  std::vector<Case> cases;
  if (options.params.empty()) {
    cases = suite_cases(device->info(), size, options.filter);
  } else {
    cases.push_back(
        named_case(options.filter, parse_json(options.params, "--params"), options.is_cold));
  }
  if (cases.empty()) {
    throw InputError("", "", "no case matches \"" + options.filter + "\"",
                     "`moesim-kernels list` names the operations");
  }
  RunOptions run_options;
  run_options.command = command;
  run_options.timing.max_time = Seconds(options.max_seconds > 0    ? options.max_seconds
                                        : size == SuiteSize::quick ? 0.25
                                                                   : 1.0);
  if (size == SuiteSize::quick && options.max_seconds <= 0) {
    run_options.timing.noise_fraction = 0.02;
  }
  if (options.is_resumed) {
    if (options.out.empty() || options.out == "-") {
      throw InputError("", "", "--resume needs --out FILE");
    }
    if (std::filesystem::exists(options.out)) {
      for (const Sample& sample : read_samples(options.out, true)) {
        run_options.done.insert(sample_key(sample));
      }
    }
  }
  std::unique_ptr<SampleWriter> writer;
  if (is_first) {
    writer = std::make_unique<SampleWriter>(options.out, options.is_resumed);
  }
  run_options.keep = [&](const Sample& sample) {
    if (is_first) {
      writer->write(sample);
    }
  };
  run_options.progress = [&](const std::string& line) {
    if (!options.is_quiet && is_first) {
      std::cerr << line << std::endl;
    }
  };
  const RunSummary summary = run_cases(*device, cases, run_options);
  if (!is_first) {
    return summary.failed > 0 ? 3 : 0;
  }
  std::cerr << device->info().name << ": " << summary.measured << " measured, " << summary.resumed
            << " already in the file, " << summary.skipped << " skipped, " << summary.failed
            << " failed\n";
  return summary.failed > 0 ? 3 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Measures what MoE inference and training need of a device: kernels, memory, links.\n"
      "Example: moesim-kernels suite quick --out samples.jsonl"};
  app.set_version_flag("--version", std::string("moesim-kernels ") + MOESIM_VERSION);
  app.require_subcommand(1);
  Options options;
  const auto add_device = [&](CLI::App* command) {
    command->add_option("--device", options.device,
                        "cuda:N, hip:N or host; default: the first GPU");
  };
  const auto add_run_options = [&](CLI::App* command) {
    add_device(command);
    command->add_option("--out", options.out,
                        "samples go to this file (JSON lines); default: stdout");
    command->add_flag("--resume", options.is_resumed, "keep the samples in --out, run the others");
    command->add_flag("--quiet", options.is_quiet, "no line per case");
    command->add_option("--rendezvous", options.rendezvous,
                        "file for NCCL's id: processes that Slurm or mpirun started form one job");
    command->add_option("--max-seconds", options.max_seconds, "most time spent sampling one case")
        ->check(CLI::PositiveNumber);
  };
  CLI::App* list = app.add_subcommand("list", "devices and operations");
  add_device(list);
  CLI::App* run_command =
      app.add_subcommand("run", "cases of the quick suite, or one case with --params");
  run_command->add_option("filter", options.filter, "part of \"operation params\"");
  run_command->add_option("--params", options.params,
                          "params of one case of operation FILTER, JSON");
  run_command->add_flag("--cold", options.is_cold, "flush caches before each sample of that case");
  add_run_options(run_command);
  CLI::App* suite = app.add_subcommand("suite", "all cases");
  suite->add_option("size", options.suite, "quick (2 minutes on a GPU) or full")
      ->required()
      ->check(CLI::IsMember({"quick", "full"}));
  add_run_options(suite);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  std::string command;
  for (int i = 0; i < argc; ++i) {
    command += (i == 0 ? "" : " ") + std::string(argv[i]);
  }
  try {
    if (list->parsed()) {
      return print_list(options);
    }
    return run(options,
               suite->parsed() && options.suite == "full" ? SuiteSize::full : SuiteSize::quick,
               command);
  } catch (const InputError& error) {
    std::cerr << error.what() << "\n";
    return 2;
  } catch (const DeviceError& error) {
    std::cerr << error.what() << "\n";
    return 3;
  }
}
