// SPDX-License-Identifier: Apache-2.0
#include "sim/input/launch_script.h"

#include <optional>

#include "sim/base/error.h"

namespace moesim {
namespace {

bool is_name_char(char c, bool first) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         (!first && c >= '0' && c <= '9');
}

/// Length of a variable's name at the beginning of `text`.
std::size_t name_length(std::string_view text) {
  std::size_t length = 0;
  while (length < text.size() && is_name_char(text[length], length == 0)) {
    ++length;
  }
  return length;
}

class ShellReader {
 public:
  ShellReader(std::string_view text, const std::string& file) : text_(text), file_(file) {}

  ShellText read() {
    while (at_ < text_.size()) {
      read_piece();
    }
    end_word();
    end_command();
    return std::move(result_);
  }

 private:
  [[noreturn]] void fail(std::size_t line, const std::string& problem,
                         const std::string& allowed) const {
    throw InputError(file_, "line " + std::to_string(line), problem, allowed);
  }

  void read_piece() {
    const char c = text_[at_];
    switch (c) {
      case ' ':
      case '\t':
      case '\r':
        end_word();
        ++at_;
        return;
      case '\n':
        end_word();
        end_command();
        ++line_;
        ++at_;
        if (here_document_) {
          read_here_document();
        }
        return;
      case ';':
      case '|':
      case '&':
      case '(':
      case ')':
        end_word();
        end_command();
        ++at_;
        return;
      case '#':
        if (!in_word_) {
          at_ = std::min(text_.find('\n', at_), text_.size());
          return;
        }
        break;
      case '\\':
        ++at_;
        if (at_ < text_.size() && text_[at_] == '\r') {
          ++at_;
        }
        if (at_ < text_.size() && text_[at_] == '\n') {
          ++line_;
          ++at_;
        } else if (at_ < text_.size()) {
          add(text_[at_++]);
        }
        return;
      case '\'':
      case '"':
        read_quoted(c);
        return;
      case '$':
        read_variable();
        return;
      case '<':
      case '>':
        read_redirection();
        return;
      default:
        break;
    }
    add(c);
    ++at_;
  }

  void add(char c) {
    word_ += c;
    in_word_ = true;
  }

  void read_quoted(char quote) {
    const std::size_t opened = line_;
    ++at_;
    in_word_ = true;
    while (at_ < text_.size() && text_[at_] != quote) {
      if (quote == '"' && text_[at_] == '$') {
        read_variable();
        continue;
      }
      if (quote == '"' && text_[at_] == '\\' && at_ + 1 < text_.size()) {
        const char next = text_[at_ + 1];
        if (next == '"' || next == '\\' || next == '$' || next == '\n') {
          line_ += next == '\n' ? 1 : 0;
          if (next != '\n') {
            word_ += next;
          }
          at_ += 2;
          continue;
        }
      }
      line_ += text_[at_] == '\n' ? 1 : 0;
      word_ += text_[at_++];
    }
    if (at_ >= text_.size()) {
      fail(opened, "a quote does not end", "a closing quote");
    }
    ++at_;
  }

  void read_variable() {
    in_word_ = true;
    std::size_t begin = at_ + 1;
    std::size_t end = begin;
    if (begin < text_.size() && text_[begin] == '(') {
      // Arithmetic or another program: kept as written.
      int depth = 0;
      for (end = begin; end < text_.size(); ++end) {
        depth += text_[end] == '(' ? 1 : text_[end] == ')' ? -1 : 0;
        line_ += text_[end] == '\n' ? 1 : 0;
        if (depth == 0) {
          ++end;
          break;
        }
      }
      keep_unresolved(text_.substr(at_, end - at_));
      at_ = end;
      return;
    }
    std::string_view name;
    std::optional<std::string> otherwise;
    if (begin < text_.size() && text_[begin] == '{') {
      end = text_.find('}', begin);
      if (end == std::string_view::npos) {
        fail(line_, "\"${\" does not end", "a closing brace");
      }
      const std::string_view inside = text_.substr(begin + 1, end - begin - 1);
      name = inside.substr(0, name_length(inside));
      const std::string_view rest = inside.substr(name.size());
      if (rest.starts_with(":-")) {
        otherwise = std::string(rest.substr(2));
      }
      ++end;
    } else {
      name = text_.substr(begin, name_length(text_.substr(begin)));
      end = begin + name.size();
    }
    const auto known = variables_.find(std::string(name));
    if (name.empty() && end == begin) {
      word_ += '$';
      at_ = begin;
      return;
    }
    if (known != variables_.end()) {
      word_ += known->second;
    } else if (otherwise) {
      word_ += *otherwise;
    } else {
      keep_unresolved(text_.substr(at_, end - at_));
    }
    at_ = end;
  }

