// SPDX-License-Identifier: Apache-2.0
#include "sim/input/json_schema.h"

#include <cmath>
#include <map>

#include "sim/input/cluster_profile.h"
#include "sim/input/hardware_profile.h"
#include "sim/input/model_card.h"
#include "sim/input/scenario.h"

namespace moesim {
namespace {

/// Builds one schema; object tables below the root become definitions, each once.
class SchemaBuilder {
 public:
  Json build(const FileFormat& format) {
    Json schema = Json::object();
    schema.set("$schema", "https://json-schema.org/draft/2020-12/schema");
    schema.set("$id", format.schema);
    schema.set("title", format.fields->name());
    Json body = object_schema(*format.fields, &format.defaults);
    body.find("properties")->find("schema")->set("const", format.schema);
    for (auto& [key, value] : body.members()) {
      schema.set(key, std::move(value));
    }
    if (!definitions_.empty()) {
      Json definitions = Json::object();
      for (auto& [name, definition] : definitions_) {
        definitions.set(name, std::move(definition));
      }
      schema.set("$defs", std::move(definitions));
    }
    return schema;
  }

 private:
  Json object_schema(const FieldTable& table, const Json* defaults) {
    Json schema = Json::object();
    if (!table.doc().empty()) {
      schema.set("description", table.doc());
    }
    schema.set("type", "object");
    Json properties = Json::object();
    Json required = Json::array();
    for (const Field& field : table.fields()) {
      const Json* value = defaults == nullptr ? nullptr : defaults->find(field.key);
      properties.set(field.key, field_schema(field, value));
      if (field.doc.required) {
        required.push_back(field.key);
      }
    }
    schema.set("properties", std::move(properties));
    if (!required.items().empty()) {
      schema.set("required", std::move(required));
    }
    // "$comment" and "$schema" are JSON Schema's own words; readers pass over them.
    Json pattern = Json::object();
    pattern.set("^\\$", true);
    schema.set("patternProperties", std::move(pattern));
    schema.set("additionalProperties", false);
    return schema;
  }

  Json field_schema(const Field& field, const Json* value) {
    Json schema = Json::object();
    std::string text = field.doc.doc;
    if (!field.doc.unit.empty()) {
      text += " [" + field.doc.unit + "]";
    }
    schema.set("description", text);
    Json kind = value_schema(field.info, &field.doc);
    for (auto& [key, part] : kind.members()) {
      schema.set(key, std::move(part));
    }
    const bool plain = value != nullptr && !value->is_null() && !value->is_object() &&
                       !(value->is_array() && value->items().empty()) &&
                       !(value->is_text() && value->as_text().empty());
    if (plain && !field.doc.required) {
      schema.set("default", *value);
    }
    return schema;
  }

  static void set_range(Json& schema, const FieldDoc& doc) {
    if (std::isfinite(doc.min)) {
      schema.set(doc.min_exclusive ? "exclusiveMinimum" : "minimum", number(doc.min));
    }
    if (std::isfinite(doc.max)) {
      schema.set("maximum", number(doc.max));
    }
  }

  static Json number(double value) {
    return std::floor(value) == value && std::fabs(value) < 1e15
               ? Json(static_cast<std::int64_t>(value))
               : Json(value);
  }

  static void set_type(Json& schema, const char* type, bool nullable) {
    if (nullable) {
      Json types = Json::array();
      types.push_back(type);
      types.push_back("null");
      schema.set("type", std::move(types));
    } else {
      schema.set("type", type);
    }
  }

