// SPDX-License-Identifier: Apache-2.0
// The advisor's answer as text, JSON ("moesim/advice/1"), CSV or Markdown.
#pragma once

#include <iosfwd>
#include <vector>

#include "sim/report/sweep_report.h"
#include "sim/study/advisor.h"

namespace moesim {

void write_advice(std::ostream& out, const std::vector<Advice>& advices, SweepFormat format);

}  // namespace moesim
