// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/placement_format.h"

#include <gmock/gmock.h>

namespace moesim {
namespace {

using ::testing::HasSubstr;

PlacementRequest small_request() {
  PlacementRequest request;
  request.weights = {{5, 1, 3, 2}, {1, 1, 9, 1}};
  request.slots = 6;
  request.gpus = 3;
  return request;
}

TEST(PlacementFormat, EveryFormatReadsBackTheSlotsItWrote) {
  const PlacementRequest request = small_request();
  const Placement placement = place_experts(request);
  for (const Choice<PlacementFormat>& format : choices_of(PlacementFormat{})) {
    const std::string text = placement_json(request, placement, format.value, 3).dump();
    const PlacementFile read = read_placement(parse_json(text, "x.json"), "x.json", 3);
    EXPECT_EQ(read.format, format.value);
    EXPECT_EQ(read.slot_to_expert, placement.slot_to_expert) << format.name;
    EXPECT_TRUE(read.gpus == 3 || format.value == PlacementFormat::sglang);
  }
}

TEST(PlacementFormat, SglangRowsOfDenseLayersComeFirst) {
  const PlacementRequest request = small_request();
  const Json json = placement_json(request, place_experts(request), PlacementFormat::sglang, 1);
  EXPECT_EQ(json.find("physical_to_logical_map")->items().size(), 3u);
  EXPECT_EQ(json.at_pointer("/physical_to_logical_map/0")->dump(-1), "[0,1,2,3,0,1]");
}

TEST(PlacementFormat, VllmMapListsTheExpertsOfEachDevice) {
  const PlacementRequest request = small_request();
  const Placement placement = evaluate_placement(request, {{0, 1, 2, 3, 0, 2}, {2, 0, 2, 1, 2, 3}});
  const Json json = placement_json(request, placement, PlacementFormat::vllm);
  EXPECT_EQ(json.find("moe_layer_count")->as_integer(), 2);
  EXPECT_EQ(json.at_pointer("/layer_list/1/device_list/2")->dump(-1),
            R"({"device_id":2,"device_expert":[2,3]})");
}

TEST(PlacementFormat, NamesBadIdsAndRaggedRows) {
  try {
    read_placement(parse_json(R"({"physical_to_logical_map": [[0, 1], [0, -1]]})", "m.json"),
                   "m.json");
    FAIL();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("m.json#/physical_to_logical_map/1/1: -1"));
  }
  try {
    read_placement(parse_json(R"({"slot_to_expert": [[0, 1], [0]]})", "p.json"), "p.json");
    FAIL();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("1 slots"));
  }
  EXPECT_THROW(read_placement(parse_json("{}", "e.json"), "e.json"), InputError);
}

TEST(PlacementRequestReader, RefusesUnknownKeysAndNamesWhatIsMissing) {
  Diagnostics diagnostics;
  read_object<PlacementRequest>(
      parse_json(R"({"weights": [[1, 2]], "slot": 2, "gpus": 1})", "l.json"), "l.json",
      diagnostics);
  std::string all;
  for (const Diagnostic& diagnostic : diagnostics.list()) {
    all += diagnostic.text() + "\n";
  }
  EXPECT_THAT(all, HasSubstr("did you mean \"slots\""));
}

}  // namespace
}  // namespace moesim
