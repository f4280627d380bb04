// SPDX-License-Identifier: Apache-2.0
// JSON Schemas (draft 2020-12) of every file format, made from the field tables that the readers
// use, so that an editor completes keys and no schema can differ from the code.
//
// A schema holds what a table holds: keys, kinds, ranges, choices, docs, defaults and which keys
// are required. What ties keys together (top_k <= experts) only the reader checks. Committed copies
// lie beside the data (models/model_card.v1.schema.json ...); a test compares them.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/base/field_table.h"
#include "sim/base/json.h"

namespace moesim {

/// One file format.
struct FileFormat {
  std::string kind;    ///< word for people: "model_card"
  std::string schema;  ///< value of the key "schema": "moesim/model_card/1"
  std::string file;    ///< committed schema, from the repository root
  const FieldTable* fields;
  Json defaults;  ///< what a file without any key would mean
};

/// The format of a struct with a field table.
template <class S>
FileFormat file_format(std::string kind, std::string schema, std::string file) {
  return {std::move(kind), std::move(schema), std::move(file),
          &fields_of(static_cast<const S*>(nullptr)), write_object(S{})};
}

/// The formats of this folder, in the order of the documentation.
const std::vector<FileFormat>& file_formats();

/// The schema of one of `formats`. Throws InputError naming the kinds when none is called `kind`.
Json json_schema(std::string_view kind, std::span<const FileFormat> formats = file_formats());
/// The same as the text of its committed file.
std::string json_schema_text(std::string_view kind,
                             std::span<const FileFormat> formats = file_formats());

}  // namespace moesim
