// SPDX-License-Identifier: Apache-2.0
// What a sweep found, for people and scripts: counts, the best points, the Pareto front between
// throughput a GPU and speed a user, and why points were pruned or do not fit.
#pragma once

#include <iosfwd>
#include <string>

#include "sim/study/sweep_table.h"

namespace moesim {

enum class SweepFormat : std::uint8_t { text, json, csv, markdown };
std::span<const Choice<SweepFormat>> choices_of(SweepFormat);
/// Throws InputError for an unknown name.
SweepFormat sweep_format_named(const std::string& name);

void write_sweep(std::ostream& out, const SweepTable& table, const ScenarioSpec& base,
                 SweepFormat format);

/// "/routing/sigma=1.1 /workload/batch_per_gpu=64": what one point changed.
std::string point_text(const SweepTable& table, std::size_t row);
/// Rows on the front of headline tokens/s/GPU against 1/tpot_s; without tpot_s the best row alone.
std::vector<std::size_t> sweep_front(const SweepTable& table);

}  // namespace moesim
