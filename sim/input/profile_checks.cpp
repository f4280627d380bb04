// SPDX-License-Identifier: Apache-2.0
#include "sim/input/profile_checks.h"

#include <filesystem>

namespace moesim {

void check_schema(const Json& json, std::string_view wanted, const ReadContext& context) {
  const std::string allowed = "allowed: \"" + std::string(wanted) + "\"";
  if (!json.is_object()) {
    context.problem("is " + std::string(json.kind_name()), "allowed: an object");
    return;
  }
  const Json* schema = json.find("schema");
  if (schema == nullptr) {
    context.at("schema").problem("is missing", allowed);
  } else if (!schema->is_text()) {
    context.at("schema").problem("is " + std::string(schema->kind_name()), allowed);
  } else if (schema->as_text() != wanted) {
    context.at("schema").problem("\"" + schema->as_text().substr(0, 80) + "\" is another format",
                                 allowed);
  }
}

void check_date(const std::string& date, const ReadContext& context) {
  bool good = date.size() == 10;
  for (std::size_t i = 0; good && i < 10; ++i) {
    const bool digit = date[i] >= '0' && date[i] <= '9';
    good = i == 4 || i == 7 ? date[i] == '-' : digit;
  }
  if (good) {
    const int month = (date[5] - '0') * 10 + (date[6] - '0');
    const int day = (date[8] - '0') * 10 + (date[9] - '0');
    good = month >= 1 && month <= 12 && day >= 1 && day <= 31;
  }
  if (!good) {
    context.problem("\"" + date.substr(0, 80) + "\" is no date", "allowed: YYYY-MM-DD");
  }
}

void check_source(const std::string& source, const ReadContext& context) {
  if (source.empty()) {
    context.problem("is empty", "say where the number comes from");
  }
}

void check_sources(const Json& json, const ReadContext& context) {
  if (json.is_array()) {
    for (std::size_t i = 0; i < json.items().size(); ++i) {
      check_sources(json.items()[i], context.at(std::to_string(i)));
    }
  } else if (json.is_object()) {
    for (const auto& [key, value] : json.members()) {
      if (key == "source" && value.is_text()) {
        check_source(value.as_text(), context.at(key));
      } else {
        check_sources(value, context.at(key));
      }
    }
  }
}

void check_word(const std::string& word, const std::vector<std::string>& known,
                const ReadContext& context) {
  std::string list;
  for (const std::string& candidate : known) {
    if (candidate == word) {
      return;
    }
    list += (list.empty() ? "" : ", ") + candidate;
  }
  const std::string nearest = nearest_word(word, known);
  context.problem("unknown key",
                  nearest.empty() ? "allowed: " + list : "did you mean \"" + nearest + "\"?");
}

void check_id_is_file_name(const std::string& id, const std::string& path) {
  const std::string name = std::filesystem::path(path).filename().string();
  if (path != "-" && name != id + ".json") {
    throw InputError(path, "/id", "\"" + id.substr(0, 80) + "\" is not the file's name",
                     "call the file " + id.substr(0, 80) + ".json or the id \"" +
                         std::filesystem::path(path).stem().string() + "\"");
  }
}

}  // namespace moesim
