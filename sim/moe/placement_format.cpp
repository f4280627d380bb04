// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/placement_format.h"

#include <algorithm>

namespace moesim {
namespace {

// Slots a layer: far above any model (Kimi-K3: 896 experts), far below what a slip of the pen could
// ask for.
constexpr int kMaxSlots = 1 << 16;

Json integers(std::span<const int> values) {
  Json list = Json::array();
  for (const int value : values) {
    list.push_back(value);
  }
  return list;
}

template <class Row>
Json rows(const std::vector<Row>& table, Json (*row_json)(const Row&)) {
  Json list = Json::array();
  for (const Row& row : table) {
    list.push_back(row_json(row));
  }
  return list;
}

Json integer_row(const std::vector<int>& row) { return integers(row); }
Json number_row(const std::vector<double>& row) {
  Json list = Json::array();
  for (const double value : row) {
    list.push_back(value);
  }
  return list;
}

Json sglang_json(const PlacementRequest& request, const Placement& placement,
                 int leading_dense_layers) {
  // Rows of dense layers are never looked at; the trivial placement is what SGLang itself puts
  // there.
  std::vector<int> trivial;
  for (int s = 0; s < request.slots; ++s) {
    trivial.push_back(s % request.experts());
  }
  SlotTable table(static_cast<std::size_t>(leading_dense_layers), trivial);
  table.insert(table.end(), placement.slot_to_expert.begin(), placement.slot_to_expert.end());
  Json json = Json::object();
  json.set("physical_to_logical_map", rows(table, integer_row));
  return json;
}

Json vllm_json(const PlacementRequest& request, const Placement& placement) {
  const auto slots_per_gpu = static_cast<std::size_t>(request.slots_per_gpu());
  Json layers = Json::array();
  for (std::size_t l = 0; l < placement.slot_to_expert.size(); ++l) {
    Json devices = Json::array();
    for (int g = 0; g < request.gpus; ++g) {
      Json device = Json::object();
      device.set("device_id", g);
      device.set("device_expert", integers(std::span(placement.slot_to_expert[l])
                                               .subspan(static_cast<std::size_t>(g) * slots_per_gpu,
                                                        slots_per_gpu)));
      devices.push_back(std::move(device));
    }
    Json layer = Json::object();
    layer.set("layer_id", static_cast<std::int64_t>(l));
    layer.set("device_count", request.gpus);
    layer.set("device_list", std::move(devices));
    layers.push_back(std::move(layer));
  }
  Json json = Json::object();
  json.set("moe_layer_count", static_cast<std::int64_t>(placement.slot_to_expert.size()));
  json.set("layer_list", std::move(layers));
  return json;
}

/// Collects what is wrong while reading slots.
class SlotReader {
 public:
  explicit SlotReader(const std::string& file) : file_(file) {}

  /// Appends the expert ids of `json` to `row`.
  void read_ids(const Json& json, const std::string& pointer, std::vector<int>& row) {
    if (!json.is_array()) {
      diagnostics_.add(file_, pointer, std::string(json.kind_name()), "a list of expert ids");
      return;
    }
    for (std::size_t i = 0; i < json.items().size(); ++i) {
      const Json& id = json.items()[i];
      if (!id.is_integer() || id.as_integer() < 0 || id.as_integer() >= kMaxSlots) {
        diagnostics_.add(file_, pointer + "/" + std::to_string(i), id.dump(-1),
                         "an expert id from 0 to " + std::to_string(kMaxSlots - 1));
        continue;
      }
      row.push_back(static_cast<int>(id.as_integer()));
    }
  }

  SlotTable read_table(const Json& json, const std::string& pointer) {
    SlotTable table;
    if (!json.is_array()) {
      diagnostics_.add(file_, pointer, std::string(json.kind_name()), "[layers][slots]");
      return table;
    }
    for (std::size_t l = 0; l < json.items().size(); ++l) {
      table.emplace_back();
      read_ids(json.items()[l], pointer + "/" + std::to_string(l), table.back());
    }
    return table;
  }

