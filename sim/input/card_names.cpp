// SPDX-License-Identifier: Apache-2.0
#include "sim/input/card_names.h"

#include <algorithm>
#include <array>
#include <utility>

namespace moesim {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return lower(c) >= 'a' && lower(c) <= 'z'; }

/// Lower-case words of letters and digits.
std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words(1);
  for (const char c : text) {
    if (is_letter(c) || is_digit(c)) {
      words.back() += lower(c);
    } else if (!words.back().empty()) {
      words.emplace_back();
    }
  }
  if (words.back().empty()) {
    words.pop_back();
  }
  return words;
}

bool all_digits(std::string_view word) {
  return !word.empty() && std::all_of(word.begin(), word.end(), is_digit);
}

/// "671b", "a37b", "16e": sizes, which name the same model again.
bool is_size(std::string_view word) {
  if (word.size() > 2 && word.front() == 'a') {
    word.remove_prefix(1);
  }
  return word.size() > 1 && (word.back() == 'b' || word.back() == 'e') &&
         all_digits(word.substr(0, word.size() - 1));
}

/// Words after a model's name that do not make it another architecture: how it was tuned, stored or
/// dated.
bool keeps_architecture(std::string_view word) {
  static constexpr std::array kWords = {
      std::string_view("instruct"), std::string_view("chat"), std::string_view("base"),
      std::string_view("thinking"), std::string_view("hf"),   std::string_view("it"),
      std::string_view("fp8"),      std::string_view("fp4"),  std::string_view("nvfp4"),
      std::string_view("mxfp4"),    std::string_view("bf16"), std::string_view("awq"),
      std::string_view("gptq"),     std::string_view("int4"), std::string_view("w4a16"),
      std::string_view("dynamic"),  std::string_view("kv"),   std::string_view("v0"),
      std::string_view("v1"),       std::string_view("r1")};
  return std::find(kWords.begin(), kWords.end(), word) != kWords.end() || is_size(word) ||
         (all_digits(word) && (word.size() == 4 || word == "1"));
}

std::optional<ModelNameMatch> match(const std::vector<std::string>& name,
                                    const std::vector<std::string>& ids) {
  std::optional<ModelNameMatch> best;
  std::size_t best_words = 0;
  for (const std::string& id : ids) {
    const std::vector<std::string> wanted = words_of(id);
    if (wanted.size() <= best_words || wanted.size() > name.size() ||
        !std::equal(wanted.begin(), wanted.end(), name.begin())) {
      continue;
    }
    const auto rest = name.begin() + static_cast<std::ptrdiff_t>(wanted.size());
    if (!std::all_of(rest, name.end(), keeps_architecture)) {
      continue;
    }
    ModelNameMatch found{id, ""};
    for (auto word = rest; word != name.end(); ++word) {
      found.rest += (found.rest.empty() ? "" : " ") + *word;
    }
    best = std::move(found);
    best_words = wanted.size();
  }
  return best;
}

/// True when `text` holds `word` between characters that are no letters or digits.
bool has_word(const std::vector<std::string>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

}  // namespace

std::optional<ModelNameMatch> model_card_named(std::string_view name,
                                               const std::vector<std::string>& ids) {
  while (true) {
    if (auto found = match(words_of(name), ids)) {
      return found;
    }
    const std::size_t slash = name.find('/');
    if (slash == std::string_view::npos) {
      return std::nullopt;
    }
    name.remove_prefix(slash + 1);
  }
}

std::optional<std::string> cluster_named(std::string_view system) {
  const std::vector<std::string> words = words_of(system);
  const bool is_sxm = !has_word(words, "pcie") && !has_word(words, "nvl");
  struct Entry {
    std::string_view word;
    bool needs_sxm;
    std::string_view cluster;
  };
  static constexpr std::array kEntries = {
      Entry{"gh200", false, "cluster_gh200_ib400"},
      Entry{"gb200", false, "cluster_gb200_nvl72"},
      Entry{"gb300", false, "cluster_gb300_nvl72"},
      Entry{"h100", true, "cluster_h100_ib400"},
      Entry{"h200", true, "cluster_h200_ib400"},
      Entry{"h800", true, "cluster_h800_ib400"},
      Entry{"a100", true, "cluster_a100_ib200"},
      Entry{"b200", true, "cluster_b200_ib400"},
      Entry{"b300", true, "cluster_b300_ib800"},
      Entry{"mi300x", false, "cluster_mi300x_roce400"},
      Entry{"mi355x", false, "cluster_mi355x_roce400"},
  };
  for (const Entry& entry : kEntries) {
    if (has_word(words, entry.word) && (is_sxm || !entry.needs_sxm)) {
      return std::string(entry.cluster);
    }
  }
  if (has_word(words, "rtx") && has_word(words, "pro") && has_word(words, "6000")) {
    return "cluster_rtxpro6000_pcie";
  }
  if (has_word(words, "rtx") && has_word(words, "4090")) {
    return "cluster_4090_pcie";
  }
  return std::nullopt;
}

std::string_view engine_name(ServingEngine engine) {
  switch (engine) {
    case ServingEngine::vllm:
      return "vllm";
    case ServingEngine::sglang:
      return "sglang";
    case ServingEngine::trtllm:
      return "trtllm";
    case ServingEngine::unknown:
      return "unknown";
  }
  return "unknown";
}

SoftwareName software_named(std::string_view text) {
  const std::vector<std::string> words = words_of(text);
  SoftwareName name;
  if (has_word(words, "vllm")) {
    name.engine = ServingEngine::vllm;
  } else if (has_word(words, "sglang")) {
    name.engine = ServingEngine::sglang;
  } else if (has_word(words, "trtllm") || has_word(words, "tensorrt")) {
    name.engine = ServingEngine::trtllm;
  }
  // The first word that begins with a digit and holds a dot.
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find_first_of(" ,()", at), text.size());
    const std::string_view word = text.substr(at, end - at);
    if (!word.empty() && is_digit(word.front()) && word.find('.') != std::string_view::npos) {
      name.version = std::string(word);
      break;
    }
    at = end + 1;
  }
  return name;
}

}  // namespace moesim
