// SPDX-License-Identifier: Apache-2.0
#include "sim/study/advisor.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "sim/base/quantity_text.h"
#include "sim/input/model_card_count.h"
#include "sim/workload/layer_ops.h"

namespace moesim {
namespace {

/// Parameters and bytes of the edited model, through a scenario that only has to resolve.
void count(AdvisorVariant& variant, const ServiceRequest& service, const PlanRequest& request,
           const CardLibrary& cards, const std::string& file) {
  ScenarioSpec spec;
  spec.model = service.model;
  spec.model_edits = service.model_edits;
  spec.cluster = request.hardware.front().cluster;
  spec.gpus_per_node = 1;
  spec.precision = service.precision;
  const Scenario scenario = resolve(spec, cards, file);
  const ModelCard& model = *scenario.model;
  const ParameterCount parameters = count_parameters(model);
  variant.total_parameters = parameters.total;
  variant.active_parameters = parameters.active_with_both_embeddings;
  const ParameterKinds& kinds = parameters.kinds;
  variant.weight_bytes =
      kinds.attention * bytes_per_element(weight_format(scenario, TensorClass::attention)) +
      kinds.routed_experts * expert_bytes_per_element(scenario) +
      kinds.shared_experts *
          bytes_per_element(weight_format(scenario, TensorClass::shared_experts)) +
      kinds.dense_ffn * bytes_per_element(weight_format(scenario, TensorClass::dense_ffn)) +
      (kinds.norms + kinds.router) * bytes_per_element(NumberFormat::bf16) +
      (parameters.input_embedding + parameters.output_embedding) *
          bytes_per_element(weight_format(scenario, TensorClass::embeddings));
}

std::string ratio_text(double ratio) {
  return ratio >= 1 ? plain_number_text(ratio, 3) + " times"
                    : plain_number_text(ratio * 100, 2) + "% of";
}

std::string usd(double value) { return "$" + plain_number_text(value, 3); }

void add_verdict(Advice& advice) {
  const AdvisorVariant& moe = advice.variants[0];
  for (std::size_t i = 1; i < advice.variants.size(); ++i) {
    const AdvisorVariant& dense = advice.variants[i];
    const std::string against = "against " + dense.name + " (" +
                                plain_number_text(dense.total_parameters / 1e9, 3) + "B): ";
    if (!moe.cheapest && !dense.cheapest) {
      advice.verdict.push_back(against + "neither meets the limits on this hardware");
    } else if (!dense.cheapest) {
      advice.verdict.push_back(against + "only the MoE model meets the limits, at " +
                               usd(moe.usd_per_million_tokens) + " per million output tokens");
    } else if (!moe.cheapest) {
      advice.verdict.push_back(against + "only the dense model meets the limits, at " +
                               usd(dense.usd_per_million_tokens) + " per million output tokens");
    } else {
      const double cost = moe.usd_per_million_tokens / dense.usd_per_million_tokens;
      // Half widths of the two bands in ln cost; apart when they do not reach each other.
      const auto half = [](const PlanOption& option) {
        return std::isfinite(option.usd_high) ? 0.5 * std::log(option.usd_high / option.usd_low)
                                              : std::numeric_limits<double>::infinity();
      };
      const bool apart =
          std::fabs(std::log(cost)) > std::hypot(half(*moe.cheapest), half(*dense.cheapest));
      advice.verdict.push_back(against +
                               (apart ? (cost < 1 ? "MoE" : "dense") + std::string(" is cheaper")
                                      : std::string("the costs cannot be told apart")) +
                               ": the MoE model costs " + ratio_text(cost) + " the dense one (" +
                               usd(moe.usd_per_million_tokens) + " and " +
                               usd(dense.usd_per_million_tokens) +
                               " per million output tokens), holds " +
                               ratio_text(moe.weight_bytes / dense.weight_bytes) +
                               " its weight bytes, and its best "
                               "time per token is " +
                               ratio_text(moe.least_tpot_s / dense.least_tpot_s) +
                               " the dense "
                               "one's (" +
                               quantity_text(Seconds(moe.least_tpot_s)) + " and " +
                               quantity_text(Seconds(dense.least_tpot_s)) + ")");
    }
  }
  advice.verdict.push_back(
      "which of them answers better is not simulated: the MoE model lies between the dense one of "
      "equal active and that of equal total parameters");
}

}  // namespace

Advice advise(const ServiceRequest& service, const PlanRequest& request, const CardLibrary& cards,
              const std::string& file) {
  Advice advice;
  advice.service = service;
  advice.variants.resize(3);
  advice.variants[0].name = "MoE";
  advice.variants[1].name = "dense of equal active parameters";
  advice.variants[1].dense = DenseEdit::active;
  advice.variants[2].name = "dense of equal total parameters";
  advice.variants[2].dense = DenseEdit::total;
  for (AdvisorVariant& variant : advice.variants) {
    ServiceRequest asked = service;
    asked.model_edits.dense = variant.dense;
    if (variant.dense) {
      asked.routing = {};
      asked.precision.experts.reset();
      asked.precision.weights =
          service.precision.experts ? service.precision.experts : service.precision.weights;
    }
    count(variant, asked, request, cards, file);
    PlanOptions options;
    options.confirm = false;
    const ServicePlan plan = plan_service(asked, request, cards, file, options);
    if (!plan.options.empty()) {
      variant.cheapest = plan.options.front();
      variant.usd_per_million_tokens = plan.options.front().usd_per_hour / 3600.0 /
                                       (service.load.requests_per_s * service.load.output_tokens) *
                                       1e6;
    }
    variant.least_tpot_s =
        plan.fewest_gpus > 0 ? plan.least_tpot_s : std::numeric_limits<double>::infinity();
    variant.fewest_gpus = plan.fewest_gpus;
  }
  add_verdict(advice);
  return advice;
}

}  // namespace moesim
