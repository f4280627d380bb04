// SPDX-License-Identifier: Apache-2.0
// The program in this process: words in, text and exit code out.
#pragma once

#include <sstream>
#include <string>
#include <vector>

#include "sim/cli/commands.h"

#ifndef MOESIM_SOURCE_DIR
#define MOESIM_SOURCE_DIR "."  // only where this header is compiled alone; tests are told theirs
#endif

namespace moesim {

struct Outcome {
  int code = 0;
  std::string out;
  std::string err;
};

/// `moesim WORDS...`, with the shipped cards and profiles.
inline Outcome moesim(std::vector<std::string> words) {
  words.insert(words.begin(), "moesim");
  std::vector<const char*> argv;
  for (const std::string& word : words) {
    argv.push_back(word.c_str());
  }
  std::ostringstream out;
  std::ostringstream err;
  Outcome outcome;
  outcome.code = run_program(static_cast<int>(argv.size()), argv.data(),
                             CommandContext{out, err, MOESIM_SOURCE_DIR});
  outcome.out = out.str();
  outcome.err = err.str();
  return outcome;
}

}  // namespace moesim