  Json value_schema(const ValueInfo& info, const FieldDoc* doc) {
    Json schema = Json::object();
    switch (info.kind) {
      case FieldKind::boolean:
        set_type(schema, "boolean", info.nullable);
        break;
      case FieldKind::integer:
        set_type(schema, "integer", info.nullable);
        set_range(schema, *doc);
        break;
      case FieldKind::number:
        set_type(schema, "number", info.nullable);
        set_range(schema, *doc);
        break;
      case FieldKind::text:
        set_type(schema, "string", info.nullable);
        break;
      case FieldKind::choice: {
        Json names = Json::array();
        for (const auto& [name, meaning] : info.choices) {
          names.push_back(name);
        }
        if (info.nullable) {
          names.push_back(Json());
        }
        schema.set("enum", std::move(names));
        break;
      }
      case FieldKind::object:
        return reference(info, *doc);
      case FieldKind::list:
        set_type(schema, "array", info.nullable);
        schema.set("items", value_schema(*info.element, doc));
        break;
      case FieldKind::map:
        set_type(schema, "object", info.nullable);
        schema.set("additionalProperties", value_schema(*info.element, doc));
        break;
      case FieldKind::any:
        break;
    }
    return schema;
  }

  /// A `$ref` to the table's definition; the range of the holding key narrows a member "value".
  Json reference(const ValueInfo& info, const FieldDoc& doc) {
    const std::string name = define(*info.fields);
    Json schema = Json::object();
    schema.set("$ref", "#/$defs/" + name);
    Json value = Json::object();
    set_range(value, doc);
    if (!value.members().empty() && info.fields->find("value") != nullptr) {
      Json properties = Json::object();
      properties.set("value", std::move(value));
      schema.set("properties", std::move(properties));
    }
    if (!info.nullable) {
      return schema;
    }
    Json null_type = Json::object();
    null_type.set("type", "null");
    Json either = Json::array();
    either.push_back(std::move(schema));
    either.push_back(std::move(null_type));
    Json wrapped = Json::object();
    wrapped.set("anyOf", std::move(either));
    return wrapped;
  }

  std::string define(const FieldTable& table) {
    std::string name = table.name();
    for (char& c : name) {
      c = c == ' ' || c == '-' ? '_' : c;
    }
    if (definitions_.find(name) == definitions_.end()) {
      definitions_[name];  // marks it, should a table ever contain itself
      definitions_[name] = object_schema(table, nullptr);
      tables_[name] = &table;
    } else if (const FieldTable* known = tables_[name]; known != nullptr && known != &table) {
      MOESIM_CHECK(object_schema(table, nullptr) == definitions_[name],
                   "two field tables with different keys share a name");
    }
    return name;
  }

  std::map<std::string, Json> definitions_;
  std::map<std::string, const FieldTable*> tables_;
};

}  // namespace

const std::vector<FileFormat>& file_formats() {
  static const std::vector<FileFormat> formats = {
      file_format<ModelCard>("model_card", "moesim/model_card/1",
                             "models/model_card.v1.schema.json"),
      file_format<DeviceProfile>("hardware_profile", "moesim/hardware_profile/1",
                                 "hardware_profiles/hardware_profile.v1.schema.json"),
      file_format<ClusterProfile>("cluster_profile", "moesim/cluster_profile/1",
                                  "hardware_profiles/cluster_profile.v1.schema.json"),
      file_format<ScenarioSpec>("scenario", "moesim/scenario/1",
                                "scenarios/scenario.v1.schema.json"),
  };
  return formats;
}

Json json_schema(std::string_view kind, std::span<const FileFormat> formats) {
  std::vector<std::string> kinds;
  for (const FileFormat& format : formats) {
    if (format.kind == kind) {
      return SchemaBuilder().build(format);
    }
    kinds.push_back(format.kind);
  }
  std::string allowed;
  for (const std::string& known : kinds) {
    allowed += (allowed.empty() ? "allowed: " : ", ") + known;
  }
  const std::string nearest = nearest_word(kind, kinds);
  throw InputError("", "", "no file format is called \"" + std::string(kind.substr(0, 80)) + "\"",
                   nearest.empty() ? allowed : "did you mean \"" + nearest + "\"?");
}

std::string json_schema_text(std::string_view kind, std::span<const FileFormat> formats) {
  return json_schema(kind, formats).dump(2) + "\n";
}

}  // namespace moesim
