// SPDX-License-Identifier: Apache-2.0
// moesim import: other people's files into cards. Nothing of the file is lost silently: notes go to
// the error stream.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <ostream>

#include "sim/base/error.h"
#include "sim/base/quantity_text.h"
#include "sim/cli/commands.h"
#include "sim/input/hf_config.h"
#include "sim/input/model_card_count.h"

namespace moesim {
namespace {

struct ImportArguments {
  std::string file;
  std::string kind;
  std::string out_file;
};

/// A card id from the file's name, or from its folder when the name says nothing ("config.json").
std::string id_from(const std::string& file) {
  const std::filesystem::path path(file);
  std::string stem = path.stem().string();
  if ((stem == "config" || stem == "-") && path.has_parent_path()) {
    stem = std::filesystem::absolute(path).parent_path().filename().string();
  }
  std::string id;
  for (const char c : stem) {
    const bool keeps = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    id += keeps ? c : c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : '_';
  }
  return id.empty() ? "imported" : id;
}

}  // namespace

CommandBody define_import(CLI::App& app, const CommandContext& context) {
  auto arguments = std::make_shared<ImportArguments>();
  app.add_option("file", arguments->file, "a Hugging Face config.json, or - for standard input")
      ->required();
  app.add_option("--kind", arguments->kind, "hf_config; guessed, and said, when absent");
  app.add_option("--out", arguments->out_file, "model card to write; absent: printed");
  return [arguments, &out = context.out, &err = context.err] {
    const std::string name = arguments->file == "-" ? "standard input" : arguments->file;
    if (!arguments->kind.empty() && arguments->kind != "hf_config") {
      throw InputError("--kind", "", "\"" + arguments->kind + "\" is none of the choices",
                       "allowed: hf_config");
    }
    const Json json = load_json(arguments->file);
    if (arguments->kind.empty()) {
      if (!looks_like_hf_config(json)) {
        throw InputError(
            name, "", "is of no kind that can be imported",
            "allowed: a Hugging Face config.json (it has \"model_type\" or \"architectures\")");
      }
      err << name << ": read as hf_config\n";
    }
    const std::string id =
        id_from(arguments->out_file.empty() ? arguments->file : arguments->out_file);
    const ImportedModel model = import_hf_config(json, name, id);
    for (const std::string& note : model.notes) {
      err << name << ": note: " << note << "\n";
    }
    const ParameterCount count = count_parameters(model.card);
    err << name << ": " << plain_number_text(count.total / 1e9, 4) << "B parameters, "
        << plain_number_text(count.active_with_both_embeddings / 1e9, 4) << "B active\n";
    const std::string text = model_card_json(model.card).dump() + "\n";
    if (arguments->out_file.empty()) {
      out << text;
    } else {
      write_text_file(arguments->out_file, text);
    }
    return 0;
  };
}

}  // namespace moesim
