// SPDX-License-Identifier: Apache-2.0
#include "sim/cost/residual_trees.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "sim/base/error.h"

namespace moesim {
namespace {

constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr int kMaxDepth = 8;  // the answers of a tree fill a byte
constexpr std::size_t kMaxTreeFeatures = 32;
// Trees whose leaves are named at once: three blocks fill nine of the sixteen 16-byte registers
// that every x86-64 has.
constexpr std::size_t kTreesOfBlock = 48;
constexpr std::size_t kMostBlocks = 3;
constexpr std::size_t kCells = 128;  // of an axis
constexpr float kLastCell = kCells - 1;

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

/// A place on an axis, inside its cells; NaN goes to the first.
float bounded(float x) { return x > 0.0F ? std::min(x, kLastCell) : 0.0F; }

// One register: GCC and Clang know this spelling for any processor.
using Answers [[gnu::vector_size(16)]] = std::uint8_t;  // of sixteen trees
using Floats [[gnu::vector_size(16)]] = float;
using Integers [[gnu::vector_size(16)]] = std::int32_t;

/// Bitwise or of the answers of `trees` trees, from `first` on, over all rows.
template <std::size_t trees>
void unite(std::span<const std::uint8_t* const> rows, std::size_t first, std::uint8_t* leaves) {
  std::array<Answers, trees / sizeof(Answers)> united{};
  for (const std::uint8_t* row : rows) {
    for (std::size_t i = 0; i < united.size(); ++i) {
      Answers answers;
      std::memcpy(&answers, row + first + i * sizeof(Answers), sizeof answers);
      united[i] |= answers;
    }
  }
  std::memcpy(leaves, &united, sizeof united);
}

bool is_finite_number(const Json* json) {
  return json != nullptr && json->is_number() && std::isfinite(json->as_number());
}

}  // namespace

ResidualTrees::ResidualTrees(int depth, double base, std::vector<std::vector<float>> thresholds)
    : depth_(depth), base_(static_cast<float>(base)), thresholds_(std::move(thresholds)) {
  MOESIM_CHECK(depth_ >= 1 && depth_ <= kMaxDepth, "trees have 1 to 8 questions");
  MOESIM_CHECK(thresholds_.size() <= kMaxTreeFeatures, "too many features");
  axis_low_.reserve(thresholds_.size());
  cells_per_unit_.reserve(thresholds_.size());
  lowest_row_.reserve(thresholds_.size() * kCells);
  for (std::size_t f = 0; f < thresholds_.size(); ++f) {
    add_axis(f);
  }
}

void ResidualTrees::add_axis(std::size_t feature) {
  const std::vector<float>& list = thresholds_[feature];
  const float span = list.empty() ? 0.0F : list.back() - list.front();
  axis_low_.push_back(list.empty() ? 0.0F : list.front());
  cells_per_unit_.push_back(span > 0 ? static_cast<float>(kCells) / span : 0.0F);
  std::array<std::uint32_t, kCells> inside{};
  for (const float threshold : list) {
    const float x = (threshold - axis_low_.back()) * cells_per_unit_.back();
    ++inside[static_cast<std::size_t>(bounded(x))];
  }
  first_row_.push_back(static_cast<std::uint32_t>(num_rows_));
  above_.insert(above_.end(), list.begin(), list.end());
  const std::uint32_t most = *std::max_element(inside.begin(), inside.end());
  if (most > 2) {
    crowded_.push_back(
        {static_cast<std::uint32_t>(feature), most, static_cast<std::uint32_t>(above_.size())});
  }
  above_.insert(above_.end(), list.empty() ? 2U : 1U, std::numeric_limits<float>::infinity());
  std::size_t row = num_rows_;
  for (const std::uint32_t count : inside) {
    lowest_row_.push_back(static_cast<std::uint16_t>(row));
    row += count;
  }
  num_rows_ = above_.size();
}

void ResidualTrees::reserve(std::size_t trees) {
  const std::size_t room = (trees + kTreesOfBlock - 1) / kTreesOfBlock * kTreesOfBlock;
  if (room <= room_) {
    return;
  }
  std::vector<std::uint8_t> wider(num_rows_ * room);
  for (std::size_t row = 0; row < num_rows_; ++row) {
    std::copy_n(answers_.data() + row * room_, room_, wider.data() + row * room);
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
    const auto bit = static_cast<std::uint8_t>(1U << d);
    // Above exactly `row` thresholds: above this one when row > its index.
    const std::size_t first = first_row_[question.feature];
    const std::size_t end = first + thresholds_[question.feature].size();
    for (std::size_t row = first + question.threshold + 1U; row <= end; ++row) {
      answers_[row * room_ + num_trees_] |= bit;
    }
  }
}

void ResidualTrees::find_cells(const float* features, std::int32_t* cells) const {
  const auto four = [&](std::size_t f) {
    Floats x;
    Floats low;
    Floats per_unit;
    std::memcpy(&x, features + f, sizeof x);
    std::memcpy(&low, axis_low_.data() + f, sizeof low);
    std::memcpy(&per_unit, cells_per_unit_.data() + f, sizeof per_unit);
    x = (x - low) * per_unit;
    const Floats last = Floats{} + kLastCell;
    x = last < x ? last : x;
    x = x > Floats{} ? x : Floats{};
    const auto whole = __builtin_convertvector(x, Integers);
    std::memcpy(cells + f, &whole, sizeof whole);
  };
  const std::size_t num_features = axis_low_.size();
  if (num_features < 4) {
    for (std::size_t f = 0; f < num_features; ++f) {
      const float x = (features[f] - axis_low_[f]) * cells_per_unit_[f];
      cells[f] = static_cast<std::int32_t>(bounded(x));
    }
    return;
  }
  for (std::size_t f = 0; f + 4 < num_features; f += 4) {
    four(f);
  }
  four(num_features - 4);
}

double ResidualTrees::evaluate(const float* features) const {
  const std::size_t num_features = axis_low_.size();
  std::array<std::int32_t, kMaxTreeFeatures> cells;
  find_cells(features, cells.data());
  std::array<const std::uint8_t*, kMaxTreeFeatures> rows;
  const std::uint16_t* of_feature = lowest_row_.data();
  for (std::size_t f = 0; f < num_features; ++f) {
    const std::size_t lowest = of_feature[cells[f]];
    const float* above = above_.data() + lowest;
    // Few cells hold more than two thresholds. Two entries follow any lowest row: the last
    // threshold lies in the last cell.
    const std::size_t row =
        lowest + (above[0] < features[f] ? 1U : 0U) + (above[1] < features[f] ? 1U : 0U);
    rows[f] = answers_.data() + row * room_;
    of_feature += kCells;
  }
  for (const Crowded& crowded : crowded_) {
    const std::size_t f = crowded.feature;
    const std::size_t lowest = lowest_row_[f * kCells + static_cast<std::size_t>(cells[f])];
    const std::size_t end = std::min<std::size_t>(lowest + crowded.most, crowded.end);
    for (std::size_t place = lowest + 2; place < end; ++place) {
      rows[f] += above_[place] < features[f] ? room_ : 0;
    }
  }
  const std::span<const std::uint8_t* const> used(rows.data(), num_features);
  // The usual depths are known to the compiler.
  const double sum = depth_ == 6   ? leaf_sum<6>(used)
                     : depth_ == 5 ? leaf_sum<5>(used)
                                   : leaf_sum<0>(used);
  return base_ + sum;
}

template <int known_depth>
double ResidualTrees::leaf_sum(std::span<const std::uint8_t* const> rows) const {
  const std::size_t num_leaves = std::size_t{1} << (known_depth > 0 ? known_depth : depth_);
  const float* leaves = leaves_.data();
  float even = 0;
  float odd = 0;
  std::array<std::uint8_t, kMostBlocks * kTreesOfBlock> named;
  const std::size_t trees = (num_trees_ + 7) / 8 * 8;
  for (std::size_t first = 0; first < trees; first += named.size()) {
    const std::size_t count = std::min(named.size(), trees - first);
    if (count > 2 * kTreesOfBlock) {
      unite<3 * kTreesOfBlock>(rows, first, named.data());
    } else if (count > kTreesOfBlock) {
      unite<2 * kTreesOfBlock>(rows, first, named.data());
    } else {
      unite<kTreesOfBlock>(rows, first, named.data());
    }
    for (std::size_t tree = 0; tree < count; tree += 8) {
      // Two chains of additions, always in the same order.
      for (std::size_t t = 0; t < 8; t += 2) {
        even += leaves[t * num_leaves + named[tree + t]];
        odd += leaves[(t + 1) * num_leaves + named[tree + t + 1]];
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
