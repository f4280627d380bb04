// SPDX-License-Identifier: Apache-2.0
#include "sim/cost/residual_trees.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "sim/base/error.h"

namespace moesim {
namespace {

constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr int kMaxDepth = 10;
constexpr std::size_t kMaxTreeFeatures = 32;

void append_float(std::vector<std::uint8_t>& bytes, float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  for (int shift = 0; shift < 32; shift += 8) {
    bytes.push_back(static_cast<std::uint8_t>(bits >> shift));
  }
}

/// Floats of a base64 member; false when it is no such text.
bool read_floats(const Json* json, std::vector<float>& values) {
  std::vector<std::uint8_t> bytes;
  if (json == nullptr || !json->is_text() || !base64_decode(json->as_text(), bytes) ||
      bytes.size() % 4 != 0) {
    return false;
  }
  values.clear();
  for (std::size_t i = 0; i < bytes.size(); i += 4) {
    std::uint32_t bits = 0;
    for (std::size_t byte = 0; byte < 4; ++byte) {
      bits |= static_cast<std::uint32_t>(bytes[i + byte]) << (8 * byte);
    }
    values.push_back(std::bit_cast<float>(bits));
    if (!std::isfinite(values.back())) {
      return false;
    }
  }
  return true;
}

bool is_finite_number(const Json* json) {
  return json != nullptr && json->is_number() && std::isfinite(json->as_number());
}

}  // namespace

ResidualTrees::ResidualTrees(int depth, double base, std::vector<std::vector<float>> thresholds)
    : depth_(depth), base_(static_cast<float>(base)), thresholds_(std::move(thresholds)) {
  MOESIM_CHECK(depth_ >= 1 && depth_ <= kMaxDepth, "trees have 1 to 10 questions");
  MOESIM_CHECK(thresholds_.size() <= kMaxTreeFeatures, "too many features");
  for (const auto& list : thresholds_) {
    first_row_.push_back(num_rows_);
    num_rows_ += list.size() + 1;
  }
}

void ResidualTrees::add_answers(std::span<const Question> questions) {
  const std::size_t trees_per_word = 64 / static_cast<std::size_t>(depth_);
  const std::size_t place = num_trees_ % trees_per_word;
  if (place == 0) {
    answers_.resize(answers_.size() + num_rows_);
  }
  std::uint64_t* rows = answers_.data() + answers_.size() - num_rows_;
  for (std::size_t d = 0; d < questions.size(); ++d) {
    const Question& question = questions[d];
    const std::size_t first = first_row_[question.feature];
    const std::uint64_t bit = std::uint64_t{1} << (place * static_cast<std::size_t>(depth_) + d);
    // Above exactly `row` thresholds: above this one when row > its index.
    for (std::size_t row = question.threshold + 1U; row <= thresholds_[question.feature].size();
         ++row) {
      rows[first + row] |= bit;
    }
  }
}

double ResidualTrees::evaluate(const float* features) const {
  std::array<std::uint32_t, kMaxTreeFeatures> row;
  const std::size_t num_features = thresholds_.size();
  std::size_t asked = 0;
  for (std::size_t f = 0; f < num_features; ++f) {
    const std::vector<float>& list = thresholds_[f];
    if (list.empty()) {
      continue;
    }
    // How many thresholds lie below: halving without branches.
    const float value = features[f];
    const float* base = list.data();
    std::size_t left = list.size();
    while (left > 1) {
      const std::size_t half = left / 2;
      base += base[half - 1] < value ? half : 0;
      left -= half;
    }
    const std::size_t above =
        static_cast<std::size_t>(base - list.data()) + (*base < value ? 1U : 0U);
    row[asked++] = static_cast<std::uint32_t>(first_row_[f] + above);
  }
  const auto depth = static_cast<unsigned>(depth_);
  const std::size_t trees_per_word = 64 / depth;
  const std::uint64_t leaf_mask = (std::uint64_t{1} << depth) - 1;
  const std::uint64_t* answers = answers_.data();
  const float* leaves = leaves_.data();
  const std::size_t num_leaves = std::size_t{1} << depth;
  float even = 0;
  float odd = 0;
  for (std::size_t tree = 0; tree < num_trees_; answers += num_rows_) {
    std::uint64_t word = 0;
    for (std::size_t f = 0; f < asked; ++f) {
      word |= answers[row[f]];
    }
    const std::size_t end = std::min(num_trees_, tree + trees_per_word);
    // Two chains of additions, always in the same order.
    for (; tree + 1 < end; tree += 2) {
      even += leaves[word & leaf_mask];
      odd += leaves[num_leaves + ((word >> depth) & leaf_mask)];
      word >>= 2 * depth;
      leaves += 2 * num_leaves;
    }
    if (tree < end) {
      even += leaves[word & leaf_mask];
      leaves += num_leaves;
      ++tree;
    }
  }
  return base_ + (static_cast<double>(even) + static_cast<double>(odd));
}

void ResidualTrees::add_tree(std::span<const Question> questions, std::span<const double> leaves) {
  MOESIM_CHECK(questions.size() == static_cast<std::size_t>(depth_) &&
                   leaves.size() == std::size_t{1} << depth_,
               "a tree of another depth");
  double largest = 0;
  for (const double leaf : leaves) {
    largest = std::max(largest, std::fabs(leaf));
  }
  const float scale = static_cast<float>(largest / 127.0);
  scales_.push_back(scale);
  for (const Question& question : questions) {
    questions_.push_back(question);
  }
  add_answers(questions);
  for (const double leaf : leaves) {
    const double steps = scale > 0 ? std::round(leaf / scale) : 0.0;
    quantised_.push_back(static_cast<std::int8_t>(std::clamp(steps, -127.0, 127.0)));
    leaves_.push_back(scale * static_cast<float>(quantised_.back()));
  }
  ++num_trees_;
}

Json ResidualTrees::to_json() const {
  std::vector<std::vector<int>> new_index(thresholds_.size());
  for (std::size_t f = 0; f < thresholds_.size(); ++f) {
    new_index[f].assign(thresholds_[f].size(), -1);
  }
  for (const Question& question : questions_) {
    new_index[question.feature][question.threshold] = 0;
  }
  Json counts = Json::array();
  std::vector<std::uint8_t> threshold_bytes;
  for (std::size_t f = 0; f < thresholds_.size(); ++f) {
    int used = 0;
    for (std::size_t i = 0; i < thresholds_[f].size(); ++i) {
      if (new_index[f][i] == 0) {
        new_index[f][i] = used++;
        append_float(threshold_bytes, thresholds_[f][i]);
      }
    }
    counts.push_back(used);
  }
  std::vector<std::uint8_t> question_bytes;
  for (const Question& question : questions_) {
    question_bytes.push_back(question.feature);
    question_bytes.push_back(
        static_cast<std::uint8_t>(new_index[question.feature][question.threshold]));
  }
  std::vector<std::uint8_t> leaf_bytes;
  for (const std::int8_t leaf : quantised_) {
    leaf_bytes.push_back(static_cast<std::uint8_t>(leaf));
  }
  std::vector<std::uint8_t> scale_bytes;
  for (const float scale : scales_) {
    append_float(scale_bytes, scale);
  }
  Json json = Json::object();
  json.set("depth", depth_);
  json.set("base", base_);
  json.set("num_thresholds", std::move(counts));
  json.set("thresholds", base64_encode(threshold_bytes));
  json.set("scales", base64_encode(scale_bytes));
  json.set("questions", base64_encode(question_bytes));
  json.set("leaves", base64_encode(leaf_bytes));
  return json;
}

ResidualTrees ResidualTrees::from_json(const Json& json, std::size_t num_features,
                                       std::string& problem) {
  const auto refuse = [&](std::string why) {
    if (problem.empty()) {
      problem = std::move(why);
    }
    return ResidualTrees();
  };
  const Json* depth = json.find("depth");
  const Json* counts = json.find("num_thresholds");
  const Json* questions = json.find("questions");
  const Json* leaves = json.find("leaves");
  if (depth == nullptr || !depth->is_integer() || depth->as_integer() < 1 ||
      depth->as_integer() > kMaxDepth) {
    return refuse("depth must be a whole number from 1 to 10");
  }
  if (!is_finite_number(json.find("base"))) {
    return refuse("base must be a number");
  }
  std::vector<float> flat_thresholds;
  std::vector<float> scales;
  if (!read_floats(json.find("thresholds"), flat_thresholds) ||
      !read_floats(json.find("scales"), scales)) {
    return refuse("thresholds and scales must be base64 of finite binary32 numbers");
  }
  if (counts == nullptr || !counts->is_array() || counts->items().size() != num_features) {
    return refuse("num_thresholds must have one count for each of " + std::to_string(num_features) +
                  " features");
  }
  std::vector<std::vector<float>> thresholds;
  std::size_t at = 0;
  for (const Json& count : counts->items()) {
    if (!count.is_integer() || count.as_integer() < 0 || count.as_integer() > 255 ||
        at + static_cast<std::size_t>(count.as_integer()) > flat_thresholds.size()) {
      return refuse("num_thresholds must be counts from 0 to 255 that sum to the thresholds");
    }
    const auto n = static_cast<std::size_t>(count.as_integer());
    thresholds.emplace_back(flat_thresholds.begin() + static_cast<std::ptrdiff_t>(at),
                            flat_thresholds.begin() + static_cast<std::ptrdiff_t>(at + n));
    at += n;
  }
  std::vector<std::uint8_t> question_bytes;
  std::vector<std::uint8_t> leaf_bytes;
  if (questions == nullptr || !questions->is_text() || leaves == nullptr || !leaves->is_text() ||
      !base64_decode(questions->as_text(), question_bytes) ||
      !base64_decode(leaves->as_text(), leaf_bytes)) {
    return refuse("questions and leaves must be base64 text");
  }
  const auto d = static_cast<std::size_t>(depth->as_integer());
  const std::size_t trees = scales.size();
  if (question_bytes.size() != 2 * d * trees || leaf_bytes.size() != trees << d) {
    return refuse("questions and leaves do not match the number of trees");
  }
  ResidualTrees result(static_cast<int>(d), json.find("base")->as_number(), std::move(thresholds));
  std::vector<Question> tree_questions(d);
  for (std::size_t tree = 0; tree < trees; ++tree) {
    const float scale = scales[tree];
    for (std::size_t i = 0; i < d; ++i) {
      tree_questions[i] = {question_bytes[2 * (tree * d + i)],
                           question_bytes[2 * (tree * d + i) + 1]};
      if (tree_questions[i].feature >= num_features ||
          tree_questions[i].threshold >= result.thresholds_[tree_questions[i].feature].size()) {
        return refuse("a question names a feature or threshold that is not there");
      }
      result.questions_.push_back(tree_questions[i]);
    }
    result.scales_.push_back(scale);
    for (std::size_t i = 0; i < std::size_t{1} << d; ++i) {
      const auto leaf = static_cast<std::int8_t>(leaf_bytes[(tree << d) + i]);
      result.quantised_.push_back(leaf);
      result.leaves_.push_back(scale * static_cast<float>(leaf));
    }
    result.add_answers(tree_questions);
    ++result.num_trees_;
  }
  return result;
}

std::string base64_encode(std::span<const std::uint8_t> bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t left = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t word = static_cast<std::uint32_t>(bytes[i]) << 16;
    word |= left > 1 ? static_cast<std::uint32_t>(bytes[i + 1]) << 8 : 0;
    word |= left > 2 ? bytes[i + 2] : 0;
    for (std::size_t digit = 0; digit < 4; ++digit) {
      text += digit <= left ? kAlphabet[(word >> (18 - 6 * digit)) & 63] : '=';
    }
  }
  return text;
}

