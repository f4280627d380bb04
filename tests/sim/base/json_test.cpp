// SPDX-License-Identifier: Apache-2.0
#include "sim/base/json.h"

#include <gtest/gtest.h>

#include "sim/base/error.h"

namespace moesim {
namespace {

std::string message_of(std::string_view text) {
  try {
    parse_json(text, "x.json");
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Json, KeepsKeyOrderAndTellsIntegersFromReals) {
  const Json json = parse_json(R"({"b": 1, "a": [1.5, true, null, "x"]})", "x.json");
  EXPECT_EQ(json.dump(-1), R"({"b":1,"a":[1.5,true,null,"x"]})");
  EXPECT_TRUE(json.find("b")->is_integer());
  EXPECT_DOUBLE_EQ(json.at_pointer("/a/0")->as_number(), 1.5);
  EXPECT_EQ(json.at_pointer("/a/9"), nullptr);
}

TEST(Json, RefusesADuplicateKeyAndSaysWhere) {
  EXPECT_EQ(message_of("{\"seed\": 1,\n \"seed\": 2}"),
            "x.json: line 2, column 7: the key \"seed\" appears twice in the same object; keep one "
            "of them");
}

TEST(Json, Refuses200000NestedBracketsWithoutUsingTheStack) {
  EXPECT_NE(message_of(std::string(200000, '[')).find("nested more than 64 levels deep"),
            std::string::npos);
}

TEST(Json, RefusesNumbersThatNoDoubleHoldsAndWordsThatAreNoJson) {
  EXPECT_NE(message_of("[1e999]").find("number overflow"), std::string::npos);
  EXPECT_NE(message_of("[NaN]").find("line 1, column 2"), std::string::npos);
  EXPECT_NE(message_of("[Infinity]"), "accepted");
  EXPECT_NE(message_of("{\"a\": 1} trailing"), "accepted");
  EXPECT_NE(message_of(""), "accepted");
}

TEST(Json, ReadsANumberOfAMillionDigitsWithinTheSizeLimitOrRefusesIt) {
  // 10^999999 is beyond double; 0.111... with a million digits is an ordinary number near 1/9.
  EXPECT_NE(message_of("1" + std::string(999999, '0')), "accepted");
  EXPECT_NEAR(parse_json("0." + std::string(1000000, '1'), "x").as_number(), 1.0 / 9.0, 1e-15);
  JsonLimits small;
  small.max_bytes = 10;
  EXPECT_THROW(parse_json("[1,2,3,4,5,6,7]", "x.json", small), InputError);
}

TEST(Json, WritesTheShortestTextThatReadsBackEqual) {
  EXPECT_EQ(number_text(0.1), "0.1");
  EXPECT_EQ(number_text(1e300), "1e+300");
  EXPECT_EQ(parse_json(Json(1.0 / 3.0).dump(-1), "x").as_number(), 1.0 / 3.0);
}

TEST(Json, EscapesKeysInPointers) {
  EXPECT_EQ(pointer_token("a/b~c"), "a~1b~0c");
  const Json json = parse_json(R"({"a/b~c": [7]})", "x");
  EXPECT_EQ(json.at_pointer("/a~1b~0c/0")->as_integer(), 7);
}

TEST(Json, LongStringsReadBackWholeWhateverStandsAroundThem) {
  for (const std::size_t length : {255U, 256U, 257U, 5000U}) {
    const std::string plain(length, 'A');
    for (const std::string& text :
         {plain, plain + "\"", "\"" + plain + "\\", plain + "\\\"" + plain, plain + "\xc3\xa9",
          plain + "\n", "\\" + plain}) {
      Json json = Json::object();
      json.set("first", text);
      json.set(text, Json::array());
      json.set("empty", "");
      json.set("more", Json(Json::Array{text, "", "x", text, text}));
      EXPECT_EQ(parse_json(json.dump(-1), "x"), json) << length;
      EXPECT_EQ(parse_json(json.dump(2), "x"), json) << length;
    }
    EXPECT_EQ(parse_json("\"" + plain + "\"", "x").as_text(), plain);
  }
}

TEST(Json, ErrorsBehindLongStringsAreWhereTheTextHasThem) {
  const std::string plain(1000, 'A');
  // Columns count from 1: {"a": " is seven letters, the string a thousand, ", two more; then b.
  const auto where = [](const std::string& text) {
    const std::string message = message_of(text);
    return message.substr(0, message.find(':', message.find("column")));
  };
  EXPECT_EQ(where("{\"a\": \"" + plain + "\",b}"), "x.json: line 1, column 1010");
  // The second key ends at 7 + 1000 + 2 + 3: found a letter after its closing quote was read.
  EXPECT_EQ(where("{\"a\": \"" + plain + "\",\"a\": 1}"), "x.json: line 1, column 1012");
  EXPECT_EQ(where("{\"a\": \"" + plain), "x.json: line 1, column 1008");
  EXPECT_EQ(where("[\"" + plain + "\" \"" + plain + "\"]"), "x.json: line 1, column 2006");
}

TEST(Json, NegativeZeroReadsBackEqual) { EXPECT_EQ(parse_json("[-0.0]", "t").dump(-1), "[-0.0]"); }

}  // namespace
}  // namespace moesim
