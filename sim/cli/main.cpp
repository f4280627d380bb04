// SPDX-License-Identifier: Apache-2.0
#include <exception>
#include <iostream>

#include "sim/cli/commands.h"

int main(int argc, char** argv) {
  try {
    return moesim::run_program(argc, argv, moesim::CommandContext{std::cout, std::cerr, ""});
  } catch (const std::exception& error) {
    std::cerr << "moesim: internal error: " << error.what() << "\n";
    return 1;
  }
}