  void read_vllm(const Json& json, PlacementFile& placement) {
    const Json* layers = json.find("layer_list");
    if (layers == nullptr || !layers->is_array()) {
      diagnostics_.add(file_, "/layer_list", "missing or no list", "one object per MoE layer");
      return;
    }
    for (std::size_t l = 0; l < layers->items().size(); ++l) {
      const std::string pointer = "/layer_list/" + std::to_string(l);
      const Json* devices = layers->items()[l].find("device_list");
      if (devices == nullptr || !devices->is_array()) {
        diagnostics_.add(file_, pointer + "/device_list", "missing or no list",
                         "one object per device");
        continue;
      }
      expect_index(layers->items()[l], "layer_id", l, pointer);
      const int count = static_cast<int>(devices->items().size());
      if (l > 0 && count != placement.gpus) {
        diagnostics_.add(file_, pointer + "/device_list", std::to_string(count) + " devices",
                         std::to_string(placement.gpus) + ", as in the first layer");
      }
      placement.gpus = count;
      placement.slot_to_expert.emplace_back();
      for (std::size_t d = 0; d < devices->items().size(); ++d) {
        const std::string at = pointer + "/device_list/" + std::to_string(d);
        const Json& device = devices->items()[d];
        expect_index(device, "device_id", d, at);
        const Json* experts = device.find("device_expert");
        read_ids(experts != nullptr ? *experts : Json(), at + "/device_expert",
                 placement.slot_to_expert.back());
      }
    }
  }

  void finish(const PlacementFile& placement, const std::string& pointer) {
    if (diagnostics_.empty() && placement.slot_to_expert.empty()) {
      diagnostics_.add(file_, pointer, "no layer");
    }
    for (std::size_t l = 0; l < placement.slot_to_expert.size(); ++l) {
      if (placement.slot_to_expert[l].size() != placement.slot_to_expert.front().size()) {
        diagnostics_.add(
            file_, pointer + "/" + std::to_string(l),
            std::to_string(placement.slot_to_expert[l].size()) + " slots",
            std::to_string(placement.slot_to_expert.front().size()) + ", as in the first layer");
      }
    }
    diagnostics_.throw_if_any();
  }

 private:
  void expect_index(const Json& json, const char* key, std::size_t index,
                    const std::string& pointer) {
    const Json* id = json.find(key);
    if (id == nullptr || !id->is_integer() ||
        id->as_integer() != static_cast<std::int64_t>(index)) {
      diagnostics_.add(file_, pointer + "/" + key, id == nullptr ? "missing" : id->dump(-1),
                       std::to_string(index) + " (in order from 0)");
    }
  }

