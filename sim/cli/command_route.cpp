// SPDX-License-Identifier: Apache-2.0
// moesim route: what a recorded or modelled routing does to batches - skew, active experts, drops.
#include <CLI/CLI.hpp>
#include <charconv>
#include <memory>
#include <ostream>

#include "sim/base/error.h"
#include "sim/base/quantity_text.h"
#include "sim/cli/commands.h"
#include "sim/input/card_library.h"
#include "sim/input/routed_experts.h"
#include "sim/moe/route_study.h"
#include "sim/moe/token_routing_input.h"

namespace moesim {
namespace {

struct RouteArguments {
  std::string trace;
  std::string model;
  std::string routing = "{\"kind\": \"uniform\"}";
  std::vector<std::string> routers;
  std::string capacity_factors = "1,1.25,1.5,2,4";
  std::string format = "text";
  std::int64_t batch = 1024;
  std::int64_t batches = 200;
  std::uint64_t seed = 1;
};

/// JSON given in the command line itself or as the name of a file.
Json inline_or_file(const std::string& text, const std::string& option) {
  const std::size_t first = text.find_first_not_of(" \t\n");
  return first != std::string::npos && text[first] == '{' ? parse_json(text, option)
                                                          : load_json(text);
}

std::vector<double> factors_of(const std::string& text) {
  std::vector<double> factors;
  std::size_t at = 0;
  while (at <= text.size()) {
    const std::size_t comma = std::min(text.size(), text.find(',', at));
    double value = 0.0;
    const auto [end, error] = std::from_chars(text.data() + at, text.data() + comma, value);
    if (error != std::errc() || end != text.data() + comma || !(value > 0.0 && value <= 1e6)) {
      throw InputError("--capacity-factor", "", "\"" + text + "\" is no list of factors",
                       "allowed: numbers above 0, as in 1,1.25,2");
    }
    factors.push_back(value);
    at = comma + 1;
  }
  return factors;
}

Json to_json(const BatchMean& mean) {
  return Json(Json::Object{{"mean", mean.mean}, {"standard_error", mean.standard_error}});
}

Json to_json(const RouteStudy& study, const std::string& source) {
  Json json = Json::object();
  json.set("schema", "moesim/route/1");
  json.set("source", source);
  json.set("experts", static_cast<std::int64_t>(study.experts));
  json.set("top_k", static_cast<std::int64_t>(study.top_k));
  if (study.recorded_tokens > 0) {
    json.set("recorded_tokens", study.recorded_tokens);
  }
  json.set("batch_tokens", study.batch_tokens);
  json.set("batches", study.batches);
  json.set("max_over_mean", to_json(study.max_over_mean));
  json.set("active_experts", to_json(study.active_experts));
  json.set("experts_per_token", to_json(study.experts_per_token));
  Json drops = Json::array();
  for (const RouteStudy::Drop& drop : study.drops) {
    drops.push_back(Json(Json::Object{{"capacity_factor", drop.capacity_factor},
                                      {"capacity", drop.capacity},
                                      {"dropped_fraction", drop.dropped_fraction.mean},
                                      {"standard_error", drop.dropped_fraction.standard_error},
                                      {"batches", drop.batches}}));
  }
  json.set("drops", std::move(drops));
  Json layers = Json::array();
  for (const RouteStudy::Layer& layer : study.layers) {
    Json row(Json::Object{{"layer", static_cast<std::int64_t>(layer.layer)},
                          {"max_over_mean", layer.loads.max_over_mean},
                          {"min_over_mean", layer.loads.min_over_mean},
                          {"cv", layer.loads.cv},
                          {"gini", layer.loads.gini},
                          {"norm_entropy", layer.loads.norm_entropy},
                          {"batch_max_over_mean", to_json(layer.max_over_mean)},
                          {"batch_active_experts", to_json(layer.active_experts)}});
    if (layer.overlap_previous >= 0.0) {
      row.set("overlap_lag1", layer.overlap_previous);
    }
    layers.push_back(std::move(row));
  }
  json.set("layers", std::move(layers));
  return json;
}

std::string padded(std::string text, std::size_t width) {
  text.resize(std::max(text.size(), width), ' ');
  return text;
}

std::string with_error(const BatchMean& mean) {
  return plain_number_text(mean.mean, 4) + " +- " + plain_number_text(mean.standard_error, 2);
}

void print_text(std::ostream& out, const RouteStudy& study, const std::string& source) {
  out << source << ": top " << study.top_k << " of " << study.experts << " experts, "
      << study.layers.size() << " layers";
  if (study.recorded_tokens > 0) {
    out << ", " << study.recorded_tokens << " recorded tokens";
  }
  out << "\n\nbatches of " << study.batch_tokens << " tokens (" << study.batches
      << " at random; mean over layers)\n"
      << "  hottest expert / mean    " << with_error(study.max_over_mean) << "   (at most "
      << plain_number_text(static_cast<double>(study.experts) / study.top_k, 4) << ")\n"
      << "  active experts           " << with_error(study.active_experts) << " of "
      << study.experts << "\n\n"
      << padded("  capacity factor", 19) << padded("rows an expert", 17) << "selections dropped\n";
  for (const RouteStudy::Drop& drop : study.drops) {
    out << padded("  " + plain_number_text(drop.capacity_factor, 4), 19)
        << padded(std::to_string(drop.capacity), 17)
        << plain_number_text(100.0 * drop.dropped_fraction.mean, 4) << "% +- "
        << plain_number_text(100.0 * drop.dropped_fraction.standard_error, 2) << "\n";
  }
  const auto hotter = [](const RouteStudy::Layer& a, const RouteStudy::Layer& b) {
    return a.loads.max_over_mean < b.loads.max_over_mean;
  };
  const auto [low, high] = std::minmax_element(study.layers.begin(), study.layers.end(), hotter);
  out << "\nmost even layer " << low->layer << " (max/mean "
      << plain_number_text(low->loads.max_over_mean, 3) << "), most skewed layer " << high->layer
      << " (" << plain_number_text(high->loads.max_over_mean, 3)
      << "). --format json lists every layer.\n";
}

Json to_json(const PairedDifference& difference) {
  return Json(
      Json::Object{{"mean", difference.mean}, {"low", difference.low}, {"high", difference.high}});
}

/// Routers on equal scores, batch by batch against the first.
void compare(std::ostream& out, const RouteArguments& arguments, const RoutingSpec& spec,
             std::int32_t layers, const RouteStudyOptions& options,
             const std::vector<RouterOptions>& names,
             const std::vector<std::unique_ptr<Router>>& routers) {
  std::vector<RouteStudy> studies;
  Json list = Json::array();
  for (std::size_t r = 0; r < routers.size(); ++r) {
    studies.push_back(study_routing(spec, layers, options, routers[r].get()));
    const RouteStudy& study = studies.back();
    Json row = to_json(study, names[r].name);
    row.set("max_over_mean_difference",
            to_json(paired_difference(studies[0].batch_max_over_mean, study.batch_max_over_mean)));
    for (std::size_t f = 0; f < study.drops.size(); ++f) {
      row.find("drops")->items()[f].set(
          "difference", to_json(paired_difference(studies[0].drops[f].batch_fractions,
                                                  study.drops[f].batch_fractions)));
    }
    list.push_back(std::move(row));
  }
  if (arguments.format == "json") {
    Json json(Json::Object{{"schema", "moesim/route_comparison/1"}, {"routers", std::move(list)}});
    out << json.dump() << "\n";
    return;
  }
  out << arguments.model << ", " << options.batches << " batches of " << options.batch_tokens
      << " tokens with equal scores; difference from the first router with 95% interval\n\n"
      << padded("router", 16) << padded("experts a token", 17) << padded("max/mean", 10)
      << padded("difference", 28) << "dropped at " << options.capacity_factors[0] << "\n";
  for (std::size_t r = 0; r < studies.size(); ++r) {
    const PairedDifference d =
        paired_difference(studies[0].batch_max_over_mean, studies[r].batch_max_over_mean);
    const std::string interval = plain_number_text(d.mean, 3) + " (" + plain_number_text(d.low, 3) +
                                 " to " + plain_number_text(d.high, 3) + ")";
    out << padded(names[r].name, 16)
        << padded(plain_number_text(studies[r].experts_per_token.mean, 4), 17)
        << padded(plain_number_text(studies[r].max_over_mean.mean, 4), 10)
        << padded(r == 0 ? "-" : interval, 28)
        << plain_number_text(100.0 * studies[r].drops[0].dropped_fraction.mean, 3) << "%\n";
  }
}

/// The MoE layers of a card: how many, and the first of their kind.
std::pair<std::int32_t, const FfnSpec*> moe_layers(const ModelCard& card) {
  std::int64_t count = 0;
  const FfnSpec* first = nullptr;
  for (const LayerClass& layer : card.layers) {
    if (layer.ffn.kind == FfnKind::moe) {
      count += layer.count;
      first = first == nullptr ? &layer.ffn : first;
    }
  }
  return {static_cast<std::int32_t>(count), first};
}

}  // namespace

CommandBody define_route(CLI::App& app, const CommandContext& context) {
  auto arguments = std::make_shared<RouteArguments>();
  CLI::Option* trace = app.add_option(
      "--trace", arguments->trace, "recorded routing: CSV (.gz), .npy or .npz [tokens, layers, k]");
  app.add_option("--model", arguments->model, "model card whose routing is drawn")->excludes(trace);
  app.add_option("--routing", arguments->routing,
                 "JSON or file: kind, sigma, alpha, trace ... (default uniform)")
      ->excludes(trace);
  app.add_option("--router", arguments->routers,
                 "JSON or file: a router {name, top_k, ...} instead of the card's gate; more than "
                 "one are compared with the first on equal scores")
      ->excludes(trace)
      ->allow_extra_args(false);
  app.add_option("--batch", arguments->batch, "tokens a batch")->check(CLI::Range(1, 1 << 24));
  app.add_option("--batches", arguments->batches, "random batches")->check(CLI::Range(2, 100000));
  app.add_option("--capacity-factor", arguments->capacity_factors, "factors, as in 1,1.25,2");
  app.add_option("--seed", arguments->seed, "of every random stream");
  app.add_option("--format", arguments->format, "text or json")
      ->check(CLI::IsMember({"text", "json"}));
  return [arguments, &out = context.out, root = context.root] {
    const RouteArguments& a = *arguments;
    RouteStudyOptions options;
    options.batch_tokens = a.batch;
    options.batches = a.batches;
    options.capacity_factors = factors_of(a.capacity_factors);
    RoutingSpec spec;
    std::int32_t layers = 1;
    std::string source;
    std::vector<RouterOptions> names;
    std::vector<std::unique_ptr<Router>> routers;
    if (!a.trace.empty()) {
      spec.kind = RoutingKind::trace;
      spec.trace = std::make_shared<const TokenTrace>(read_recording(a.trace));
      spec.gate = {.experts = spec.trace->experts, .top_k = spec.trace->top_k};
      spec.seed = a.seed;
      layers = static_cast<std::int32_t>(spec.trace->layers.size());
      source = a.trace;
    } else if (!a.model.empty()) {
      const CardLibrary cards = CardLibrary::open(root);
      const ModelCard card = load_model_card(cards.path(CardKind::model, a.model));
      const auto [count, layer] = moe_layers(card);
      if (layer == nullptr) {
        throw InputError("--model", "", "\"" + a.model + "\" has no expert layers",
                         "allowed: a Mixture-of-Experts model");
      }
      Diagnostics problems;
      const RoutingConfig routing =
          read_object<RoutingConfig>(inline_or_file(a.routing, "--routing"), "--routing", problems);
      problems.throw_if_any();
      spec = routing_spec(routing, *layer, count, a.seed, "");
      layers = count;
      source = a.model;
      for (const std::string& text : a.routers) {
        names.push_back(
            read_object<RouterOptions>(inline_or_file(text, "--router"), "--router", problems));
        problems.throw_if_any();
        if (spec.kind == RoutingKind::trace) {
          throw InputError("--router", "", "cannot route recorded sets again: they have no logits",
                           "allowed: with a routing of another kind");
        }
        routers.push_back(make_router(names.back(), spec.gate.experts, "--router", ""));
      }
    } else {
      throw InputError("route", "", "nothing to route",
                       "allowed: --trace FILE, or --model NAME with --routing JSON");
    }
    if (routers.size() > 1) {
      compare(out, a, spec, layers, options, names, routers);
      return 0;
    }
    const Router* router = routers.empty() ? nullptr : routers[0].get();
    source += router == nullptr ? "" : " by " + names[0].name;
    const RouteStudy study = study_routing(spec, layers, options, router);
    if (a.format == "json") {
      out << to_json(study, source).dump() << "\n";
    } else {
      print_text(out, study, source);
    }
    return 0;
  };
}

}  // namespace moesim
