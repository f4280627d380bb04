// SPDX-License-Identifier: Apache-2.0
// moesim show: what ships with the program, and every number of one card with its origin.
#include <CLI/CLI.hpp>
#include <memory>
#include <ostream>

#include "sim/base/error.h"
#include "sim/base/quantity_text.h"
#include "sim/cli/commands.h"
#include "sim/input/card_library.h"
#include "sim/input/json_schema.h"
#include "sim/input/model_card_count.h"
#include "sim/input/scenario.h"
#include "sim/report/curve_text.h"
#include "sim/study/plan_request.h"

namespace moesim {
namespace {

struct ShowArguments {
  std::string what;
  std::string schema;
  std::string format = "text";
};

std::string billions(double parameters) { return plain_number_text(parameters / 1e9, 4) + "B"; }

std::string padded(std::string text, std::size_t width) {
  text.resize(std::max(text.size(), width), ' ');
  return text;
}

void list_models(std::ostream& out, const CardLibrary& cards) {
  out << padded("model", 28) << padded("total", 10) << padded("active", 10) << padded("layers", 8)
      << padded("experts", 9) << padded("top-k", 7) << "KV a token (bf16)\n";
  for (const std::string& id : cards.ids(CardKind::model)) {
    const ModelCard card = load_model_card(cards.path(CardKind::model, id));
    const ParameterCount count = count_parameters(card);
    std::int64_t experts = 0;
    std::int64_t top_k = 0;
    for (const LayerClass& layer : card.layers) {
      experts = std::max(experts, layer.ffn.experts);
      top_k = std::max(top_k, layer.ffn.top_k);
    }
    out << padded(id, 28) << padded(billions(count.total), 10)
        << padded(billions(count.active_with_both_embeddings), 10)
        << padded(std::to_string(card.num_layers()), 8)
        << padded(experts > 0 ? std::to_string(experts) : "-", 9)
        << padded(top_k > 0 ? std::to_string(top_k) : "-", 7)
        << plain_number_text(kv_bytes_per_token(card, 2.0).value(), 6) << " B\n";
  }
}

void list_profiles(std::ostream& out, const CardLibrary& cards) {
  out << padded("device", 28) << padded("memory", 11) << padded("bandwidth", 12)
      << padded("bf16", 15) << "origin of efficiencies\n";
  for (const std::string& id : cards.ids(CardKind::device)) {
    const DeviceProfile device = cards.device(id);
    out << padded(id, 28) << padded(quantity_text(device.memory.value), 11)
        << padded(quantity_text(device.memory_bandwidth.value), 12)
        << padded(quantity_text(device.peak_of(NumberFormat::bf16)), 15)
        << choice_name(device.efficiency.gemm.origin) << "\n";
  }
  out << "\n"
      << padded("cluster", 28) << padded("device", 20) << padded("GPUs a node", 13)
      << "network a GPU\n";
  for (const std::string& id : cards.ids(CardKind::cluster)) {
    const ClusterProfile cluster = cards.cluster(id);
    for (const NodeGroup& group : cluster.node_groups) {
      const double share =
          static_cast<double>(group.nics.per_node) / static_cast<double>(group.gpus_per_node);
      out << padded(id, 28) << padded(group.device, 20)
          << padded(std::to_string(group.gpus_per_node), 13)
          << (group.nics.per_node > 0 ? quantity_text(group.nics.rate.value * share) : "none")
          << "\n";
    }
  }
}

void list_scenarios(std::ostream& out, const CardLibrary& cards) {
  for (const std::string& id : cards.ids(CardKind::scenario)) {
    out << padded(id, 34) << load_scenario_spec(cards.path(CardKind::scenario, id)).name << "\n";
  }
}

/// Prints every leaf of a card as "pointer  value  (origin: source)".
void print_leaves(std::ostream& out, const Json& json, const std::string& pointer) {
  if (json.is_object()) {
    const Json* value = json.find("value");
    if (value != nullptr && json.find("origin") != nullptr) {
      const std::size_t slash = pointer.rfind('/');
      const std::string key = pointer.substr(slash + 1);
      std::string unit;
      for (const char* suffix : {"bytes_per_s", "flops_per_s", "bytes", "fraction", "s", "w"}) {
        if (unit.empty() && key.ends_with(std::string("_") + suffix)) {
          unit = suffix;
        }
      }
      out << "  " << padded(pointer, 52) << padded(quantity_text(value->as_number(), unit), 15)
          << json.find("origin")->as_text() << ": "
          << (json.find("source") != nullptr ? json.find("source")->as_text() : "") << "\n";
      return;
    }
    for (const auto& [key, member] : json.members()) {
      print_leaves(out, member, pointer + "/" + pointer_token(key));
    }
  } else if (json.is_array()) {
    for (std::size_t i = 0; i < json.items().size(); ++i) {
      print_leaves(out, json.items()[i], pointer + "/" + std::to_string(i));
    }
  } else {
    out << "  " << padded(pointer, 52) << (json.is_text() ? json.as_text() : json.dump(-1)) << "\n";
  }
}

void show_counts(std::ostream& out, const ModelCard& card) {
  const ParameterCount count = count_parameters(card);
  out << "parameters: " << billions(count.total) << " total, "
      << billions(count.active_with_both_embeddings) << " active with both embeddings, "
      << billions(count.active_without_input_embedding) << " without the input embedding\n";
  for (const CountCheck& check : check_published_counts(card)) {
    out << "published " << check.what << ": " << billions(check.published) << ", computed "
        << billions(check.computed) << " (" << (check.agrees() ? "agrees" : "differs") << ")\n";
  }
  out << "KV cache: " << plain_number_text(kv_bytes_per_token(card, 2.0).value(), 6)
      << " bytes a token in bf16\n\n";
}

bool contains(const std::vector<std::string>& ids, const std::string& id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

void show_card(std::ostream& out, const CardLibrary& cards, const ShowArguments& arguments) {
  std::vector<std::string> known;
  for (const CardKind kind :
       {CardKind::model, CardKind::device, CardKind::cluster, CardKind::scenario}) {
    const std::vector<std::string> ids = cards.ids(kind);
    known.insert(known.end(), ids.begin(), ids.end());
    if (!contains(ids, arguments.what)) {
      continue;
    }
    const Json json = load_json(cards.path(kind, arguments.what));
    if (arguments.format == "json") {
      out << json.dump() << "\n";
      return;
    }
    out << arguments.what << " (" << choice_name(kind) << ")\n";
    if (kind == CardKind::model) {
      show_counts(out, load_model_card(cards.path(kind, arguments.what)));
    }
    print_leaves(out, json, "");
    if (kind == CardKind::device) {
      for (const CurveFile& file : *cards.curve_files()) {
        if (file.device == arguments.what) {
          write_curve_set(out, CurveSet::load(file.path));
        }
      }
    }
    return;
  }
  const std::string nearest = nearest_word(arguments.what, known);
  throw InputError("command line", "", "nothing is called \"" + arguments.what + "\"",
                   nearest.empty() ? "try: moesim show models, profiles or scenarios"
                                   : "did you mean \"" + nearest + "\"?");
}

void show_list_json(std::ostream& out, const CardLibrary& cards,
                    const std::vector<CardKind>& kinds) {
  Json list = Json::array();
  for (const CardKind kind : kinds) {
    for (const std::string& id : cards.ids(kind)) {
      Json entry = Json::object();
      entry.set("id", id);
      entry.set("kind", choice_name(kind));
      entry.set("hash", std::to_string(cards.hash(kind, id)));
      list.push_back(std::move(entry));
    }
  }
  out << list.dump() << "\n";
}

}  // namespace

CommandBody define_show(CLI::App& app, const CommandContext& context) {
  auto arguments = std::make_shared<ShowArguments>();
  app.add_option("what", arguments->what, "models, profiles, scenarios, or the id of one");
  app.add_option("--schema", arguments->schema,
                 "print the JSON Schema of a file format: model_card, scenario, plan_request ...");
  app.add_option("--format", arguments->format, "text or json")
      ->check(CLI::IsMember({"text", "json"}));
  return [arguments, &out = context.out, root = context.root] {
    if (!arguments->schema.empty()) {
      std::vector<FileFormat> formats = file_formats();
      formats.push_back(plan_request_format());
      out << json_schema_text(arguments->schema, formats);
      return 0;
    }
    if (arguments->what.empty()) {
      throw InputError("command line", "", "nothing to show is named",
                       "try: moesim show models, profiles or scenarios, or --schema KIND");
    }
    const CardLibrary cards = CardLibrary::open(root);
    const bool as_json = arguments->format == "json";
    if (arguments->what == "models") {
      as_json ? show_list_json(out, cards, {CardKind::model}) : list_models(out, cards);
    } else if (arguments->what == "profiles") {
      as_json ? show_list_json(out, cards, {CardKind::device, CardKind::cluster})
              : list_profiles(out, cards);
    } else if (arguments->what == "scenarios") {
      as_json ? show_list_json(out, cards, {CardKind::scenario}) : list_scenarios(out, cards);
    } else {
      show_card(out, cards, *arguments);
    }
    return 0;
  };
}

}  // namespace moesim
