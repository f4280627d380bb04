// SPDX-License-Identifier: Apache-2.0
#include "calibrate/device_transfer.h"

#include <cmath>

#include "sim/cost/device_peaks.h"

namespace moesim {
namespace {

struct FamilyWidth {
  OpFamily family;
  double same_chip;
  double other_chip;
};

// other_chip: 80% quantile of |log(measured / predicted)| of the B200 and A100 TensorRT-LLM tables,
// predicted with the curves of the H100 and the other device's datasheet (mean of both, rounded
// up; 3,000 rows a table; MLA decode: B200 only, the A100's kernel is another algorithm, factor 2;
// routing has no table: as elementwise). same_chip: estimate, twice the median change between two
// releases of one framework (GEMM 1%, fused MoE 6.5%) plus 4% for clocks.
constexpr FamilyWidth kWidths[] = {
    {OpFamily::gemm, 0.06, 0.30},
    {OpFamily::grouped_gemm, 0.15, 0.32},
    {OpFamily::attention_prefill, 0.06, 0.24},
    {OpFamily::attention_decode, 0.10, 0.45},
    {OpFamily::mla_prefill, 0.06, 0.25},
    {OpFamily::mla_decode, 0.10, 0.40},
    {OpFamily::batched_gemm, 0.06, 0.50},
    {OpFamily::elementwise, 0.10, 0.45},
    {OpFamily::routing, 0.10, 0.45},
};
constexpr std::string_view kSameChipSource =
    "estimate: twice the median change between releases of one framework (GEMM 1%, fused MoE 6.5%) "
    "plus 4% for clocks; no kernel of this device was measured";
constexpr std::string_view kOtherChipSource =
    "80% quantile of |log(measured / predicted)| of the B200 and A100 TensorRT-LLM tables "
    "(aiconfigurator, commit 095f58a), predicted with H100 curves and the device's datasheet";

// Estimate: no table of another vendor's kernels is public.
constexpr double kOtherVendorFactor = 1.5;

}  // namespace

CurveTransfer curve_transfer(const DeviceProfile& device, const CurveSet& base, Kinship kinship,
                             const CurveTransfer* known) {
  CurveTransfer transfer;
  transfer.schema = kTransferSchema;
  transfer.device = device.id;
  transfer.software = base.software;
  transfer.base = base.device + "." + base.software;
  const bool same_chip = kinship == Kinship::same_chip;
  transfer.keep_residual = kinship != Kinship::other_vendor;
  const DevicePeaks peaks = known_peaks(device);
  for (const Choice<NumberFormat>& choice : choices_of(NumberFormat{})) {
    const double rate = peaks.flops_per_s[static_cast<std::size_t>(choice.value)];
    if (rate > 0) {
      transfer.flops_per_s[std::string(choice.name)] = rate;
    }
  }
  transfer.memory_bytes_per_s = peaks.bytes_per_s;
  transfer.multiprocessors = device.sm_count ? peaks.multiprocessors : base.peaks.multiprocessors;
  transfer.l2_bytes = device.l2 ? peaks.l2_bytes : base.peaks.l2_bytes;
  transfer.note = "transferred from " + base.device + (same_chip ? " (same chip)" : "");
  if (!device.sm_count) {
    transfer.note += "; multiprocessors of " + base.device + ": the profile has none";
  }
  if (!device.l2) {
    transfer.note += "; L2 of " + base.device + ": the profile has none";
  }
  for (const FamilyWidth& width : kWidths) {
    const double added = same_chip                          ? width.same_chip
                         : kinship == Kinship::other_vendor ? kOtherVendorFactor * width.other_chip
                                                            : width.other_chip;
    transfer.uncertainty[choice_name(width.family)] = std::round(1000.0 * added) / 1000.0;
  }
  transfer.uncertainty_source = same_chip ? kSameChipSource : kOtherChipSource;
  if (kinship == Kinship::other_vendor) {
    transfer.uncertainty_source += "; half as much again for another vendor's kernels (estimate)";
  }
  if (known != nullptr) {
    transfer.scales = known->scales;
    transfer.note = known->note;
  }
  return transfer;
}

}  // namespace moesim
