// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/card_root.h"

#include <cstdlib>
#include <filesystem>

#include "sim/base/error.h"

namespace moesim::gui {
namespace {

bool holdsCards(const std::filesystem::path& folder) {
  std::error_code error;
  return std::filesystem::is_directory(folder / "models", error) &&
         std::filesystem::is_directory(folder / "hardware_profiles", error);
}

}  // namespace

std::string cardRoot(const std::string& programFolder) {
  if (const char* home = std::getenv("MOESIM_HOME"); home != nullptr && *home != '\0') {
    if (!holdsCards(home)) {
      throw InputError("MOESIM_HOME", "",
                       "\"" + std::string(home) + "\" holds no models/ and hardware_profiles/",
                       "set it to the folder that does, or unset it");
    }
    return home;
  }
  for (std::filesystem::path folder = programFolder; !folder.empty();
       folder = folder.parent_path()) {
    if (holdsCards(folder)) {
      return folder.string();
    }
    if (holdsCards(folder / "share" / "moesim")) {
      return (folder / "share" / "moesim").string();
    }
    if (folder == folder.root_path()) {
      break;
    }
  }
  if (holdsCards(".")) {
    return ".";
  }
  throw InputError("", "",
                   "the shipped models/ and hardware_profiles/ are nowhere near the program",
                   "set MOESIM_HOME to the folder that holds them");
}

}  // namespace moesim::gui
