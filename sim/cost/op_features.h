// SPDX-License-Identifier: Apache-2.0
// The coordinates in which measured times depart smoothly from the physical law: logarithms of
// sizes, tile and wave fill, intensity against the device's balance.
//
// All are ratios or logarithms of the shape as one rank sees it, so that shapes and models that
// were never measured fall between measured ones. `law` is the physical law's time for the same op.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

#include "sim/cost/physical_law.h"
#include "sim/workload/op.h"

namespace moesim {

inline constexpr std::size_t kMaxFeatures = 18;
using FeatureVector = std::array<float, kMaxFeatures>;

/// Names of a family's features, in order.
std::span<const std::string_view> feature_names(OpFamily family);

/// Fills the first `feature_names(family_of(op)).size()` entries. Cost: 30-60 ns.
void op_features(const Op& op, const DevicePeaks& device, NumberFormat arithmetic,
                 double law_seconds, FeatureVector& features);

/// log2 of x > 0 from its bits and a polynomial, error < 2e-5: the same bytes on every machine, and
/// several times faster than the library's. 2^-1022 and below gives -1022.
float fast_log2(double x);

/// e^x for |x| <= 700, relative error < 1e-9: the same bytes on every machine, without the
/// divisions of portable_exp.
double fast_exp(double x);

}  // namespace moesim
