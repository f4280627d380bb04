// SPDX-License-Identifier: Apache-2.0
// From a scenario's keys to a valid question: cards loaded, edits applied, parallel ways filled in
// and checked.
#include "sim/input/scenario.h"

#include <algorithm>
#include <cmath>

#include "sim/base/text_hash.h"
#include "sim/input/curve_files.h"
#include "sim/input/scenario_experts.h"

namespace moesim {
namespace {

std::string number(std::int64_t value) { return std::to_string(value); }

bool has_edits(const ModelEdits& edits) {
  return edits.experts || edits.top_k || edits.expert_width || edits.shared_experts ||
         edits.layers_fraction || edits.dense ||
         edits.pruned_experts + edits.merged_experts + edits.added_experts > 0;
}

/// One feed-forward with the parameters that a token uses, or with those of all experts.
void make_dense(ModelCard& model, DenseEdit equal) {
  for (LayerClass& layer : model.layers) {
    FfnSpec& ffn = layer.ffn;
    if (ffn.kind != FfnKind::moe) {
      continue;
    }
    double all = static_cast<double>(ffn.experts * ffn.width);
    if (!ffn.expert_sizes.empty()) {
      all = 0;
      for (const ExpertSize& size : ffn.expert_sizes) {
        all += static_cast<double>(size.count * size.width);
      }
    }
    const double routed = equal == DenseEdit::total ? all
                                                    : all / static_cast<double>(ffn.experts) *
                                                          static_cast<double>(ffn.top_k);
    const double narrow =
        ffn.expert_dim > 0 ? static_cast<double>(ffn.expert_dim) / static_cast<double>(model.hidden)
                           : 1.0;
    FfnSpec dense;
    dense.width = static_cast<std::int64_t>(std::floor(routed * narrow + 0.5)) +
                  ffn.shared_experts * ffn.shared_width + ffn.residual_width;
    dense.gated = ffn.gated;
    dense.has_bias = ffn.has_bias;
    ffn = dense;
  }
  model.weights.dense_ffn = model.weights.routed_experts;
}

void apply_edits(ModelCard& model, const ModelEdits& edits, const std::string& file,
                 Diagnostics& diagnostics) {
  const bool reshapes = edits.pruned_experts + edits.merged_experts + edits.added_experts > 0;
  const bool edits_experts = edits.experts || edits.top_k || edits.expert_width ||
                             edits.shared_experts || edits.dense || reshapes;
  if (edits_experts && expert_layers(model) == nullptr) {
    diagnostics.add(file, "/model_edits", "\"" + model.id + "\" is a dense model",
                    "edit experts of a model that has some");
    return;
  }
  for (LayerClass& layer : model.layers) {
    if (edits.layers_fraction) {
      layer.count = std::max<std::int64_t>(
          1, static_cast<std::int64_t>(
                 std::floor(static_cast<double>(layer.count) * *edits.layers_fraction + 0.5)));
    }
    FfnSpec& ffn = layer.ffn;
    if (ffn.kind != FfnKind::moe) {
      continue;
    }
    if (edits.experts || reshapes) {
      const std::int64_t before = edits.experts.value_or(ffn.experts);
      if (reshapes && (edits.pruned_experts + 2 * edits.merged_experts > before ||
                       edits.added_experts > before)) {
        diagnostics.add(file, "/model_edits/pruned_experts",
                        "pruning " + number(edits.pruned_experts) + ", merging " +
                            number(edits.merged_experts) + " pairs and adding " +
                            number(edits.added_experts) + " do not fit " + number(before) +
                            " experts",
                        "each edited expert once");
        return;
      }
      ffn.experts = before - edits.pruned_experts - edits.merged_experts + edits.added_experts;
      ffn.expert_sizes.clear();
      if (ffn.experts % ffn.router.groups !=
          0) {  // a what-if on the number of experts drops groups that no longer fit
        ffn.router.groups = 1;
        ffn.router.groups_chosen = 1;
      }
    }
    ffn.top_k = edits.top_k.value_or(ffn.top_k);
    if (edits.expert_width) {
      ffn.width = *edits.expert_width;
      ffn.expert_sizes.clear();
    }
    if (edits.shared_experts) {
      ffn.shared_experts = *edits.shared_experts;
      ffn.shared_width = ffn.shared_width > 0 ? ffn.shared_width : ffn.width;
    }
  }
  if (edits.dense) {
    make_dense(model, *edits.dense);
  }
  if (edits.layers_fraction) {
    model.order.clear();
  }
  if (edits_experts || edits.layers_fraction) {
    complete_and_check(model, file, diagnostics, "/model_edits");
  }
}

/// The cluster as a job sees it that was given `gpus` of each node: they keep their own network
/// cards, and the scale-up domain holds so many fewer.
std::shared_ptr<const ClusterProfile> part_of_nodes(const ClusterProfile& whole,
                                                    std::int64_t gpus) {
  auto part = std::make_shared<ClusterProfile>(whole);
  for (NodeGroup& group : part->node_groups) {
    const std::int64_t all = group.gpus_per_node;
    group.gpus_per_node = gpus;
    group.scale_up.domain_gpus = std::max<std::int64_t>(1, group.scale_up.domain_gpus * gpus / all);
    if (group.nics.per_node > 0) {
      group.nics.per_node = std::max<std::int64_t>(1, group.nics.per_node * gpus / all);
    }
  }
  return part;
}

/// Fills in the ways that the file leaves open and reports those that do not fit the GPUs.
ParallelWays resolve_ways(const ScenarioSpec& spec, const ModelCard& model, std::int64_t gpus,
                          const std::string& file, Diagnostics& diagnostics) {
  const ParallelismSpec& asked = spec.parallelism;
  const bool has_experts = expert_layers(model) != nullptr;
  ParallelWays ways;
  ways.gpus = gpus;
  ways.tensor = asked.tensor;
  ways.pipeline = asked.pipeline;
  ways.expert_tensor = asked.expert_tensor;
  if (gpus % (ways.tensor * ways.pipeline) != 0) {
    diagnostics.add(file, "/parallelism/tensor",
                    number(ways.tensor) + " does not divide " + number(gpus) + " GPUs",
                    divisors_text(gpus, gpus));
    return ways;
  }
  ways.data = asked.data.value_or(gpus / (ways.tensor * ways.pipeline));
  if (ways.data * ways.tensor * ways.pipeline != gpus) {
    diagnostics.add(
        file, "/parallelism/data",
        number(ways.data) + " x tensor " + number(ways.tensor) + " x pipeline " +
            number(ways.pipeline) + " is not the " + number(gpus) + " GPUs of the cluster",
        "allowed: " + number(gpus / (ways.tensor * ways.pipeline)) + ", or leave the key out");
  }
  if (!has_experts) {
    ways.expert = 1;
    ways.expert_tensor = 1;
    if (asked.expert.value_or(1) != 1 || asked.expert_tensor != 1) {
      diagnostics.add(file, "/parallelism/expert", "\"" + model.id + "\" is a dense model",
                      "leave expert and expert_tensor out");
    }
    return ways;
  }
  if (gpus % (ways.expert_tensor * ways.pipeline) != 0) {
    diagnostics.add(file, "/parallelism/expert_tensor",
                    number(ways.expert_tensor) + " does not divide " + number(gpus) + " GPUs",
                    divisors_text(gpus, gpus));
    return ways;
  }
  ways.expert = asked.expert.value_or(gpus / (ways.expert_tensor * ways.pipeline));
  if (ways.expert * ways.expert_tensor * ways.pipeline != gpus) {
    diagnostics.add(file, "/parallelism/expert",
                    number(ways.expert) + " x expert_tensor " + number(ways.expert_tensor) +
                        " is not the " + number(gpus) + " GPUs of the cluster",
                    "allowed: " + number(gpus / (ways.expert_tensor * ways.pipeline)) +
                        ", or leave the key out");
  }
  return ways;
}

/// Batch and lengths of a step.
void check_step(const WorkloadSpec& workload, const ModelCard& model, const std::string& file,
                Diagnostics& diagnostics) {
  const double longest = workload.phase == Phase::decode
                             ? workload.context_tokens
                             : workload.prompt_tokens + workload.cached_prompt_tokens;
  if (model.max_context > 0 && longest > static_cast<double>(model.max_context)) {
    diagnostics.add(
        file,
        workload.phase == Phase::decode ? "/workload/context_tokens" : "/workload/prompt_tokens",
        number_text(longest) + " tokens are longer than the model's context",
        "allowed: at most " + number(model.max_context));
  }
  if (workload.phase == Phase::mixed && workload.prefills_per_gpu <= 0) {
    diagnostics.add(file, "/workload/prefills_per_gpu", "a mixed step needs prompts",
                    "allowed: a number > 0");
  }
}

void check_model(const ScenarioSpec& spec, const ModelCard& model, const ParallelWays& ways,
                 const std::string& file, Diagnostics& diagnostics) {
  if (!model.encoder_layers.empty()) {
    diagnostics.add(
        file, "/model", "\"" + model.id + "\" has an encoder and a decoder",
        "this version counts its parameters but simulates steps of decoder-only models");
  }
  for (const LayerClass& layer : model.layers) {
    if (layer.attention.heads > 0 && layer.attention.heads % ways.tensor != 0) {
      diagnostics.add(file, "/parallelism/tensor",
                      number(ways.tensor) + " does not divide the " +
                          number(layer.attention.heads) + " heads of layers \"" + layer.name + "\"",
                      divisors_text(layer.attention.heads, ways.gpus));
      break;
    }
  }
  if (spec.capacity.overflow == Overflow::drop && !spec.capacity.factor) {
    diagnostics.add(file, "/capacity/factor", "is missing",
                    "dropping needs a capacity factor, for example 1.25");
  }
  check_fault_times(spec, file, diagnostics);
  if (spec.workload.kind == WorkloadKind::serving) {
    check_serving(spec, model, file, diagnostics);
    return;
  }
  check_step(spec.workload, model, file, diagnostics);
}

/// The ways of one prefill instance, by the rules of the scenario's own.
ParallelWays resolve_prefill_pool(const ScenarioSpec& spec, const ModelCard& model,
                                  const ClusterProfile& cluster, std::int64_t gpus_per_node,
                                  const std::string& file, Diagnostics& diagnostics) {
  const PrefillPoolSpec& pool = spec.serving.prefill_pool;
  ScenarioSpec prefill = spec;
  prefill.parallelism = {.tensor = pool.tensor,
                         .data = pool.data,
                         .expert = pool.expert,
                         .expert_tensor = pool.expert_tensor,
                         .pipeline = 1};
  Diagnostics found;
  const ParallelWays ways = resolve_ways(prefill, model, pool.nodes * gpus_per_node, file, found);
  if (found.empty()) {
    check_experts(prefill, model, ways, cluster, file, found);
    check_model(prefill, model, ways, file, found);
  }
  for (Diagnostic diagnostic : found.list()) {
    const std::string own = "/parallelism";
    if (diagnostic.pointer.starts_with(own)) {
      diagnostic.pointer = "/serving/prefill_pool" + diagnostic.pointer.substr(own.size());
    }
    diagnostics.add(std::move(diagnostic));
  }
  return ways;
}

}  // namespace

ScenarioSpec load_scenario_spec(const std::string& path, const CardLibrary* cards) {
  const Json whole = load_json(path);
  const Json* schema_of_file = whole.find("schema");
  const bool is_result = schema_of_file != nullptr && schema_of_file->is_text() &&
                         schema_of_file->as_text().starts_with("moesim/result/") &&
                         whole.find("scenario") != nullptr;
  const Json& json = is_result ? *whole.find("scenario") : whole;
  const std::string file = path == "-" ? "standard input" : path;
  Diagnostics diagnostics;
  ScenarioSpec spec = read_object<ScenarioSpec>(json, file, diagnostics);
  if (const Json* schema = json.find("schema");
      schema != nullptr && spec.schema != "moesim/scenario/1") {
    diagnostics.add(
        file, "/schema",
        "\"" + spec.schema.substr(0, 80) + "\" is not a scenario that this version reads",
        "allowed: moesim/scenario/1");
  }
  if (!diagnostics.empty() && cards != nullptr) {
    const auto check_id = [&](CardKind kind, const std::string& id, const std::string& pointer) {
      try {
        if (!id.empty()) {
          cards->path(kind, id, file, pointer);
        }
      } catch (const InputError& error) {
        for (const Diagnostic& diagnostic : error.diagnostics()) {
          diagnostics.add(diagnostic);
        }
      }
    };
    check_id(CardKind::model, spec.model, "/model");
    check_id(CardKind::cluster, spec.cluster, "/cluster");
  }
  diagnostics.throw_if_any();
  return spec;
}

namespace {

/// Background traffic must have links to run on.
void check_background(const ScenarioSpec& spec, const ClusterProfile& cluster,
                      const std::string& file, Diagnostics& diagnostics) {
  const NodeGroup& node = cluster.node_groups.front();
  for (std::size_t i = 0; i < spec.background.size(); ++i) {
    const BackgroundSpec& traffic = spec.background[i];
    const std::string at = "/background/" + std::to_string(i);
    const bool is_stream = traffic.kind == BackgroundKind::stream;
    const bool is_ring = traffic.kind == BackgroundKind::gradient_sync ||
                         traffic.kind == BackgroundKind::expert_swap;
    const bool is_host =
        traffic.kind == BackgroundKind::host_to_gpu || traffic.kind == BackgroundKind::gpu_to_host;
    for (const auto& [text, key] : {std::pair{&traffic.from, "/from"}, {&traffic.to, "/to"}}) {
      if (text->empty() == is_stream) {
        diagnostics.add(file, at + key,
                        is_stream ? "a stream has two ends" : "only a stream names its ends",
                        is_stream ? "name an endpoint of the topology, such as \"node0/gpu0\""
                                  : "leave the key out, or set kind to stream");
      }
    }
    if (is_ring && spec.nodes < 2) {
      diagnostics.add(file, at + "/kind",
                      choice_name(traffic.kind) + std::string(" goes from node to node"),
                      "set /nodes to 2 or more");
    } else if (!is_stream && !is_host && node.nics.per_node == 0) {
      diagnostics.add(file, at + "/kind", "the nodes of \"" + cluster.id + "\" have no network",
                      "allowed: host_to_gpu, gpu_to_host, stream");
    }
  }
}

}  // namespace

Scenario resolve(const ScenarioSpec& spec, const CardLibrary& cards, const std::string& file) {
  Diagnostics diagnostics;
  Scenario scenario;
  scenario.spec = spec;
  scenario.file = file;
  const auto collect = [&diagnostics](const auto& load) {
    try {
      load();
    } catch (const InputError& error) {
      for (const Diagnostic& diagnostic : error.diagnostics()) {
        diagnostics.add(diagnostic);
      }
    }
  };
  collect([&] {
    scenario.model = cards.shared_model(spec.model, file, "/model");
    if (has_edits(spec.model_edits)) {
      ModelCard edited = *scenario.model;
      apply_edits(edited, spec.model_edits, file, diagnostics);
      scenario.model = std::make_shared<const ModelCard>(std::move(edited));
    }
    scenario.card_hashes.emplace_back(spec.model,
                                      hash_text(cards.hash(CardKind::model, spec.model)));
  });
  collect([&] {
    scenario.cluster = cards.shared_cluster(spec.cluster, file, "/cluster");
    scenario.device =
        cards.shared_device(scenario.cluster->node_groups.front().device, file, "/cluster");
    scenario.card_hashes.emplace_back(spec.cluster,
                                      hash_text(cards.hash(CardKind::cluster, spec.cluster)));
    scenario.card_hashes.emplace_back(
        scenario.device->id,
        hash_text(cards.hash(CardKind::device, scenario.cluster->node_groups.front().device)));
  });
  collect([&] {
    if (scenario.device != nullptr) {
      scenario.curves = curve_files_for(*scenario.device, spec.software, cards, file);
    }
  });
  if (scenario.cluster != nullptr) {
    const NodeGroup& group = scenario.cluster->node_groups.front();
    if (scenario.cluster->node_groups.size() > 1) {
      diagnostics.add(file, "/cluster", "\"" + scenario.cluster->id + "\" mixes kinds of nodes",
                      "this version simulates steps on clusters of equal nodes");
    }
    if (group.nodes && spec.nodes > *group.nodes) {
      diagnostics.add(file, "/nodes", number(spec.nodes) + " is more than the cluster has",
                      "allowed: at most " + number(*group.nodes));
    } else if (!group.nodes && spec.nodes > 1 && group.nics.per_node == 0) {
      diagnostics.add(file, "/nodes",
                      "the nodes of \"" + scenario.cluster->id + "\" have no network",
                      "allowed: 1");
    }
    const std::int64_t gpus_per_node = spec.gpus_per_node.value_or(group.gpus_per_node);
    if (gpus_per_node > group.gpus_per_node) {
      diagnostics.add(
          file, "/gpus_per_node",
          number(gpus_per_node) + " is more than a node of \"" + scenario.cluster->id + "\" has",
          "allowed: at most " + number(group.gpus_per_node));
    } else if (scenario.model != nullptr) {
      if (gpus_per_node < group.gpus_per_node) {
        scenario.cluster = part_of_nodes(*scenario.cluster, gpus_per_node);
      }
      const ModelCard& model = *scenario.model;
      scenario.ways = resolve_ways(spec, model, spec.nodes * gpus_per_node, file, diagnostics);
      if (diagnostics.empty()) {
        check_experts(spec, model, scenario.ways, *scenario.cluster, file, diagnostics);
        resolve_typical(scenario.spec.routing, model);
        check_model(spec, model, scenario.ways, file, diagnostics);
      }
      if (diagnostics.empty() && spec.workload.kind == WorkloadKind::serving &&
          spec.serving.prefill_pool.instances > 0) {
        scenario.prefill_ways = resolve_prefill_pool(spec, model, *scenario.cluster,
                                                     group.gpus_per_node, file, diagnostics);
      }
    }
  }
  if (scenario.cluster != nullptr) {
    check_background(spec, *scenario.cluster, file, diagnostics);
  }
  diagnostics.throw_if_any();
  return scenario;
}

bool is_batch_key(std::string_view pointer) {
  static constexpr std::string_view kKeys[] = {
      "/workload/batch_per_gpu", "/workload/context_tokens",       "/workload/prompt_tokens",
      "/workload/output_tokens", "/workload/cached_prompt_tokens", "/workload/prefills_per_gpu",
      "/workload/acceptance",    "/runtime/memory_utilisation"};
  return std::find(std::begin(kKeys), std::end(kKeys), pointer) != std::end(kKeys);
}

void check_batch(const Scenario& scenario) {
  Diagnostics diagnostics;
  check_step(scenario.spec.workload, *scenario.model, scenario.file, diagnostics);
  diagnostics.throw_if_any();
}

Scenario load_scenario(const std::string& path, const CardLibrary& cards) {
  return resolve(load_scenario_spec(path, &cards), cards, path == "-" ? "standard input" : path);
}

}  // namespace moesim
