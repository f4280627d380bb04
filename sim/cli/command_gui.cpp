// SPDX-License-Identifier: Apache-2.0
// moesim gui: starts the desktop explorer, a program of its own beside this one (it links Qt, this
// does not).
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>

#include "sim/base/error.h"
#include "sim/cli/commands.h"

namespace moesim {
namespace {

/// The program beside the running one; throws InputError saying how to get it.
std::string explorer_beside() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path explorer = self.parent_path() / "moesim-gui";
  if (error || !std::filesystem::exists(explorer, error)) {
    throw InputError("moesim-gui", "", "is not beside this program: it was not built",
                     "install qt6-base-dev, qt6-svg-dev and libqcustomplot-dev, configure again "
                     "and build the target moesim-gui");
  }
  return explorer.string();
}

}  // namespace

CommandBody define_gui(CLI::App& app, const CommandContext&) {
  auto file = std::make_shared<std::string>();
  app.add_option("file", *file, "scenario, result, trace, validation or sweep database to open");
  return [file]() -> int {
    const std::string explorer = explorer_beside();
    std::string program = explorer;
    char* const arguments[] = {program.data(), file->empty() ? nullptr : file->data(), nullptr};
    execv(explorer.c_str(), arguments);
    throw InputError(explorer, "", std::string("cannot be started: ") + std::strerror(errno),
                     "build the target moesim-gui anew");
  };
}

}  // namespace moesim
