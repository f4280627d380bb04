// SPDX-License-Identifier: Apache-2.0
// The words of shell text, as far as launch lines need them: quotes, line continuations, comments,
// variables that the same text (or a command's own prefix) assigns, here-documents.
//
// Nothing is executed. What would need a shell - command substitution, arithmetic, a variable that
// is never assigned - stays in the word as written and is reported.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace moesim {

struct ShellCommand {
  std::size_t line = 1;
  std::vector<std::string> words;                  ///< redirections and assignments left out
  std::map<std::string, std::string> environment;  ///< assignments before the command
  std::vector<std::string> unresolved;             ///< "$TP" that nothing assigns
};

struct ShellText {
  std::vector<ShellCommand> commands;
  std::map<std::string, std::string> files;  ///< written by `cat > NAME << EOF` here-documents
};

/// Throws InputError for a quote or here-document that does not end.
ShellText parse_shell(std::string_view text, const std::string& file);

}  // namespace moesim