  const std::string& file_;
  Diagnostics diagnostics_;
};

}  // namespace

const Fields<ExpertPair>& fields_of(const ExpertPair*) {
  static const Fields<ExpertPair> table =
      Fields<ExpertPair>("expert_pair", "how often two experts of a layer serve the same token")
          .add("first", &ExpertPair::first, {.doc = "expert", .required = true, .min = 0})
          .add("second", &ExpertPair::second, {.doc = "another expert", .required = true, .min = 0})
          .add("count", &ExpertPair::count,
               {.doc = "tokens served together", .required = true, .min = 0});
  return table;
}

const Fields<PlacementRequest>& fields_of(const PlacementRequest*) {
  using R = PlacementRequest;
  static const Fields<R> table =
      Fields<R>("placement_request", "expert loads and the GPUs to place them on")
          .add("weights", &R::weights,
               {.doc = "load of each expert [layers][experts]", .required = true, .min = 0})
          .add("slots", &R::slots,
               {.doc = "expert slots a layer, over all GPUs",
                .required = true,
                .min = 1,
                .max = kMaxSlots})
          .add("gpus", &R::gpus, {.doc = "GPUs", .required = true, .min = 1, .max = kMaxSlots})
          .add("nodes", &R::nodes, {.doc = "nodes that the GPUs are divided among", .min = 1})
          .add("groups", &R::groups, {.doc = "expert groups of group-limited routing", .min = 1})
          .add("gpu_speed", &R::gpu_speed, {.doc = "relative speed of each GPU; absent: equal"})
          .add("coactivation", &R::coactivation,
               {.doc = "pair counts [layers] for policy coactivation"})
          .add("tokens_per_step", &R::tokens_per_step,
               {.doc = "decode tokens over all GPUs, for policy activated",
                .min = 0,
                .min_exclusive = true})
          .add("top_k", &R::top_k, {.doc = "experts a token takes, for policy activated", .min = 1})
          .add("allow_same_gpu_replicas", &R::allow_same_gpu_replicas,
               {.doc = "two replicas of an expert may share a GPU"});
  return table;
}

PlacementRequest load_placement_request(const std::string& path) {
  const Json json = load_json(path);
  Diagnostics diagnostics;
  PlacementRequest request = read_object<PlacementRequest>(json, path, diagnostics);
  diagnostics.throw_if_any();
  request.check(path, diagnostics);
  diagnostics.throw_if_any();
  return request;
}

std::span<const Choice<PlacementFormat>> choices_of(PlacementFormat) {
  static constexpr Choice<PlacementFormat> kChoices[] = {
      {PlacementFormat::json, "json", "slots, replicas, GPU loads and balancedness"},
      {PlacementFormat::sglang, "sglang", "for SGLang's --init-expert-location"},
      {PlacementFormat::vllm, "vllm", "expert map of vLLM (vllm-ascend's expert_map_path)"},
  };
  return kChoices;
}

Json placement_json(const PlacementRequest& request, const Placement& placement,
                    PlacementFormat format, int leading_dense_layers) {
  switch (format) {
    case PlacementFormat::sglang:
      return sglang_json(request, placement, leading_dense_layers);
    case PlacementFormat::vllm:
      return vllm_json(request, placement);
    case PlacementFormat::json:
      break;
  }
  Json json = Json::object();
  json.set("slot_to_expert", rows(placement.slot_to_expert, integer_row));
  json.set("replicas", rows(placement.replicas, integer_row));
  json.set("gpu_load", rows(placement.gpu_load, number_row));
  json.set("balancedness", number_row(placement.balancedness));
  json.set("gpus", request.gpus);
  return json;
}

PlacementFile read_placement(const Json& json, const std::string& file, int leading_dense_layers) {
  PlacementFile placement;
  SlotReader reader(file);
  if (const Json* slots = json.find("slot_to_expert")) {
    placement.format = PlacementFormat::json;
    placement.slot_to_expert = reader.read_table(*slots, "/slot_to_expert");
    const Json* gpus = json.find("gpus");
    placement.gpus =
        gpus != nullptr && gpus->is_integer() ? static_cast<int>(gpus->as_integer()) : 0;
    reader.finish(placement, "/slot_to_expert");
  } else if (const Json* map = json.find("physical_to_logical_map")) {
    placement.format = PlacementFormat::sglang;
    placement.slot_to_expert = reader.read_table(*map, "/physical_to_logical_map");
    const auto dense =
        std::min(placement.slot_to_expert.size(), static_cast<std::size_t>(leading_dense_layers));
    placement.slot_to_expert.erase(
        placement.slot_to_expert.begin(),
        placement.slot_to_expert.begin() + static_cast<std::ptrdiff_t>(dense));
    reader.finish(placement, "/physical_to_logical_map");
  } else if (json.find("layer_list") != nullptr) {
    placement.format = PlacementFormat::vllm;
    reader.read_vllm(json, placement);
    reader.finish(placement, "/layer_list");
  } else {
    throw InputError(file, "", "no placement in it",
                     "an object with slot_to_expert, physical_to_logical_map or layer_list");
  }
  return placement;
}

}  // namespace moesim
