// SPDX-License-Identifier: Apache-2.0
#include "sim/serving/step_timeline.h"

namespace moesim {
namespace {

// A run of a month in windows of five minutes has 8,640; more than this is the last one again.
constexpr std::size_t kMostEpochs = 10000;

}  // namespace

StepTimeline::StepTimeline(const Scenario& scenario, const EngineRules& rules,
                           const StepTimes* like)
    : scenario_(scenario), rules_(rules), like_(like) {}

std::size_t StepTimeline::epoch_at(double now) const {
  if (epoch_s_ <= 0) {
    return 0;
  }
  return std::min(kMostEpochs, static_cast<std::size_t>(now / epoch_s_ * (1 + 1e-12)));
}

double StepTimeline::end_of(std::size_t epoch) const {
  return epoch_s_ <= 0 || epoch >= kMostEpochs ? std::numeric_limits<double>::infinity()
                                               : static_cast<double>(epoch + 1) * epoch_s_;
}

StepTimeline::Epoch& StepTimeline::epoch(std::size_t index) {
  if (epochs_.size() <= index) {
    epochs_.resize(index + 1);
  }
  if (epochs_[index] == nullptr) {
    auto made = std::make_unique<Epoch>();
    made->scenario = scenario_;
    made->times = std::make_unique<StepTimes>(made->scenario, rules_, index == 0 ? like_ : nullptr);
    epochs_[index] = std::move(made);
  }
  return *epochs_[index];
}

StepTimes& StepTimeline::times(std::size_t index) { return *epoch(index).times; }

double StepTimeline::stall_s(std::size_t index) { return epoch(index).stall_s; }

std::vector<double> StepTimeline::imbalances(double tokens) const {
  std::vector<double> result;
  for (const std::unique_ptr<Epoch>& epoch : epochs_) {
    if (epoch == nullptr) {
      continue;
    }
    const StepCostModel& model = epoch->times->decode_model();
    const std::int64_t layers =
        model.loads().layers_are_alike() ? 1 : model.step_template().num_moe_layers;
    double sum = 0;
    for (std::int64_t layer = 0; layer < layers; ++layer) {
      sum += model.loads().profile(layer, tokens).rank_max_over_mean();
    }
    result.push_back(layers > 0 ? sum / static_cast<double>(layers) : 1.0);
  }
  return result;
}

std::int64_t StepTimeline::evaluations() const {
  std::int64_t count = 0;
  for (const std::unique_ptr<Epoch>& epoch : epochs_) {
    count += epoch != nullptr ? epoch->times->evaluations() : 0;
  }
  return count;
}

}  // namespace moesim
