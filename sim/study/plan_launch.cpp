// SPDX-License-Identifier: Apache-2.0
#include "sim/study/plan_launch.h"

#include <algorithm>
#include <cmath>

#include "sim/cost/step_cost.h"
#include "sim/moe/placement_format.h"
#include "sim/study/plan.h"

namespace moesim {
namespace {

LaunchRole launch_role(PoolRole role) {
  switch (role) {
    case PoolRole::prefill:
      return LaunchRole::prefill;
    case PoolRole::decode:
      return LaunchRole::decode;
    case PoolRole::aggregated:
      break;
  }
  return LaunchRole::whole;
}

/// The pool's limits as an engine's: sequences and tokens of one attention replica.
ScenarioSpec engine_scenario(const PlannedPool& pool, const ServiceRequest& service,
                             LaunchTool tool) {
  ScenarioSpec spec = pool.spec;
  const PoolPoint& point = pool.point;
  const double replica_gpus = static_cast<double>(point.layout.tensor);
  // SGLang counts all attention replicas of a server together, the others each one by itself.
  const double replicas =
      tool == LaunchTool::sglang ? static_cast<double>(point.layout.gpus) / replica_gpus : 1.0;
  const auto whole = [replicas](double value) {
    return std::max<std::int64_t>(1, static_cast<std::int64_t>(std::floor(value * replicas)));
  };
  if (point.role == PoolRole::prefill) {
    spec.serving.max_sequences = whole(point.prompts_per_step);
    spec.serving.max_batched_tokens = whole(point.prompts_per_step * service.load.prompt_tokens);
  } else {
    const double sequences = point.batch_per_gpu * replica_gpus;
    spec.serving.max_sequences = whole(sequences);
    if (point.role == PoolRole::aggregated) {
      spec.serving.max_batched_tokens = whole(point.chunk_tokens + sequences);
      spec.serving.chunked_prefill = true;
    }
  }
  return spec;
}

bool is_recorded(const RoutingConfig& routing) {
  return routing.kind == RoutingModel::counts || routing.kind == RoutingModel::trace;
}

std::int64_t leading_dense_layers(const ModelCard& model) {
  std::int64_t count = 0;
  for (const LayerClass& layer : model.layers) {
    if (layer.ffn.kind == FfnKind::moe) {
      break;
    }
    count += layer.count;
  }
  return count;
}

/// The slots under which the pool's steps were predicted.
void add_placement(PoolLaunch& launch, const Scenario& scenario, const ServiceRequest& service) {
  const StepCostModel model(scenario, routing_of(scenario));
  const StepTemplate& step = model.step_template();
  if (step.num_moe_layers == 0 || step.ways.expert == 1) {
    return;
  }
  PlacementRequest request;
  SlotTable slots;
  for (std::int64_t layer = 0; layer < step.num_moe_layers; ++layer) {
    const LayerLoads& loads = model.loads().layer(model.loads().layers_are_alike() ? 0 : layer);
    const std::span<const double> share = loads.routing().inclusion();
    request.weights.emplace_back(share.begin(), share.end());
    slots.emplace_back(loads.map().slot_expert.begin(), loads.map().slot_expert.end());
  }
  request.slots = static_cast<int>(slots.front().size());
  request.gpus = static_cast<int>(step.ways.expert);
  if (request.slots % request.gpus != 0) {
    launch.placement_note = "experts do not divide evenly over the GPUs: no engine reads that";
    return;
  }
  launch.placement = placement_json(request, evaluate_placement(request, std::move(slots)),
                                    PlacementFormat::sglang,
                                    static_cast<int>(leading_dense_layers(*scenario.model)));
  const bool is_planned = service.placement.policy != PlacementKind::contiguous;
  launch.placement_note =
      !is_planned ? "experts in index order, as engines place them by themselves"
      : is_recorded(service.routing) || !service.placement.planned_on.empty()
          ? "planned on recorded loads: start SGLang with --init-expert-location"
          : "planned on a synthetic law, whose popular experts have made-up ids: record loads "
            "before using it";
  if (!is_planned || !(is_recorded(service.routing) || !service.placement.planned_on.empty())) {
    return;
  }
  for (EngineLaunch& engine : launch.engines) {
    if (engine.tool == LaunchTool::sglang) {
      const std::int64_t redundant = request.slots - step.experts;
      engine.command.command +=
          " --init-expert-location " + choice_name(launch.role) + "_placement.json" +
          (redundant > 0 ? " --ep-num-redundant-experts " + std::to_string(redundant) : "");
    }
  }
}

}  // namespace

std::vector<PoolLaunch> launch_of(const PlanOption& option, const ServiceRequest& service,
                                  const CardLibrary& cards) {
  std::vector<PoolLaunch> pools;
  for (const PlannedPool& pool : option.pools) {
    PoolLaunch launch;
    launch.role = pool.point.role;
    launch.instances = pool.instances;
    const Scenario scenario = resolve(pool.spec, cards, "plan");
    for (const LaunchTool tool : {LaunchTool::vllm, LaunchTool::sglang, LaunchTool::trtllm}) {
      if (tool == LaunchTool::trtllm && scenario.device->vendor != "NVIDIA") {
        continue;  // TensorRT-LLM knows no other GPUs
      }
      launch.engines.push_back(
          {tool, launch_command(resolve(engine_scenario(pool, service, tool), cards, "plan"), tool,
                                launch_role(pool.point.role))});
    }
    add_placement(launch, scenario, service);
    pools.push_back(std::move(launch));
  }
  return pools;
}

std::vector<LaunchFile> launch_files(const PlanOption& option,
                                     const std::vector<PoolLaunch>& launch,
                                     const std::string& prefix) {
  std::vector<LaunchFile> files;
  for (std::size_t p = 0; p < launch.size(); ++p) {
    const PoolLaunch& pool = launch[p];
    const std::string base = prefix + choice_name(pool.role);
    files.push_back({base + ".json", write_object(option.pools[p].spec).dump() + "\n"});
    if (!pool.placement.is_null()) {
      files.push_back({base + "_placement.json", pool.placement.dump(-1) + "\n"});
    }
    for (const EngineLaunch& engine : pool.engines) {
      const std::string name(launch_tool_name(engine.tool));
      std::string script = "#!/bin/sh\n# " + choice_name(pool.role) +
                           " pool, instances to start: " + std::to_string(pool.instances) + "\n";

      for (const std::string& note : engine.command.notes) {
        script += "# " + note + "\n";
      }
      std::string command = engine.command.command;
      for (const auto& [file, text] : engine.command.files) {
        // Both pools may have options of their own, so files take the pool's name.
        const std::string renamed = base + "_" + name + "_" + file;
        for (std::size_t at = command.find(file); at != std::string::npos;
             at = command.find(file, at + renamed.size())) {
          command.replace(at, file.size(), renamed);
        }
        files.push_back({renamed, text});
      }
      script += command + "\n";
      files.push_back({base + "_" + name + ".sh", script});
    }
  }
  return files;
}

}  // namespace moesim
