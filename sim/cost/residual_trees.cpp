// SPDX-License-Identifier: Apache-2.0
#include "sim/cost/residual_trees.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "sim/base/error.h"

namespace moesim {
namespace {

constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr int kMaxDepth = 8;  // the answers of a tree fill a byte
constexpr std::size_t kMaxTreeFeatures = 32;
constexpr std::size_t kWordsAtOnce = 6;
constexpr std::size_t kTreesAtOnce = 8 * kWordsAtOnce;

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
  MOESIM_CHECK(depth_ >= 1 && depth_ <= kMaxDepth, "trees have 1 to 8 questions");
  MOESIM_CHECK(thresholds_.size() <= kMaxTreeFeatures, "too many features");
  axes_.resize(thresholds_.size());
  for (std::size_t f = 0; f < thresholds_.size(); ++f) {
    const std::vector<float>& list = thresholds_[f];
    first_row_.push_back(static_cast<std::uint32_t>(num_rows_));
    if (list.empty()) {
      continue;
    }
    Asked asked;
    asked.feature = static_cast<std::uint32_t>(f);
    asked.first_place = static_cast<std::uint32_t>(places_.size());
    asked.first_row = static_cast<std::uint32_t>(num_rows_);
    const float span = list.back() - list.front();
    axes_[f] = {list.front(), span > 0 ? static_cast<float>(kCells) / span : 0.0F};
    std::array<std::uint8_t, kCells> inside{};
    for (const float threshold : list) {
      ++inside[static_cast<std::size_t>(axes_[f].cell(threshold))];
    }
    std::uint8_t before = 0;
    for (const std::uint8_t count : inside) {
      before_.push_back(before);
      before = static_cast<std::uint8_t>(before + count);
      asked.steps = std::max<std::uint32_t>(asked.steps, count);
    }
    places_.insert(places_.end(), list.begin(), list.end());
    places_.insert(places_.end(), std::max(2U, asked.steps),
                   std::numeric_limits<float>::infinity());
    asked_.push_back(asked);
    num_rows_ += list.size() + 1;
  }
}

void ResidualTrees::reserve(std::size_t trees) {
  const std::size_t room = (trees + kTreesAtOnce - 1) / kTreesAtOnce * kTreesAtOnce;
  if (room <= room_) {
    return;
  }
  std::vector<std::uint64_t> wider(num_rows_ * room / 8);
  for (std::size_t row = 0; row < num_rows_; ++row) {
    std::copy_n(answers_.data() + row * room_ / 8, room_ / 8, wider.data() + row * room / 8);
  }
  answers_ = std::move(wider);
  room_ = room;
  questions_.reserve(trees * static_cast<std::size_t>(depth_));
  quantised_.reserve(trees << depth_);
  scales_.reserve(trees);
  leaves_.resize(room << depth_);
}

void ResidualTrees::add_answers(std::span<const Question> questions) {
  for (std::size_t d = 0; d < questions.size(); ++d) {
    const Question& question = questions[d];
    const std::uint64_t bit = std::uint64_t{1} << (8 * (num_trees_ % 8) + d);
    // Above exactly `row` thresholds: above this one when row > its index.
    const std::size_t first = first_row_[question.feature];
    const std::size_t end = first + thresholds_[question.feature].size();
    for (std::size_t row = first + question.threshold + 1U; row <= end; ++row) {
      answers_[(row * room_ + num_trees_) / 8] |= bit;
    }
  }
}

double ResidualTrees::evaluate(const float* features) const {
  const std::size_t num_features = axes_.size();
  std::array<std::int32_t, kMaxTreeFeatures> cells;
  for (std::size_t f = 0; f < num_features; ++f) {
    cells[f] = axes_[f].cell(features[f]);
  }
  std::array<const std::uint64_t*, kMaxTreeFeatures> rows;
  std::size_t num_asked = 0;
  const std::uint8_t* before = before_.data();
  for (const Asked& asked : asked_) {
    const float value = features[asked.feature];
    const std::size_t below = before[cells[asked.feature]];
    before += kCells;
    const float* place = places_.data() + asked.first_place + below;
    // Few cells hold more than two thresholds.
    std::size_t row =
        asked.first_row + below + (place[0] < value ? 1U : 0U) + (place[1] < value ? 1U : 0U);
    for (std::uint32_t step = 2; step < asked.steps; ++step) {
      row += place[step] < value ? 1U : 0U;
    }
    rows[num_asked++] = answers_.data() + row * (room_ / 8);
  }
  std::span<const std::uint64_t* const> used(rows.data(), num_asked);
  // The usual depths are known to the compiler.
  const double sum = depth_ == 6   ? leaf_sum<6>(used)
                     : depth_ == 5 ? leaf_sum<5>(used)
                                   : leaf_sum<0>(used);
  return base_ + sum;
}

template <int known_depth>
double ResidualTrees::leaf_sum(std::span<const std::uint64_t* const> rows) const {
  const std::size_t num_leaves = std::size_t{1} << (known_depth > 0 ? known_depth : depth_);
  const float* leaves = leaves_.data();
  float even = 0;
  float odd = 0;
  const std::size_t words = (num_trees_ + 7) / 8;
  for (std::size_t first = 0; first < words; first += kWordsAtOnce) {
    std::array<std::uint64_t, kWordsAtOnce> leaf{};
    for (const std::uint64_t* row : rows) {
      row += first;
      leaf[0] |= row[0];
      leaf[1] |= row[1];
      leaf[2] |= row[2];
      leaf[3] |= row[3];
      leaf[4] |= row[4];
      leaf[5] |= row[5];
    }
    const std::size_t count = std::min(kWordsAtOnce, words - first);
    for (std::size_t w = 0; w < count; ++w) {
      std::uint64_t word = leaf[w];
      // Two chains of additions, always in the same order.
      for (std::size_t t = 0; t < 8; t += 2) {
        even += leaves[t * num_leaves + (word & 255)];
        odd += leaves[(t + 1) * num_leaves + ((word >> 8) & 255)];
        word >>= 16;
      }
      leaves += 8 * num_leaves;
    }
  }
  return static_cast<double>(even) + static_cast<double>(odd);
}

void ResidualTrees::add_tree(std::span<const Question> questions, std::span<const double> leaves) {
  MOESIM_CHECK(questions.size() == static_cast<std::size_t>(depth_) &&
                   leaves.size() == std::size_t{1} << depth_,
               "a tree of another depth");
  if (num_trees_ == room_) {
    reserve(2 * num_trees_ + 1);
  }
  double largest = 0;
  for (const double leaf : leaves) {
    largest = std::max(largest, std::fabs(leaf));
  }
  const float scale = static_cast<float>(largest / 127.0);
  scales_.push_back(scale);
  questions_.insert(questions_.end(), questions.begin(), questions.end());
  add_answers(questions);
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    const double steps = scale > 0 ? std::round(leaves[i] / scale) : 0.0;
    quantised_.push_back(static_cast<std::int8_t>(std::clamp(steps, -127.0, 127.0)));
    leaves_[(num_trees_ << depth_) + i] = scale * static_cast<float>(quantised_.back());
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
  const std::vector<std::uint8_t> leaf_bytes(quantised_.begin(), quantised_.end());
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
    return refuse("depth must be a whole number from 1 to 8");
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
  result.reserve(trees);
  std::vector<Question> tree_questions(d);
  for (std::size_t tree = 0; tree < trees; ++tree) {
    for (std::size_t i = 0; i < d; ++i) {
      tree_questions[i] = {question_bytes[2 * (tree * d + i)],
                           question_bytes[2 * (tree * d + i) + 1]};
      if (tree_questions[i].feature >= num_features ||
          tree_questions[i].threshold >= result.thresholds_[tree_questions[i].feature].size()) {
        return refuse("a question names a feature or threshold that is not there");
      }
      result.questions_.push_back(tree_questions[i]);
    }
    result.add_answers(tree_questions);
    ++result.num_trees_;
  }
  result.quantised_.assign(leaf_bytes.begin(), leaf_bytes.end());
  for (std::size_t i = 0; i < leaf_bytes.size(); ++i) {
    result.leaves_[i] = scales[i >> d] * static_cast<float>(result.quantised_[i]);
  }
  result.scales_ = std::move(scales);
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
  static constexpr std::array<std::uint8_t, 256> kSix = [] {
    std::array<std::uint8_t, 256> value{};
    value.fill(255);
    for (std::size_t i = 0; i < kAlphabet.size(); ++i) {
      value[static_cast<unsigned char>(kAlphabet[i])] = static_cast<std::uint8_t>(i);
    }
    return value;
  }();
  bytes.clear();
  if (text.empty()) {
    return true;
  }
  if (text.size() % 4 != 0) {
    return false;
  }
  const std::size_t padding =
      text[text.size() - 2] == '=' && text.back() == '=' ? 2 : (text.back() == '=' ? 1 : 0);
  bytes.resize(text.size() / 4 * 3);
  std::uint8_t wrong = 0;
  std::uint8_t* out = bytes.data();
  for (std::size_t i = 0; i < text.size(); i += 4) {
    std::uint32_t word = 0;
    for (std::size_t digit = 0; digit < 4; ++digit) {
      const bool pad = i + digit >= text.size() - padding;
      const std::uint8_t six = pad ? 0 : kSix[static_cast<unsigned char>(text[i + digit])];
      wrong |= six & 128U;
      word = word << 6 | six;
    }
    out[0] = static_cast<std::uint8_t>(word >> 16);
    out[1] = static_cast<std::uint8_t>(word >> 8);
    out[2] = static_cast<std::uint8_t>(word);
    out += 3;
  }
  bytes.resize(bytes.size() - padding);
  return wrong == 0;
}

}  // namespace moesim
