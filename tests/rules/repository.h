// SPDX-License-Identifier: Apache-2.0
// The repository as the rules see it: every file of the source tree by its path from the root.
//
// Build folders, hidden folders (except .ci) and nothing else are left out, so the rules hold for
// an unpacked archive as well as for a checkout.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace moesim::rules {

/// Paths from the repository root, sorted, "/" between folders.
const std::vector<std::string>& repository_files();
/// Those that end in one of `endings`.
std::vector<std::string> files_ending(const std::vector<std::string_view>& endings);
/// Text of a file named from the root.
std::string file_text(const std::string& path);
std::vector<std::string> lines_of(const std::string& text);
/// First folders of a path: "sim/base" of "sim/base/json.h", "kernels" of "kernels/gpu.h".
std::string module_of(const std::string& path);

}  // namespace moesim::rules
