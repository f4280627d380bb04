// SPDX-License-Identifier: Apache-2.0
// Seeded mutations of valid files: whatever the reader thinks of them, it throws InputError or
// takes them; it never crashes, hangs or throws anything else. libFuzzer does the same with more
// wit where clang is at hand; this runs everywhere in a second or two.
#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include "sim/base/error.h"
#include "sim/base/json.h"
#include "sim/base/random.h"
#include "tests/fuzz/parsers.h"

namespace moesim::fuzz {
namespace {

constexpr std::array<std::string_view, 24> kTokens = {
    "{",    "}",  "[",    "]",      ",",        ":",    "\"",         "null",
    "true", "-1", "0",    "1e308",  "1e-320",   "NaN",  "\\u0000",    "99999999999999999999",
    "0.5",  "\n", "\xff", "\"id\"", "\"kind\"", "-0.0", "2147483648", "\"$ref\""};

/// A number of `text`, chosen at random, replaced by a token.
void replace_number(std::string& text, RandomStream& random) {
  const std::size_t from = text.find_first_of("0123456789", random.below(text.size()));
  if (from != std::string::npos) {
    const std::size_t end = text.find_first_not_of("0123456789.eE+-", from);
    text.replace(from, std::min(end, text.size()) - from, kTokens[random.below(kTokens.size())]);
  }
}

void mutate(std::string& text, RandomStream& random) {
  if (text.empty()) {
    text = kTokens[random.below(kTokens.size())];
    return;
  }
  const std::size_t at = random.below(text.size());
  const std::size_t length = 1 + random.below(std::min<std::size_t>(40, text.size() - at));
  switch (random.below(7)) {
    case 0:
      text[at] = static_cast<char>(random.below(256));
      break;
    case 1:
      text.erase(at, length);
      break;
    case 2:
      text.insert(random.below(text.size()), text.substr(at, length));
      break;
    case 3:
      text.insert(at, kTokens[random.below(kTokens.size())]);
      break;
    case 4:
      text.resize(at);
      break;
    case 5: {  // two pieces change places
      const std::size_t to = random.below(text.size());
      const std::string piece = text.substr(at, length);
      text.erase(at, length);
      text.insert(std::min(to, text.size()), piece);
      break;
    }
    default:
      replace_number(text, random);
  }
}

class Mutation : public testing::TestWithParam<std::string> {};

TEST_P(Mutation, NeverLeadsToAnythingButAnInputError) {
  const Parser& reader = parser(GetParam());
  const std::string sample = read_text_file(std::string(reader.sample), 1u << 20);
  std::size_t refused = 0;
  constexpr std::size_t kTrials = 400;
  for (std::size_t trial = 0; trial < kTrials; ++trial) {
    RandomStream random(7, "mutation/" + GetParam(), trial);
    std::string text = sample;
    for (std::uint64_t i = 1 + random.below(4); i > 0; --i) {
      mutate(text, random);
    }
    try {
      reader.from_text(text);
    } catch (const InputError& error) {
      EXPECT_FALSE(error.diagnostics().empty());
      ++refused;
    } catch (const std::exception& error) {
      ADD_FAILURE() << GetParam() << ", trial " << trial << ": " << error.what();
    }
  }
  // Mutations that nobody notices would test nothing.
  EXPECT_GT(refused, kTrials / 20) << GetParam();
}

std::vector<std::string> parser_names() {
  std::vector<std::string> names;
  for (const Parser& candidate : parsers()) {
    names.emplace_back(candidate.name);
  }
  return names;
}

INSTANTIATE_TEST_SUITE_P(Parsers, Mutation, testing::ValuesIn(parser_names()),
                         [](const testing::TestParamInfo<std::string>& name) {
                           return name.param;
                         });

}  // namespace
}  // namespace moesim::fuzz
