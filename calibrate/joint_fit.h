// SPDX-License-Identifier: Apache-2.0
// One law for several GPUs at once, and how well it predicts a GPU that it never saw.
//
// Rows of one GPU cannot tell apart what bounds them: more active experts are more bytes and more
// padded rows and more blocks, all in proportion. GPUs whose ratios of arithmetic, bandwidth,
// multiprocessors and clock differ can, and so can number formats on one GPU. A joint law has one
// set of parameters; a device enters by its datasheet only: peaks, bandwidth, multiprocessors, L2,
// and its boost clock, by which all fixed times (parameters in seconds) shrink. Of fused experts,
// trees over all rows take what the GPUs have in common beyond the law; of products they would take
// one GPU's choice of tiles, which the next does not share.
//
// Groups: a product's law is fitted format by format and, where activations are quantised, stack by
// stack, since that starts other kernels in each; fused experts have one law for all stacks and all
// formats that are multiplied as they are stored. Formats of one GPU only are left out (they would
// stand for the GPU), and SGLang's experts (their rows at more than one expert rank are no rank's
// work, README of the data).
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "calibrate/calibration_rows.h"
#include "sim/cost/residual_trees.h"
#include "sim/input/hardware_profile.h"

namespace moesim {

/// Boost clock that the datasheet's fp32 peak implies: 2 FLOPs a lane and cycle, 128 or 64 lanes a
/// multiprocessor, whichever gives 1 to 3.2 GHz; nothing when neither does.
std::optional<double> boost_clock_hz(const DevicePeaks& device);

/// The rows of one curve on their device.
struct JointRows {
  const CurveRows* rows = nullptr;
  DevicePeaks peaks;
  double clock_hz = 0;
};

struct JointLaw {
  OpFamily family = OpFamily::gemm;
  std::vector<double> parameters;  ///< in the order of law_parameters(family), at 1 GHz
  ResidualTrees residual;

  double law_seconds_at(const Op& op, NumberFormat arithmetic, const DevicePeaks& device,
                        double clock_hz) const;
  /// Law and trees.
  double seconds(const Op& op, NumberFormat arithmetic, const DevicePeaks& device,
                 double clock_hz) const;
};

/// Fits to all groups, each with the same weight whatever its rows; all of one family, at least
/// one.
JointLaw fit_joint_law(std::span<const JointRows> groups);

/// Errors of one group of a device that was left out.
struct DeviceLeftOut {
  std::string group;  ///< "gemm b200_sxm trtllm-1.3.0rc20 fp8"
  std::string from;   ///< the other groups' devices, stacks and formats
  std::size_t rows = 0;
  double law_median_ape = 0;  ///< of the law alone
  double median_ape = 0, p90_ape = 0;
  double bias = 0;                                 ///< median of predicted / measured - 1
  double usual_median_ape = 0, usual_p90_ape = 0;  ///< without rows of known slow kernels
};

/// Leaves out one GPU after the other and predicts its products and fused experts from the rest.
/// `paths`: folders of tables; `profile` of a system's id, or null for one that is not judged.
std::vector<DeviceLeftOut> leave_device_out(
    const std::vector<std::string>& paths,
    const std::function<const DeviceProfile*(const std::string&)>& profile, int threads);

}  // namespace moesim