bool base64_decode(std::string_view text, std::vector<std::uint8_t>& bytes) {
  bytes.clear();
  if (text.size() % 4 != 0) {
    return false;
  }
  std::array<std::uint8_t, 256> value{};
  value.fill(255);
  for (std::size_t i = 0; i < kAlphabet.size(); ++i) {
    value[static_cast<unsigned char>(kAlphabet[i])] = static_cast<std::uint8_t>(i);
  }
  bytes.reserve(text.size() / 4 * 3);
  for (std::size_t i = 0; i < text.size(); i += 4) {
    const bool last = i + 4 == text.size();
    const int padding = last ? (text[i + 3] == '=') + (text[i + 2] == '=') : 0;
    std::uint32_t word = 0;
    for (std::size_t digit = 0; digit < 4; ++digit) {
      const bool pad = static_cast<int>(digit) >= 4 - padding;
      const std::uint8_t six = pad ? 0 : value[static_cast<unsigned char>(text[i + digit])];
      if (six == 255) {
        return false;
      }
      word = word << 6 | six;
    }
    for (int byte = 0; byte < 3 - padding; ++byte) {
      bytes.push_back(static_cast<std::uint8_t>(word >> (16 - 8 * byte)));
    }
  }
  return true;
}

}  // namespace moesim
