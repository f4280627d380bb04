// SPDX-License-Identifier: Apache-2.0
// moesim import: other people's files into cards, scenarios and measured rows. Nothing of the file
// is lost silently: notes, and whatever was not understood, go to the error stream.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <ostream>

#include "sim/base/error.h"
#include "sim/base/quantity_text.h"
#include "sim/cli/commands.h"
#include "sim/input/bench_result.h"
#include "sim/input/hf_config.h"
#include "sim/input/launch_line.h"
#include "sim/input/model_card_count.h"

namespace moesim {
namespace {

constexpr std::size_t kMaxBytes = 64u << 20;

struct ImportArguments {
  std::string file;
  std::string kind;
  std::string cluster;
  std::string out_file;
};

/// A file to import: where from, and what it holds.
struct ImportInput {
  const ImportArguments& arguments;
  std::string name;  ///< for messages
  std::string text;
};

/// One kind of file: how it is recognised, and what becomes of it.
struct ImportKind {
  std::string_view name;
  std::string_view doc;
  bool (*matches)(const ImportInput& input);
  /// Returns what is to be written.
  std::string (*import)(const ImportInput& input, const CommandContext& context);
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

bool matches_hf_config(const ImportInput& input) {
  try {
    return looks_like_hf_config(parse_json(input.text, input.name));
  } catch (const InputError&) {
    return false;
  }
}

std::string import_model(const ImportInput& input, const CommandContext& context) {
  const std::string& out_file = input.arguments.out_file;
  const std::string id = id_from(out_file.empty() ? input.arguments.file : out_file);
  const ImportedModel model = import_hf_config(parse_json(input.text, input.name), input.name, id);
  for (const std::string& note : model.notes) {
    context.err << input.name << ": note: " << note << "\n";
  }
  const ParameterCount count = count_parameters(model.card);
  context.err << input.name << ": " << plain_number_text(count.total / 1e9, 4) << "B parameters, "
              << plain_number_text(count.active_with_both_embeddings / 1e9, 4) << "B active\n";
  return model_card_json(model.card).dump() + "\n";
}

bool matches_launch(const ImportInput& input) { return looks_like_launch(input.text); }

std::string import_scenario(const ImportInput& input, const CommandContext& context) {
  LaunchOptions options;
  options.cluster = input.arguments.cluster;
  const std::filesystem::path folder = std::filesystem::path(input.arguments.file).parent_path();
  options.read_file = [folder](const std::string& path) -> std::optional<std::string> {
    const std::filesystem::path file = folder / path;
    std::error_code error;
    if (!std::filesystem::is_regular_file(file, error)) {
      return std::nullopt;
    }
    return read_text_file(file.string(), kMaxBytes);
  };
  const ImportedLaunch launch =
      import_launch(input.text, input.name, CardLibrary::open(context.root), options);
  context.err << input.name << ": a launch line of " << launch_tool_name(launch.tool) << "\n";
  const auto list = [&](const char* what, const std::vector<std::string>& items) {
    for (const std::string& item : items) {
      context.err << input.name << ": " << what << ": " << item << "\n";
    }
  };
  list("note", launch.notes);
  list("unknown flag", launch.unknown_flags);
  list("not simulated", launch.not_simulated);
  list("without effect", launch.without_effect);
  return launch.scenario.dump() + "\n";
}

bool matches_bench(const ImportInput& input) { return looks_like_bench_result(input.text); }

std::string import_bench(const ImportInput& input, const CommandContext& context) {
  const ImportedBench bench = import_bench_result(input.text, input.name);
  context.err << input.name << ": " << bench.rows.size() << " run"
              << (bench.rows.size() > 1 ? "s" : "") << " of " << bench.format << "\n";
  for (const std::string& note : bench.notes) {
    context.err << input.name << ": note: " << note << "\n";
  }
  if (!bench.unread.empty()) {
    context.err << input.name << ": in no column:";
    for (const std::string& key : bench.unread) {
      context.err << " " << key << (key == bench.unread.back() ? "\n" : ",");
    }
  }
  return serving_measurements_csv(bench.rows);
}

constexpr ImportKind kKinds[] = {
    {"hf_config", "a Hugging Face config.json into a model card", matches_hf_config, import_model},
    {"bench_result",
     "results of vllm bench serve, sglang.bench_serving, InferenceX, aiperf, guidellm into "
     "measured "
     "rows (CSV)",
     matches_bench, import_bench},
    {"launch",
     "a launch line, script or YAML of vLLM, SGLang, TensorRT-LLM, fairseq into a scenario",
     matches_launch, import_scenario},
};

std::string kind_names() {
  std::string names;
  for (const ImportKind& kind : kKinds) {
    names += (names.empty() ? "" : ", ") + std::string(kind.name);
  }
  return names;
}

const ImportKind& kind_of(const ImportInput& input, std::ostream& err) {
  for (const ImportKind& kind : kKinds) {
    if (input.arguments.kind.empty() ? kind.matches(input) : input.arguments.kind == kind.name) {
      if (input.arguments.kind.empty()) {
        err << input.name << ": read as " << kind.name << "\n";
      }
      return kind;
    }
  }
  if (!input.arguments.kind.empty()) {
    throw InputError("--kind", "", "\"" + input.arguments.kind + "\" is none of the choices",
                     "allowed: " + kind_names());
  }
  if (!input.text.empty() && input.text.find_first_not_of(" \t\r\n") != std::string::npos &&
      input.text[input.text.find_first_not_of(" \t\r\n")] == '{') {
    parse_json(input.text, input.name);  // broken JSON says where
  }
  throw InputError(input.name, "", "is of no kind that can be imported",
                   "allowed: " + kind_names() +
                       " (a Hugging Face config.json has \"model_type\" or \"architectures\")");
}

}  // namespace

CommandBody define_import(CLI::App& app, const CommandContext& context) {
  auto arguments = std::make_shared<ImportArguments>();
  app.add_option("file", arguments->file, "the file, or - for standard input")->required();
  std::string doc = "guessed, and said, when absent:";
  for (const ImportKind& kind : kKinds) {
    doc += "\n" + std::string(kind.name) + ": " + std::string(kind.doc);
  }
  app.add_option("--kind", arguments->kind, doc);
  app.add_option("--cluster", arguments->cluster,
                 "launch: the machine, which the line does not name (a cluster profile)");
  app.add_option("--out", arguments->out_file, "file to write; absent: printed");
  return [arguments, context] {
    ImportInput input{*arguments, arguments->file == "-" ? "standard input" : arguments->file,
                      read_text_file(arguments->file, kMaxBytes)};
    const ImportKind& kind = kind_of(input, context.err);
    const std::string text = kind.import(input, context);
    if (arguments->out_file.empty()) {
      context.out << text;
    } else {
      write_text_file(arguments->out_file, text);
    }
    return 0;
  };
}

}  // namespace moesim
