// SPDX-License-Identifier: GPL-3.0-or-later
// Where the shipped cards lie, as the command line looks for them: MOESIM_HOME, then the folders
// above the program (a build tree), its share folder (an installation), the working folder.
#pragma once

#include <string>

namespace moesim::gui {

/// Throws InputError when they are nowhere. `programFolder`: of the running program.
std::string cardRoot(const std::string& programFolder);

}  // namespace moesim::gui
