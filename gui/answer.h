// SPDX-License-Identifier: GPL-3.0-or-later
// What the background hands to the views: immutable values, shared and never changed afterwards.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "sim/engine/timeline.h"
#include "sim/input/scenario.h"
#include "sim/run/explain.h"
#include "sim/run/result.h"
#include "sim/study/deployment_details.h"
#include "sim/study/deployment_picture.h"

namespace moesim::gui {

/// The answer to one state of the scenario. `number` counts states: only the newest is shown.
struct Answer {
  std::uint64_t number = 0;
  std::shared_ptr<const Scenario> scenario;
  SimulationResult result;
  Fidelity fidelity = Fidelity::analytic;
  bool isFinal = false;  ///< what `moesim run` prints: own fidelity, alternatives included
  /// A first impression: MoE layers worked out, each standing for its neighbours; 0: all layers.
  std::int64_t previewLayers = 0;
  double seconds = 0;  ///< that it took
};

/// What views draw beside the figures.
struct Pictures {
  std::uint64_t number = 0;
  ExpertPicture experts;
  DeploymentDetails details;
  std::optional<Explanation> explanation;
  double available_bytes = 0;
  double usd_per_gpu_hour = 0;
  std::int64_t gpus = 0;
  std::string problem;  ///< why there are none
};

/// The pictures that belong to one MoE layer.
struct LayerPictures {
  std::uint64_t number = 0;
  TrafficPicture traffic;
  CachePicture cache;
};

/// A run with events: its spans, or the latencies of its requests.
struct EventRun {
  std::uint64_t number = 0;
  SimulationResult result;
  Timeline timeline;
  LatencySamples latencies;
};

}  // namespace moesim::gui
