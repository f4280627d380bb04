// SPDX-License-Identifier: Apache-2.0
// A router (or any policy) of the user's as a program: one line of JSON in, one line out.
//
// Request: {"schema": "moesim/router/1", "tokens", "experts", "top_k", "draw", "token_ids":
// [tokens], "logits": [tokens][experts]}. Answer: {"experts": [[...], ...]}, a list of at most
// top_k different experts per token. The program is started once and answers until its standard
// input ends.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sim/moe/router.h"

namespace moesim {

/// A child process that answers one line with one line.
class LineProgram {
 public:
  /// Starts `command` (looked up in PATH). Throws InputError when it cannot be started.
  explicit LineProgram(std::vector<std::string> command);
  /// Closes its input and waits for its end; a program that does not end within a second is killed.
  ~LineProgram();
  LineProgram(const LineProgram&) = delete;
  LineProgram& operator=(const LineProgram&) = delete;

  /// Sends `line` and returns the next line. Throws InputError when the program ends, is silent for
  /// `timeout_s`, or answers more than 256 MB.
  std::string ask(std::string_view line, double timeout_s = 60.0);

 private:
  std::vector<std::string> command_;
  int socket_ = -1;
  int process_ = -1;
  std::string received_;
};

std::unique_ptr<Router> make_program_router(const RouterOptions& options);

}  // namespace moesim
