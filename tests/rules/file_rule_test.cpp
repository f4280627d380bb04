// SPDX-License-Identifier: Apache-2.0
// What every file of the repository keeps to: licence line, length, no trace of one developer's
// machine, no forgotten notes, documents that name files which exist.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "tests/rules/repository.h"

namespace moesim::rules {
namespace {

std::vector<std::string> words_of(const std::string& line) {
  std::vector<std::string> words;
  std::istringstream stream(line.starts_with(' ') ? "" : line);
  for (std::string word; stream >> word;) {
    words.push_back(word);
  }
  return words;
}

TEST(FileRule, SourceFilesOpenWithTheLicenceLine) {
  for (const std::string& file :
       files_ending({".h", ".cpp", ".cu", ".cmake", "CMakeLists.txt", ".sh", ".py"})) {
    const std::vector<std::string> lines = lines_of(file_text(file));
    const std::size_t first = !lines.empty() && lines[0].starts_with("#!") ? 1 : 0;
    const std::string line = lines.size() > first ? lines[first] : "";
    const std::string licence = file.starts_with("gui/") || file.starts_with("tests/gui/")
                                    ? "SPDX-License-Identifier: GPL-3.0-or-later"
                                    : "SPDX-License-Identifier: Apache-2.0";
    EXPECT_NE(line.find(licence), std::string::npos) << file << " opens with: " << line;
  }
}

TEST(FileRule, CodeFilesStayBelowFiveHundredLines) {
  for (const std::string& file : files_ending({".h", ".cpp", ".cu"})) {
    EXPECT_LE(lines_of(file_text(file)).size(), 500u) << file << " is two ideas: split it by idea";
  }
}

TEST(FileRule, HeadersOpenWithWhatTheyHideAndAGuard) {
  for (const std::string& file : files_ending({".h"})) {
    const std::vector<std::string> lines = lines_of(file_text(file));
    std::size_t comments = 0;
    while (comments + 1 < lines.size() && lines[comments + 1].starts_with("//")) {
      ++comments;
    }
    EXPECT_GE(comments, 1u) << file << " does not say what it hides";
    EXPECT_NE(std::find(lines.begin(), lines.end(), "#pragma once"), lines.end()) << file;
  }
}

/// Types that a header defines at the left margin, each as "namespace::Name".
std::vector<std::string> types_of(const std::string& header) {
  std::vector<std::string> types;
  std::string place;
  for (const std::string& line : lines_of(file_text(header))) {
    const std::vector<std::string> words = words_of(line);
    if (words.size() > 1 && words[0] == "namespace") {
      place = words[1];
    }
    const bool is_type = !words.empty() && (words[0] == "struct" || words[0] == "class") &&
                         line.find(';') == std::string::npos;
    if (is_type && words.size() > 1) {
      types.push_back(place + "::" + words[1]);
    }
  }
  return types;
}

TEST(FileRule, NoTwoHeadersDefineATypeOfOneName) {
  // Each compiles alone; linked together, the destructor of one may run on the other.
  EXPECT_EQ(types_of("sim/base/stop.h").size(), 2u);  // the rule sees types at all
  std::map<std::string, std::string> home;
  for (const std::string& header : files_ending({".h"})) {
    for (const std::string& type : types_of(header)) {
      const auto [known, is_new] = home.emplace(type, header);
      EXPECT_TRUE(is_new) << type << " in " << known->second << " and in " << header;
    }
  }
}

TEST(FileRule, NoFileNamesAPathOfADevelopersMachine) {
  // Written in halves, so that this file does not name one either.
  const std::vector<std::string> marks = {std::string("/wo") + "rk/", std::string("/ho") + "me/",
                                          std::string("/Us") + "ers/", std::string("/ro") + "ot/",
                                          std::string("C:") + "\\Users"};
  for (const std::string& file :
       files_ending({".h", ".cpp", ".cu", ".md", ".json", ".txt", ".cmake", ".sh", ".py", ".yml",
                     ".expected", ".csv", ".jsonl", ".ci/run"})) {
    const std::string text = file_text(file);
    for (const std::string& mark : marks) {
      std::size_t at = text.find(mark);
      while (at != std::string::npos) {
        // A mark inside a longer address or path is a part of something else.
        const char before = at == 0 ? ' ' : text[at - 1];
        EXPECT_TRUE(std::isalnum(static_cast<unsigned char>(before)) || before == '.' ||
                    before == '_' || before == '-' || before == '}' || before == ')')
            << file << " names " << text.substr(at, 40);
        at = text.find(mark, at + 1);
      }
    }
  }
}

TEST(FileRule, NotesForLaterNameAnIssue) {
  const std::vector<std::string> words = {std::string("TO") + "DO", std::string("FIX") + "ME",
                                          std::string("XX") + "X"};
  for (const std::string& file : files_ending({".h", ".cpp", ".cu", "CMakeLists.txt", ".sh"})) {
    for (const std::string& line : lines_of(file_text(file))) {
      for (const std::string& word : words) {
        const std::size_t at = line.find(word);
        EXPECT_TRUE(at == std::string::npos || line.find('#', at) != std::string::npos)
            << file << ": " << line;
      }
    }
  }
}

TEST(FileRule, FilesNamedByDocumentsExist) {
  const std::vector<std::string> roots = {
      "models/", "hardware_profiles/", "scenarios/", "sim/",      "tests/",
      "docs/",   "kernels/",           "examples/",  "calibrate/"};
  const std::vector<std::string> endings = {".json", ".h", ".cpp", ".md", ".cu", ".csv", ".jsonl"};
  const auto is_name = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '/' || c == '.' ||
           c == '-';
  };
  const std::vector<std::string>& files = repository_files();
  for (const std::string& document : files_ending({".md"})) {
    const std::string text = file_text(document);
    for (const std::string& root : roots) {
      for (std::size_t at = text.find(root); at != std::string::npos;
           at = text.find(root, at + 1)) {
        if (at > 0 && (is_name(text[at - 1]) || text[at - 1] == '$' || text[at - 1] == '}')) {
          continue;  // inside a longer path
        }
        std::size_t end = at;
        while (end < text.size() && is_name(text[end])) {
          ++end;
        }
        const std::string name = text.substr(at, end - at);
        const bool is_file =
            std::any_of(endings.begin(), endings.end(),
                        [&name](const std::string& ending) { return name.ends_with(ending); });
        const std::size_t stem = name.rfind('/') + 1;
        const bool is_placeholder =  // models/NAME.json
            !name.ends_with(".md") &&
            std::none_of(name.begin() + static_cast<std::ptrdiff_t>(stem),
                         name.begin() + static_cast<std::ptrdiff_t>(name.find('.', stem)),
                         [](unsigned char c) { return std::islower(c); });
        if (is_file && !is_placeholder &&
            (end >= text.size() || (text[end] != '<' && text[end] != '*'))) {
          EXPECT_TRUE(std::binary_search(files.begin(), files.end(), name))
              << document << " names " << name << ", which does not exist";
        }
      }
    }
  }
}

}  // namespace
}  // namespace moesim::rules
