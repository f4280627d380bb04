// SPDX-License-Identifier: Apache-2.0
// The shipped curves: they load, stay small, and are no worse than recorded over the measurements
// they were fitted to.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "calibrate/skew_validation.h"
#include "calibrate/validate_compute.h"
#include "sim/cost/curve_transfer.h"
#include "sim/cost/device_peaks.h"
#include "sim/input/card_library.h"

namespace moesim {
namespace {

std::string data_folder() {
  const char* given = std::getenv("MOESIM_DATA_DIR");
  return given != nullptr ? given : std::string(MOESIM_SOURCE_DIR) + "/../shared/data";
}

TEST(ShippedCurves, EveryFileLoadsAndStaysBelowItsBudget) {
  const std::string folder = std::string(MOESIM_SOURCE_DIR) + "/hardware_profiles/curves";
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".json") {
      continue;
    }
    ++files;
    EXPECT_LE(entry.file_size(), 300000u) << entry.path();
    const CurveSet set = CurveSet::load(entry.path().string());
    EXPECT_EQ(entry.path().filename().string(), set.device + "." + set.software + ".json");
    EXPECT_NE(set.source.find("095f58a51c4c"), std::string::npos);
  }
  EXPECT_GE(files, 10u);
}

TEST(SkewTable, ACellIsTheMedianRatioOfPairsThatDifferInTheirRoutingAlone) {
  // Five shapes; skewed rows take 1.1, 1.2 ... 1.5 of their balanced twin: the median is 1.3. A
  // skewed row without a twin (shape 9) and tokens that no cell has (100) count nothing.
  CurveRows rows;
  rows.system = "h100_sxm";
  rows.software = "trtllm-1.3.0rc20";
  rows.table = "moe";
  const auto add = [&](std::uint64_t shape, double tokens, const char* what, double seconds) {
    MoeOp op;
    op.tokens = tokens;
    op.hidden = 4096;
    op.width = 1536;
    op.top_k = 8;
    op.experts = 128;
    op.expert_ways = 8;
    op.weights = NumberFormat::bf16;
    op.load.assignments = tokens;
    op.load.active_experts = 16;
    op.load.hottest = tokens / 4;
    CalibrationRow row;
    row.op = op;
    row.shape = shape;
    row.seconds = seconds;
    row.what = what;
    rows.rows.push_back(row);
  };
  for (std::uint64_t shape = 1; shape <= 5; ++shape) {
    add(shape, 2048, "power_law_1.2", 1e-3 * (1.0 + 0.1 * static_cast<double>(shape)));
    add(shape, 2048, "balanced", 1e-3);
    add(shape, 100, "balanced", 1e-3);
    add(shape, 100, "power_law_1.2", 9e-3);
  }
  add(9, 2048, "power_law_1.2", 7e-3);
  const CurveSet set = CurveSet::load(std::string(MOESIM_SOURCE_DIR) +
                                      "/hardware_profiles/curves/h100_sxm.trtllm-1.3.0rc20.json");
  SkewTable table;
  table.add(rows, *set.find(OpFamily::grouped_gemm, NumberFormat::bf16), set.peaks);
  const auto cells = table.cells();
  ASSERT_EQ(cells.size(), 1u);
  const std::vector<SkewCell>& one = cells.at("h100_sxm trtllm-1.3.0rc20");
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one[0].name, "T 2048 EP 8 power_law_1.2");
  EXPECT_EQ(one[0].pairs, 5u);
  EXPECT_NEAR(one[0].measured, 1.3, 1e-12);
  EXPECT_NEAR(one[0].predicted, 1.0, 1e-12);  // both rows describe the same load here
}

