// SPDX-License-Identifier: Apache-2.0
// Every shipped card and scenario loads, and the committed schemas are those of the code.
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "sim/input/card_library.h"
#include "sim/input/json_schema.h"
#include "sim/input/model_card.h"
#include "sim/input/scenario.h"
#include "sim/study/plan_request.h"
#include "tests/rules/repository.h"

namespace moesim::rules {
namespace {

const std::string kRoot = MOESIM_SOURCE_DIR;

TEST(CardRule, EveryModelCardLoads) {
  const CardLibrary cards = CardLibrary::open(kRoot);
  EXPECT_FALSE(cards.ids(CardKind::model).empty());
  for (const std::string& id : cards.ids(CardKind::model)) {
    try {
      EXPECT_EQ(load_model_card(cards.path(CardKind::model, id)).id, id);
    } catch (const InputError& error) {
      ADD_FAILURE() << error.what();
    }
  }
}

TEST(CardRule, EveryDeviceAndClusterLoads) {
  const CardLibrary cards = CardLibrary::open(kRoot);
  std::set<std::string> used;
  for (const std::string& id : cards.ids(CardKind::cluster)) {
    try {
      const ClusterProfile cluster = cards.cluster(id);
      for (const NodeGroup& group : cluster.node_groups) {
        used.insert(group.device);
      }
    } catch (const InputError& error) {
      ADD_FAILURE() << error.what();
    }
  }
  for (const std::string& id : cards.ids(CardKind::device)) {
    try {
      const DeviceProfile device = cards.device(id);
      EXPECT_EQ(device.id, id);
      EXPECT_GT(device.peak_of(NumberFormat::bf16).value(), 0) << id;
    } catch (const InputError& error) {
      ADD_FAILURE() << error.what();
    }
  }
  EXPECT_GE(used.size(), 8u);
}

TEST(CardRule, EveryShippedScenarioLoads) {
  const CardLibrary cards = CardLibrary::open(kRoot);
  EXPECT_FALSE(cards.ids(CardKind::scenario).empty());
  for (const std::string& id : cards.ids(CardKind::scenario)) {
    try {
      load_scenario(cards.path(CardKind::scenario, id), cards);
    } catch (const InputError& error) {
      ADD_FAILURE() << error.what();
    }
  }
}

TEST(CardRule, CommittedSchemasAreThoseOfTheCode) {
  std::vector<FileFormat> formats = file_formats();
  formats.push_back(plan_request_format());
  for (const FileFormat& format : formats) {
    EXPECT_EQ(file_text(format.file), json_schema_text(format.kind, formats))
        << "write it anew: moesim show --schema " << format.kind << " > " << format.file;
  }
}

}  // namespace
}  // namespace moesim::rules
