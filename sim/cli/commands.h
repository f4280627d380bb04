// SPDX-License-Identifier: Apache-2.0
// The commands of the program, one table: name, doc, example, and the function that declares its
// options and returns its body.
//
// A new command is a file with one `define_x` function and a row in commands.cpp. Bodies write
// their answer to `out`, speak to people on `err`, throw InputError or DeviceError, and return the
// exit code (0 done, 2 the question has no answer).
#pragma once

#include <functional>
#include <iosfwd>
#include <span>
#include <string>

namespace CLI {
class App;
}

namespace moesim {

struct CommandContext {
  std::ostream& out;
  std::ostream& err;
  std::string root;  ///< folder that holds models/, hardware_profiles/ and scenarios/
};

using CommandBody = std::function<int()>;

struct Command {
  const char* name;
  const char* doc;
  const char* example;
  CommandBody (*define)(CLI::App& app, const CommandContext& context);
};

std::span<const Command> commands();

CommandBody define_advise(CLI::App& app, const CommandContext& context);
CommandBody define_calibrate(CLI::App& app, const CommandContext& context);
CommandBody define_explain(CLI::App& app, const CommandContext& context);
CommandBody define_gui(CLI::App& app, const CommandContext& context);
CommandBody define_route(CLI::App& app, const CommandContext& context);
CommandBody define_place(CLI::App& app, const CommandContext& context);
CommandBody define_plan(CLI::App& app, const CommandContext& context);
CommandBody define_run(CLI::App& app, const CommandContext& context);
CommandBody define_show(CLI::App& app, const CommandContext& context);
CommandBody define_sweep(CLI::App& app, const CommandContext& context);
CommandBody define_traffic(CLI::App& app, const CommandContext& context);
CommandBody define_import(CLI::App& app, const CommandContext& context);
CommandBody define_compare(CLI::App& app, const CommandContext& context);
CommandBody define_diagnose(CLI::App& app, const CommandContext& context);
CommandBody define_validate(CLI::App& app, const CommandContext& context);

/// Parses the command line and runs one command; returns the exit code. `context.root` may be
/// empty: it is then searched for.
int run_program(int argc, const char* const* argv, CommandContext context);

}  // namespace moesim
