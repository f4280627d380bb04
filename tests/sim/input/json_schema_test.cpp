// SPDX-License-Identifier: Apache-2.0
#include "sim/input/json_schema.h"

#include <gtest/gtest.h>

#include <string>

namespace moesim {
namespace {

TEST(JsonSchema, HoldsRangeChoicesDefaultAndDocOfAKey) {
  const Json schema = json_schema("scenario");
  EXPECT_EQ(schema.at_pointer("/properties/schema/const")->as_text(), "moesim/scenario/1");
  const Json* workload = schema.at_pointer("/$defs/workload/properties");
  ASSERT_NE(workload, nullptr);
  EXPECT_EQ(workload->at_pointer("/batch_per_gpu/exclusiveMinimum")->as_number(), 0);
  EXPECT_EQ(workload->at_pointer("/phase/enum/1")->as_text(), "prefill");
  EXPECT_EQ(schema.at_pointer("/properties/seed/default")->as_integer(), 1);
  EXPECT_FALSE(schema.at_pointer("/additionalProperties")->as_bool());
}

TEST(JsonSchema, ListsRequiredKeys) {
  const Json schema = json_schema("hardware_profile");
  bool has_id = false;
  for (const Json& key : schema.find("required")->items()) {
    has_id = has_id || key.as_text() == "id";
  }
  EXPECT_TRUE(has_id);
}

TEST(JsonSchema, RangeOfASourcedNumberNarrowsItsValue) {
  const Json schema = json_schema("hardware_profile");
  const Json* memory = schema.at_pointer("/properties/memory_bytes");
  EXPECT_EQ(memory->at_pointer("/$ref")->as_text(), "#/$defs/sourced_number");
  EXPECT_EQ(memory->at_pointer("/properties/value/minimum")->as_number(), 1e6);
}

TEST(JsonSchema, EveryReferenceHasItsDefinition) {
  for (const FileFormat& format : file_formats()) {
    const std::string text = json_schema_text(format.kind);
    const Json schema = json_schema(format.kind);
    const std::string mark = "\"#/$defs/";
    for (std::size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + 1)) {
      const std::size_t begin = at + mark.size();
      const std::string name = text.substr(begin, text.find('"', begin) - begin);
      EXPECT_NE(schema.at_pointer("/$defs/" + name), nullptr) << format.kind << " " << name;
    }
  }
}

TEST(JsonSchema, UnknownKindNamesTheNearest) {
  try {
    json_schema("scenaro");
    FAIL();
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(), "no file format is called \"scenaro\"; did you mean \"scenario\"?");
  }
}

}  // namespace
}  // namespace moesim