TEST(ShippedCurves, TransfersNameTheirBaseAndKeepToTheirDevicesDatasheet) {
  const std::string root = MOESIM_SOURCE_DIR;
  const CardLibrary cards = CardLibrary::open(root);
  std::size_t transfers = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(root + "/hardware_profiles/curves")) {
    const std::string path = entry.path().string();
    if (entry.path().extension() != ".json") {
      continue;
    }
    const CurveSet set = CurveSet::load(path);
    if (set.transferred_from.empty()) {
      continue;
    }
    ++transfers;
    const DeviceProfile& device = cards.device(set.device, path);
    const DevicePeaks sheet = known_peaks(device);
    EXPECT_EQ(set.peaks.flops_per_s, sheet.flops_per_s) << path;
    EXPECT_EQ(set.peaks.bytes_per_s, sheet.bytes_per_s) << path;
    if (device.sm_count) {
      EXPECT_EQ(set.peaks.multiprocessors, sheet.multiprocessors) << path;
    }
    ASSERT_FALSE(set.curves().empty()) << path;
    for (const CostCurve& curve : set.curves()) {
      EXPECT_EQ(curve.basis, Basis::estimate) << path;
      EXPECT_GE(curve.transfer_uncertainty, 0.05) << path << " " << choice_name(curve.family);
    }
  }
  EXPECT_GE(transfers, 30u);
}

TEST(ShippedCurves, LeftOutErrorsOfTheBigTablesStayBelowTheRecordedOnes) {
  // Median and P90 error of rows whose shape was left out, as last fitted, rounded up.
  struct Bound {
    const char* software;
    OpFamily family;
    NumberFormat format;
    double median;
    double p90;
  };
  const Bound bounds[] = {
      {"trtllm-1.3.0rc20", OpFamily::gemm, NumberFormat::bf16, 0.023, 0.078},
      {"trtllm-1.3.0rc20", OpFamily::gemm, NumberFormat::fp8, 0.014, 0.042},
      {"trtllm-1.3.0rc20", OpFamily::gemm, NumberFormat::fp8_block, 0.021, 0.065},
      {"trtllm-1.3.0rc20", OpFamily::attention_prefill, NumberFormat::bf16, 0.018, 0.051},
      {"trtllm-1.3.0rc20", OpFamily::attention_decode, NumberFormat::bf16, 0.029, 0.151},
      {"trtllm-1.3.0rc20", OpFamily::grouped_gemm, NumberFormat::fp8_block, 0.029, 0.100},
      {"vllm-0.24.0", OpFamily::gemm, NumberFormat::bf16, 0.027, 0.092},
      {"vllm-0.24.0", OpFamily::attention_decode, NumberFormat::bf16, 0.018, 0.066},
      {"vllm-0.24.0", OpFamily::grouped_gemm, NumberFormat::bf16, 0.039, 0.160},
  };
  const std::vector<CurveSet> sets = load_curve_sets(MOESIM_SOURCE_DIR);
  for (const Bound& bound : bounds) {
    for (const CurveSet& set : sets) {
      if (set.device != "h100_sxm" || set.software != bound.software) {
        continue;
      }
      const CostCurve* curve = set.find(bound.family, bound.format);
      ASSERT_NE(curve, nullptr) << bound.software << " " << choice_name(bound.family);
      EXPECT_LE(curve->record.median_ape, bound.median) << choice_name(bound.family);
      EXPECT_LE(curve->record.p90_ape, bound.p90) << choice_name(bound.family);
      EXPECT_GE(curve->record.band_coverage, 0.75);
      EXPECT_LE(curve->record.band_coverage, 0.85);
    }
  }
}

TEST(ShippedCurves, PredictionsOfMeasuredRowsAreNoWorseThanRecorded) {
  const std::string folder = data_folder() + "/compute/h100_sxm";
  if (!std::filesystem::is_directory(folder)) {
    GTEST_SKIP() << "no measurements at " << folder << " (set MOESIM_DATA_DIR)";
  }
  // Small tables only, to stay quick; in-sample medians as fitted, plus a tenth.
  const std::pair<const char*, double> tables[] = {
      {"generation_mla.trtllm-1.3.0rc20.csv", 0.022},
      {"context_mla.trtllm-1.3.0rc20.csv", 0.025},
      {"scale_matrix.trtllm-1.3.0rc20.csv", 0.010},
  };
  const std::vector<CurveSet> sets = load_curve_sets(MOESIM_SOURCE_DIR);
  for (const auto& [name, bound] : tables) {
    const ComputeValidation validation = validate_compute({folder + "/" + name}, sets, false);
    ASSERT_FALSE(validation.groups.empty()) << name;
    for (const ValidationGroup& group : validation.groups) {
      EXPECT_GT(group.n, 100u) << group.group;
      EXPECT_LE(group.median_ape, bound) << group.group;
    }
  }
}

}  // namespace
}  // namespace moesim
