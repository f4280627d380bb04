// SPDX-License-Identifier: Apache-2.0
// Broken files of every kind, each with the whole message that its reader must give.
//
// tests/data/broken/<parser>/... holds the files; beside each lies <file>.expected. Messages name
// files as they were given, so paths are from the repository root, where CTest runs this program.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "sim/base/error.h"
#include "sim/base/json.h"
#include "tests/fuzz/parsers.h"

namespace moesim::fuzz {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> broken_files(std::string_view parser_name) {
  const fs::path folder = fs::path("tests/data/broken") / std::string(parser_name);
  std::vector<std::string> files;
  if (fs::exists(folder)) {
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      if (entry.is_regular_file() && entry.path().extension() != ".expected") {
        files.push_back(entry.path().generic_string());
      }
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// Everything `parser` says about the file at `path`; "" when it takes it.
std::string message_of(const Parser& parser, const std::string& path) {
  try {
    parser.from_file(path);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

class BrokenInput : public testing::TestWithParam<std::string> {};

TEST_P(BrokenInput, EveryFileGetsItsWholeMessage) {
  const Parser& reader = parser(GetParam());
  for (const std::string& file : broken_files(reader.name)) {
    std::string expected = read_text_file(file + ".expected", 1u << 20);
    ASSERT_FALSE(expected.empty()) << file;
    expected.pop_back();  // the newline that ends the file
    EXPECT_EQ(message_of(reader, file), expected) << file;
  }
}

TEST_P(BrokenInput, TheSampleThatMutationsStartFromIsTaken) {
  const Parser& reader = parser(GetParam());
  EXPECT_EQ(message_of(reader, std::string(reader.sample)), "");
}

std::vector<std::string> parser_names() {
  std::vector<std::string> names;
  for (const Parser& candidate : parsers()) {
    names.emplace_back(candidate.name);
  }
  return names;
}

INSTANTIATE_TEST_SUITE_P(Parsers, BrokenInput, testing::ValuesIn(parser_names()),
                         [](const testing::TestParamInfo<std::string>& name) {
                           return name.param;
                         });

TEST(BrokenInputs, AreAtLeastSixtyAndNoExpectationIsOrphaned) {
  std::size_t count = 0;
  for (const Parser& candidate : parsers()) {
    count += broken_files(candidate.name).size();
  }
  EXPECT_GE(count, 60u);
  for (const auto& entry : fs::recursive_directory_iterator("tests/data/broken")) {
    const std::string path = entry.path().generic_string();
    if (path.ends_with(".expected")) {
      EXPECT_TRUE(fs::exists(path.substr(0, path.size() - 9))) << path;
    }
  }
}

TEST(HugeInput, TwoHundredThousandBracketsAreRefused) {
  const std::string text(200000, '[');
  try {
    parse_json(text, "deep.json");
    FAIL();
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(), "deep.json: line 1, column 65: nested more than 64 levels deep");
  }
}

TEST(HugeInput, NumbersOfAMillionDigitsAreRefused) {
  EXPECT_THROW(parse_json("{\"nodes\": " + std::string(1000000, '9') + "}", "n.json"), InputError);
  // A fraction of a million digits is a number; it reads as the nearest double.
  const Json third = parse_json("[0." + std::string(1000000, '3') + "]", "n.json");
  EXPECT_DOUBLE_EQ(third.items()[0].as_number(), 1.0 / 3.0);
}

TEST(HugeInput, AFileOfOneGigabyteIsRefusedByItsSize) {
  // A number of 1e9 digits; the file is sparse, and no byte of it may be needed to refuse it.
  const fs::path path = fs::path(testing::TempDir()) / "moesim_one_gigabyte.json";
  write_text_file(path.string(), "1");
  fs::resize_file(path, 1000000000);
  try {
    load_json(path.string());
    FAIL();
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("67108864"), std::string::npos) << error.what();
  }
  fs::remove(path);
}

}  // namespace
}  // namespace moesim::fuzz