  void keep_unresolved(std::string_view piece) {
    word_ += piece;
    command_.unresolved.emplace_back(piece);
  }

  void read_redirection() {
    // A descriptor before it ("2>") belongs to it.
    if (word_ == "1" || word_ == "2") {
      word_.clear();
      in_word_ = false;
    }
    end_word();
    const bool is_output = text_[at_] == '>';
    const std::size_t begin = at_;
    while (at_ < text_.size() &&
           (text_[at_] == '<' || text_[at_] == '>' || text_[at_] == '&' || text_[at_] == '-')) {
      ++at_;
    }
    if (at_ - begin >= 2 && text_[begin] == '<' && text_[begin + 1] == '<') {
      skipping_ = Skip::here_document;
    } else {
      skipping_ = is_output ? Skip::output : Skip::input;
    }
  }

  void end_word() {
    if (!in_word_) {
      return;
    }
    std::string word = std::move(word_);
    word_.clear();
    in_word_ = false;
    switch (skipping_) {
      case Skip::none:
        break;
      case Skip::output:
        output_file_ = word;
        skipping_ = Skip::none;
        return;
      case Skip::input:
        skipping_ = Skip::none;
        return;
      case Skip::here_document:
        here_document_ = word;
        skipping_ = Skip::none;
        return;
    }
    if (command_.words.empty()) {
      command_.line = line_;
      const std::size_t length = name_length(word);
      if (length > 0 && length < word.size() && word[length] == '=') {
        command_.environment[word.substr(0, length)] = word.substr(length + 1);
        variables_[word.substr(0, length)] = word.substr(length + 1);
        return;
      }
      if (word == "export" || word == "declare" || word == "env") {
        return;  // assignments follow
      }
    }
    command_.words.push_back(std::move(word));
  }

  void end_command() {
    skipping_ = Skip::none;
    if (!command_.words.empty()) {
      result_.commands.push_back(std::move(command_));
    }
    command_ = {};
  }

  void read_here_document() {
    const std::size_t opened = line_;
    std::string body;
    while (true) {
      if (at_ >= text_.size()) {
        fail(opened, "the here-document has no line \"" + here_document_->substr(0, 40) + "\"",
             "the closing word on a line of its own");
      }
      const std::size_t end = std::min(text_.find('\n', at_), text_.size());
      const std::string_view whole = text_.substr(at_, end - at_);
      at_ = std::min(end + 1, text_.size());
      ++line_;
      if (whole == *here_document_) {
        break;
      }
      body += expanded(whole) + "\n";
    }
    if (!output_file_.empty()) {
      result_.files[output_file_] += body;
    }
    here_document_.reset();
    output_file_.clear();
  }

  /// A line of a here-document with the variables that are known.
  std::string expanded(std::string_view line) const {
    std::string text;
    for (std::size_t i = 0; i < line.size(); ++i) {
      if (line[i] == '$' && i + 1 < line.size()) {
        const bool braces = line[i + 1] == '{';
        const std::size_t begin = i + (braces ? 2 : 1);
        const std::size_t length = name_length(line.substr(begin));
        const auto known = variables_.find(std::string(line.substr(begin, length)));
        if (length > 0 && known != variables_.end() &&
            (!braces || (begin + length < line.size() && line[begin + length] == '}'))) {
          text += known->second;
          i = begin + length - (braces ? 0 : 1);
          continue;
        }
      }
      text += line[i];
    }
    return text;
  }

  enum class Skip { none, input, output, here_document };

  std::string_view text_;
  const std::string& file_;
  std::size_t at_ = 0;
  std::size_t line_ = 1;
  std::string word_;
  bool in_word_ = false;
  Skip skipping_ = Skip::none;
  std::string output_file_;
  std::optional<std::string> here_document_;
  ShellCommand command_;
  std::map<std::string, std::string> variables_;
  ShellText result_;
};

}  // namespace

ShellText parse_shell(std::string_view text, const std::string& file) {
  return ShellReader(text, file).read();
}

}  // namespace moesim
