// SPDX-License-Identifier: Apache-2.0
// Time of an op on a device: by a curve fitted to measurements where there is one, else by the
// physical form with the efficiencies of the device's profile.
//
// Physical form (partial overlap of arithmetic and memory):
//     t = t0 + gap + max(tc, tm) + c * min(tc, tm) + d * assignments,
//     tc = FLOPs / (ec * peak),  tm = bytes / (em * bandwidth)
// ec, em: reachable fractions of the datasheet peaks; t0: start-up of the kernels; c in [0, 1]: 0
// perfect overlap, 1 none; d: handling of one permuted row (fused MoE only); gap: idle time to the
// next kernel of one captured graph. A curve's time holds its gap: measured ops follow each other
// in a graph.
//
// A curve is looked for by the layout of experts first: kernels behind a DeepEP dispatch were timed
// apart from those that find every token of the group on the rank. Then in the order of
// device_curves when the scenario names a stack, else where left-out shapes were predicted best;
// shapes outside what a curve was fitted to look further.
// Curves are evaluated with this device's peaks, which scales each term by what bounds it; where
// those are not the peaks of the fit, the band widens.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sim/base/number_format.h"
#include "sim/cost/cost_estimate.h"
#include "sim/cost/device_curves.h"
#include "sim/input/hardware_profile.h"
#include "sim/workload/op.h"

namespace moesim {

/// The five parameters of a family on a device, resolved to plain numbers.
struct FamilyCoefficients {
  std::array<double, kNumNumberFormats> seconds_per_flop{};  ///< 1 / (ec * peak) by format
  double seconds_per_byte = 0;
  double startup_s = 0;
  double overlap_loss = 0;  ///< c
  double per_assignment_s = 0;
  Basis basis = Basis::estimate;
};

/// Which curve predicts an op; found once per prototype, used for every batch.
struct CurvePick {
  const CostCurve* curve = nullptr;  ///< null: the profile's physical form
  const CurveSource* source = nullptr;
  Basis basis = Basis::estimate;
  bool with_residual = true;      ///< the trees hold on the device they were grown on
  bool as_local_experts = false;  ///< see `local_experts`
  double shared_error = 0;        ///< of the transfer or of a stand-in, in log space
  double least_own_error = 0;     ///< of a law without its trees
  /// The pass that finds a tensor's largest value, which tables of fp8 products time with them and
  /// deployments do not run: their checkpoints hold the scales of activations. Null: not measured.
  const CostCurve* absmax = nullptr;
  /// A second kernel of the same stack for the same op, made for few tokens; whichever is faster
  /// for a batch runs. Null: the stack has none.
  const CostCurve* low_latency = nullptr;

  bool includes_routing() const;  ///< scores to top-k are part of the measured op
};

/// A number that an op's time rests on.
struct CostParameter {
  std::string_view name;
  std::string_view doc;
  double value = 0;
};

class CostModel {
 public:
  /// `sources` may be null: the profile's physical form alone. Keeps `sources` alive.
  /// `stack_is_named`: the curves are those of the stack that runs; else they stand for any.
  explicit CostModel(const DeviceProfile& device,
                     std::shared_ptr<const std::vector<CurveSource>> sources = nullptr,
                     bool stack_is_named = false);

  /// Only what the batch does not change decides: formats, widths, layout of experts.
  CurvePick pick(const Op& prototype) const;

  /// Seconds, basis, range and band. An op without rows costs nothing: no kernel is launched for
  /// it. Cost: about 0.7 us with a curve, 30 ns without.
  CostEstimate estimate(const Op& op) const { return estimate(op, pick(op)); }
  CostEstimate estimate(const Op& op, const CurvePick& pick) const;
  /// The same without range and band. Cost: about 0.4 us with a curve.
  CostEstimate point(const Op& op, const CurvePick& pick) const;

  /// `pick` with the one kernel that runs `op`, where the stack has two.
  CurvePick running(const Op& op, const CurvePick& pick) const;
  /// The parameters behind a pick: of the curve's law, or of the profile's physical form.
  std::vector<CostParameter> parameters(const CurvePick& pick, OpFamily family) const;
  /// How the time of `op` changes when parameter `index` is `factor` times as large: new over old,
  /// a curve's trees held where they are.
  double ratio(const Op& op, const CurvePick& pick, std::size_t index, double factor) const;

  /// Datasheet peak in `format`, the denominator of MFU.
  FlopsPerSecond peak(NumberFormat format) const;

 private:
  template <bool kWithBand>
  CostEstimate evaluate(const Op& op, const CurvePick& pick) const;
  CostEstimate physical(const Op& op) const { return physical(op, families_, launch_gap_s_); }
  CostEstimate physical(const Op& op,
                        const std::array<FamilyCoefficients, kNumOpFamilies>& families,
                        double launch_gap_s) const;
  /// The set whose curve of that format and variant fits the shape best; null when there is none.
  const CurveSource* source_of(const Op& prototype, NumberFormat format, std::string_view variant,
                               const CostCurve*& curve) const;

  std::array<FamilyCoefficients, kNumOpFamilies> families_{};
  std::array<double, kNumNumberFormats> peak_{};
  double launch_gap_s_ = 0;
  DevicePeaks peaks_;
  std::string device_;
  std::shared_ptr<const std::vector<CurveSource>> sources_;
  bool stack_is_named_ = false;
};

/// The experts of a rank behind a dispatch as a group of its own: what arrives is all there is, and
/// the rank's experts are all experts. Measured fused kernels find the whole group's tokens on the
/// rank instead, and spend time on those that are not for it.
MoeOp local_experts(const MoeOp& op);

}  // namespace moesim
