// SPDX-License-Identifier: Apache-2.0
// libFuzzer's door to every reader: MOESIM_FUZZ_PARSER in the environment names the one to feed.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "sim/base/error.h"
#include "tests/fuzz/parsers.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const moesim::fuzz::Parser& target = []() -> const moesim::fuzz::Parser& {
    const char* name = std::getenv("MOESIM_FUZZ_PARSER");
    if (name == nullptr) {
      std::fprintf(stderr, "set MOESIM_FUZZ_PARSER to one of:");
      for (const moesim::fuzz::Parser& parser : moesim::fuzz::parsers()) {
        std::fprintf(stderr, " %s", std::string(parser.name).c_str());
      }
      std::fprintf(stderr, "\n");
      std::exit(2);
    }
    return moesim::fuzz::parser(name);
  }();
  try {
    target.from_text(std::string_view(reinterpret_cast<const char*>(data), size));
  } catch (const moesim::InputError&) {
    // What a broken file deserves.
  }
  return 0;
}
