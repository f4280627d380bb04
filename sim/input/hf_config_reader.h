// SPDX-License-Identifier: Apache-2.0
// Typed access to a config.json whose keys have many names: remembers which keys were used, and
// reports what is missing or wrong instead of throwing at the first.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "sim/base/error.h"
#include "sim/base/json.h"

namespace moesim {

class HfConfigReader {
 public:
  using Keys = std::initializer_list<std::string_view>;

  /// `outer` is the file's top level when `object` is its text_config: tied embeddings, data type
  /// and quantisation are looked up there when the inner object lacks them.
  HfConfigReader(const Json& object, const Json* outer, std::string file, std::string pointer,
                 Diagnostics& diagnostics);

  /// The first of `keys` that is there and not null ("a/b" reaches into an object), or null.
  const Json* find(Keys keys);
  bool has(Keys keys) { return find(keys) != nullptr; }
  /// A whole number in [0, max]; a list of equal numbers counts as that number. Reports others.
  std::int64_t integer(Keys keys, std::int64_t fallback, std::int64_t max = kMax);
  /// The same, at least 1; reports the first name of `keys` as missing.
  std::int64_t required(Keys keys, std::int64_t max = kMax);
  bool flag(Keys keys, bool fallback);
  std::string text(Keys keys, const std::string& fallback);
  /// Lists of whole numbers or of text; empty when absent. A text "4,5,6" is a list of numbers too.
  std::vector<std::int64_t> integers(Keys keys);
  std::vector<std::string> texts(Keys keys);

  void problem(std::string_view key, std::string text, std::string allowed = "");
  void note(std::string text) { notes_.push_back(std::move(text)); }
  /// Notes taken so far, then one for each key never asked for that may bear on the shape.
  std::vector<std::string> notes() const;

 private:
  static constexpr std::int64_t kMax = 1 << 24;

  const Json& object_;
  const Json* outer_;
  std::string file_;
  std::string pointer_;
  Diagnostics& diagnostics_;
  std::set<std::string, std::less<>> used_;
  std::vector<std::string> notes_;
};

}  // namespace moesim
