// SPDX-License-Identifier: Apache-2.0
// The public API: a scenario in, a result out, thousands of them in a sweep, a report.
//
//     const moesim::CardLibrary cards = moesim::CardLibrary::open("share/moesim");
//     const moesim::Scenario scenario = moesim::load_scenario("scenario.json", cards);
//     const moesim::SimulationResult result = moesim::simulate(scenario);
//     moesim::write_report(std::cout, result, moesim::ReportFormat::markdown);
//
// CMake: find_package(moesim REQUIRED), target_link_libraries(yours PRIVATE moesim::moesim).
// examples/batch_study is a whole project. Everything else under sim/ may change between versions.
#pragma once

#include "sim/base/error.h"          // IWYU pragma: export
#include "sim/input/card_library.h"  // IWYU pragma: export
#include "sim/input/scenario.h"      // IWYU pragma: export
#include "sim/report/report.h"       // IWYU pragma: export
#include "sim/run/result.h"          // IWYU pragma: export
#include "sim/run/simulate.h"        // IWYU pragma: export
#include "sim/study/sweep_table.h"   // IWYU pragma: export
