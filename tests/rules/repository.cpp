// SPDX-License-Identifier: Apache-2.0
#include "tests/rules/repository.h"

#include <algorithm>
#include <filesystem>

#include "sim/base/json.h"

namespace moesim::rules {
namespace {

namespace fs = std::filesystem;

bool is_left_out(const fs::path& folder) {
  const std::string name = folder.filename().string();
  return name == "build" || name.starts_with("cmake-build") || name == "__pycache__" ||
         (name.starts_with(".") && name != ".ci");
}

std::vector<std::string> walk() {
  const fs::path root(MOESIM_SOURCE_DIR);
  std::vector<std::string> files;
  for (auto it = fs::recursive_directory_iterator(root); it != fs::end(it); ++it) {
    if (it->is_directory() && is_left_out(it->path())) {
      it.disable_recursion_pending();
    } else if (it->is_regular_file()) {
      files.push_back(fs::relative(it->path(), root).generic_string());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

const std::vector<std::string>& repository_files() {
  static const std::vector<std::string> files = walk();
  return files;
}

std::vector<std::string> files_ending(const std::vector<std::string_view>& endings) {
  std::vector<std::string> found;
  for (const std::string& file : repository_files()) {
    if (std::any_of(endings.begin(), endings.end(),
                    [&file](std::string_view ending) { return file.ends_with(ending); })) {
      found.push_back(file);
    }
  }
  return found;
}

std::string file_text(const std::string& path) {
  return read_text_file(std::string(MOESIM_SOURCE_DIR) + "/" + path, 64u << 20);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::size_t begin = 0;
  while (begin < text.size()) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

std::string module_of(const std::string& path) {
  const std::size_t first = path.find('/');
  if (first == std::string::npos) {
    return "";
  }
  if (path.substr(0, first) != "sim") {
    return path.substr(0, first);
  }
  const std::size_t second = path.find('/', first + 1);
  return second == std::string::npos ? "sim" : path.substr(0, second);
}

}  // namespace moesim::rules
