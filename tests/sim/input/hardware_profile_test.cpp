// SPDX-License-Identifier: Apache-2.0
#include "sim/input/hardware_profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "sim/base/text_hash.h"
#include "sim/input/card_library.h"
#include "sim/input/cluster_profile.h"

namespace moesim {
namespace {

using testing::HasSubstr;

const std::string kRoot = MOESIM_SOURCE_DIR;

std::string profile_path(const std::string& id) {
  return kRoot + "/hardware_profiles/" + id + ".json";
}

/// The lines of the InputError that reading `json` as a device profile throws; "" when it reads.
std::string device_problems(const Json& json) {
  try {
    read_device_profile(json, "p.json");
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

TEST(HardwareProfile, H100KeepsDenseDatasheetPeaks) {
  const DeviceProfile h100 = load_device_profile(profile_path("h100_sxm"));
  EXPECT_DOUBLE_EQ(h100.memory_bandwidth.value.value(), 3.35e12);
  // The datasheet prints 3,958 TFLOP/s fp8 with sparsity: half of it is dense.
  EXPECT_DOUBLE_EQ(h100.peak_of(NumberFormat::fp8_block).value(), 1979e12);
  EXPECT_EQ(h100.sm_count->value, 132);
  EXPECT_EQ(h100.memory_bandwidth.origin, Origin::datasheet);
}

TEST(HardwareProfile, FormatsWithoutUnitsOfTheirOwnWiden) {
  const DeviceProfile a100 = load_device_profile(profile_path("a100_sxm"));
  EXPECT_FALSE(a100.peak.fp8.has_value());
  EXPECT_DOUBLE_EQ(a100.peak_of(NumberFormat::fp8).value(), 312e12);
  EXPECT_DOUBLE_EQ(a100.peak_of(NumberFormat::nvfp4).value(), 312e12);
  const DeviceProfile b200 = load_device_profile(profile_path("b200_sxm"));
  EXPECT_DOUBLE_EQ(b200.peak_of(NumberFormat::nvfp4).value(), 9000e12);
}

TEST(HardwareProfile, EfficiencyOfAFormatFallsBackToTheFamily) {
  const DeviceProfile h100 = load_device_profile(profile_path("h100_sxm"));
  const OpEfficiency& gemm = h100.efficiency.of("gemm");
  EXPECT_DOUBLE_EQ(gemm.compute_fraction_of(NumberFormat::bf16), 0.78);
  EXPECT_DOUBLE_EQ(gemm.compute_fraction_of(NumberFormat::fp8_block), 0.55);
  EXPECT_EQ(&h100.efficiency.of("mla_decode"), &h100.efficiency.mla_decode);
}

TEST(HardwareProfile, WritesWhatItRead) {
  for (const std::string id : {"h100_sxm", "a100_sxm"}) {
    const DeviceProfile once = load_device_profile(profile_path(id));
    const DeviceProfile twice = read_device_profile(write_device_profile(once), id);
    EXPECT_EQ(write_device_profile(once).dump(), write_device_profile(twice).dump());
    EXPECT_EQ(twice.power->source, once.power->source);
  }
}

TEST(HardwareProfile, EveryProblemIsReportedWithItsPointer) {
  Json json = load_json(profile_path("h100_sxm"));
  json.set("memmory", 1);
  json.find("memory_bytes")->set("value", -5);
  json.find("power_w")->set("source", "");
  json.find("efficiency")->find("gemm")->find("compute_fraction_by_format")->set("fp8_blok", 0.5);
  EXPECT_EQ(device_problems(json),
            "p.json#/memory_bytes/value: -5 is out of range; allowed: a number >= 1e+06 and <= "
            "1e+14\n"
            "p.json#/memmory: unknown key; allowed: schema, id, name, vendor, software, note, "
            "memory_bytes, memory_bandwidth_bytes_per_s, peak_flops_per_s, sm_count, l2_bytes, "
            "power_w, idle_power_w, scale_up_bytes_per_s, pcie_bytes_per_s, launch_gap_s, "
            "launch_eager_s, efficiency, prices\n"
            "p.json#/power_w/source: is empty; say where the number comes from\n"
            "p.json#/efficiency/gemm/compute_fraction_by_format/fp8_blok: unknown key; did you "
            "mean \"fp8_block\"?");
}

TEST(HardwareProfile, AnotherSchemaEndsTheReading) {
  Json json = Json::object();
  json.set("schema", "moesim/hardware_profile/2");
  json.set("nonsense", 1);
  EXPECT_EQ(device_problems(json),
            "p.json#/schema: \"moesim/hardware_profile/2\" is another format; allowed: "
            "\"moesim/hardware_profile/1\"");
}

TEST(ClusterProfile, H800NodesHaveTheirCutNvlink) {
  const ClusterProfile cluster = load_cluster_profile(profile_path("cluster_h800_ib400"));
  ASSERT_EQ(cluster.node_groups.size(), 1u);
  EXPECT_DOUBLE_EQ(cluster.node_groups[0].scale_up.rate.value.value(), 200e9);
  EXPECT_DOUBLE_EQ(cluster.expert_kernels->low_latency.dispatch.nic_rate.value(), 42.5e9);
  EXPECT_FALSE(cluster.node_groups[0].nodes.has_value());
}

TEST(ClusterProfile, CollectiveTakesTheNearestGroupSize) {
  const ClusterProfile cluster = load_cluster_profile(profile_path("cluster_h800_ib400"));
  const auto find = [&](std::int64_t ranks) {
    return cluster.collective(CollectiveOp::all_reduce, CollectiveScope::scale_up,
                              CollectiveLibrary::nccl, ranks);
  };
  EXPECT_EQ(find(2)->ranks, 2);
  EXPECT_EQ(find(3)->ranks, 4);  // as near to 2 as to 4: the larger
  EXPECT_EQ(find(64)->ranks, 8);
  EXPECT_EQ(cluster.collective(CollectiveOp::all_to_all, CollectiveScope::scale_out,
                               CollectiveLibrary::custom, 8),
            nullptr);
}

TEST(ClusterProfile, LawsBeginAtNothingAndProtocolsFollowEachOther) {
  Json json = load_json(profile_path("cluster_h100_ib400"));
  Json& first = json.find("collective_laws")->items()[0];
  first.find("protocols")->items()[0].set("from_bytes", 5);
  first.find("protocols")->items()[1].set("from_bytes", 4);
  try {
    read_cluster_profile(json, "c.json");
    FAIL() << "no error";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(),
                HasSubstr("c.json#/collective_laws/0/protocols: do not begin at 0 bytes"));
    EXPECT_THAT(error.what(),
                HasSubstr("c.json#/collective_laws/0/protocols/1/from_bytes: is not above"));
  }
}

TEST(ClusterProfile, WritesWhatItRead) {
  const Json json = load_json(profile_path("cluster_h800_ib400"));
  const ClusterProfile once = read_cluster_profile(json, "c.json");
  const ClusterProfile twice = read_cluster_profile(write_cluster_profile(once), "c.json");
  EXPECT_EQ(write_cluster_profile(once).dump(), write_cluster_profile(twice).dump());
}

TEST(CardLibrary, EveryShippedProfileLoadsAndNamesKnownDevices) {
  const CardLibrary cards = CardLibrary::open(kRoot);
  ASSERT_FALSE(cards.ids(CardKind::device).empty());
  for (const std::string& id : cards.ids(CardKind::device)) {
    EXPECT_NO_THROW(cards.device(id)) << id;
  }
  for (const std::string& id : cards.ids(CardKind::cluster)) {
    EXPECT_NO_THROW(cards.cluster(id)) << id;
  }
}

TEST(CardLibrary, UnknownIdNamesTheNearestOne) {
  const CardLibrary cards = CardLibrary::open(kRoot);
  try {
    cards.device("h100_smx", "s.json", "/device");
    FAIL();
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(),
                 "s.json#/device: no device is called \"h100_smx\"; did you mean \"h100_sxm\"?");
  }
  try {
    cards.device("quantum");
    FAIL();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("allowed: a path, or one of a100_"));
  }
  EXPECT_THROW(CardLibrary::open("/no/such/folder"), InputError);
}

TEST(CardLibrary, HashIsFnv1aOfTheText) {
  // Published test vectors of FNV-1a, 64 bits.
  EXPECT_EQ(hash_text(text_hash("")), "cbf29ce484222325");
  EXPECT_EQ(hash_text(text_hash("a")), "af63dc4c8601ec8c");
  EXPECT_EQ(hash_text(text_hash("foobar")), "85944171f73967e8");
  const CardLibrary cards = CardLibrary::open(kRoot);
  EXPECT_EQ(cards.hash(CardKind::device, "h100_sxm"),
            text_hash(read_text_file(profile_path("h100_sxm"), 1u << 20)));
}

}  // namespace
}  // namespace moesim
