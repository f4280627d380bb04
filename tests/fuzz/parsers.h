// SPDX-License-Identifier: Apache-2.0
// Every reader of outside input by name, for the tests that feed them rubbish: broken files with
// their expected messages, seeded mutations, and the libFuzzer targets.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace moesim::fuzz {

struct Parser {
  std::string_view name;    ///< also the folder of its broken files
  std::string_view sample;  ///< a valid file, from the repository root: where mutations start
  /// Reads the file at `path`; throws InputError (and nothing else) when it is broken.
  void (*from_file)(const std::string& path);
  /// Reads `text` as if it stood in a file; what it accepts it also writes and reads again, and
  /// aborts when the two differ.
  void (*from_text)(std::string_view text);
};

const std::vector<Parser>& parsers();
/// Aborts when there is none called `name`.
const Parser& parser(std::string_view name);

}  // namespace moesim::fuzz
