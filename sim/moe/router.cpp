// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/router.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "sim/base/error.h"
#include "sim/moe/router_program.h"

namespace moesim {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

/// Indices of the `k` largest values, largest first, ties by index; values of -inf are left out.
std::vector<std::int16_t> largest(std::span<const double> values, std::int64_t k) {
  std::vector<std::int16_t> order(values.size());
  std::iota(order.begin(), order.end(), std::int16_t{0});
  const auto better = [&](std::int16_t a, std::int16_t b) {
    const double x = values[static_cast<std::size_t>(a)];
    const double y = values[static_cast<std::size_t>(b)];
    return x != y ? x > y : a < b;
  };
  const std::size_t n = std::min(values.size(), static_cast<std::size_t>(k));
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(n), order.end(),
                    better);
  order.resize(n);
  while (!order.empty() && values[static_cast<std::size_t>(order.back())] == kNever) {
    order.pop_back();
  }
  return order;
}

std::vector<double> softmax(std::span<const double> logits) {
  const double top = *std::max_element(logits.begin(), logits.end());
  std::vector<double> p;
  double sum = 0.0;
  for (const double x : logits) {
    p.push_back(portable_exp(x - top));
    sum += p.back();
  }
  for (double& x : p) {
    x /= sum;
  }
  return p;
}

double sigmoid(double x) { return 1.0 / (1.0 + portable_exp(-x)); }

/// A router that looks at one token at a time.
class TokenRouter : public Router {
 public:
  explicit TokenRouter(RouterOptions options) : options_(std::move(options)) {}
  RoutedTokens route(const GateScores& scores, std::uint64_t draw) const override {
    RoutedTokens routed{
        .width = static_cast<std::int32_t>(std::min<std::int64_t>(options_.top_k, scores.experts))};
    const std::size_t width = static_cast<std::size_t>(routed.width);
    routed.sets.assign(static_cast<std::size_t>(scores.tokens) * width, -1);
    for (std::int64_t t = 0; t < scores.tokens; ++t) {
      // A stream of its own per token: any thread may take any token.
      RandomStream stream(static_cast<std::uint64_t>(options_.seed), "router/token",
                          (draw << 32) ^ static_cast<std::uint64_t>(t));
      const std::vector<std::int16_t> set =
          experts_of(scores.row(t), scores.token_ids[static_cast<std::size_t>(t)], stream);
      std::copy_n(
          set.begin(), std::min(set.size(), width),
          routed.sets.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(t) * width));
    }
    return routed;
  }

 protected:
  virtual std::vector<std::int16_t> experts_of(std::span<const double> logits,
                                               std::int64_t token_id,
                                               RandomStream& stream) const = 0;
  RouterOptions options_;
};

class SoftmaxTop1 final : public TokenRouter {
 public:
  explicit SoftmaxTop1(RouterOptions options) : TokenRouter(std::move(options)) {
    options_.top_k = 1;
  }
  std::vector<std::int16_t> experts_of(std::span<const double> logits, std::int64_t,
                                       RandomStream&) const override {
    return largest(logits, 1);
  }
};

class SoftmaxTopK final : public TokenRouter {
 public:
  using TokenRouter::TokenRouter;
  std::vector<std::int16_t> experts_of(std::span<const double> logits, std::int64_t,
                                       RandomStream&) const override {
    return largest(logits, options_.top_k);
  }
};

class NoisyTopK final : public TokenRouter {
 public:
  using TokenRouter::TokenRouter;
  std::vector<std::int16_t> experts_of(std::span<const double> logits, std::int64_t,
                                       RandomStream& stream) const override {
    const double sd = options_.noise + options_.progress * (options_.noise_end - options_.noise);
    std::vector<double> noisy(logits.begin(), logits.end());
    for (double& x : noisy) {
      x += sd * stream.normal();
    }
    return largest(noisy, options_.top_k);
  }
};

class SigmoidBias final : public TokenRouter {
 public:
  using TokenRouter::TokenRouter;
  std::vector<std::int16_t> experts_of(std::span<const double> logits, std::int64_t,
                                       RandomStream&) const override {
    std::vector<double> scores;
    for (std::size_t e = 0; e < logits.size(); ++e) {
      scores.push_back(sigmoid(logits[e]) + (options_.bias.empty() ? 0.0 : options_.bias[e]));
    }
    return largest(scores, options_.top_k);
  }
};

/// Keeps the experts of the groups with the best scores, then takes the top k.
class GroupRouter : public TokenRouter {
 public:
  using TokenRouter::TokenRouter;
  std::vector<std::int16_t> experts_of(std::span<const double> logits, std::int64_t,
                                       RandomStream&) const override {
    const std::size_t size = logits.size() / static_cast<std::size_t>(options_.groups);
    std::vector<double> scores;
    for (std::size_t g = 0; g < static_cast<std::size_t>(options_.groups); ++g) {
      scores.push_back(group_score(logits.subspan(g * size, size)));
    }
    std::vector<double> open(logits.size(), kNever);
    for (const std::int16_t g : largest(scores, options_.groups_chosen)) {
      const std::size_t first = static_cast<std::size_t>(g) * size;
      std::copy_n(logits.begin() + static_cast<std::ptrdiff_t>(first), size,
                  open.begin() + static_cast<std::ptrdiff_t>(first));
    }
    return largest(open, options_.top_k);
  }

 protected:
  virtual double group_score(std::span<const double> logits) const = 0;
};

class GroupLimited final : public GroupRouter {
 public:
  using GroupRouter::GroupRouter;
  double group_score(std::span<const double> logits) const override {
    double sum = 0.0;
    for (const std::int16_t e : largest(logits, options_.group_score_terms)) {
      sum += logits[static_cast<std::size_t>(e)];
    }
    return sum;
  }
};

class TwoLevel final : public GroupRouter {
 public:
  using GroupRouter::GroupRouter;
  double group_score(std::span<const double> logits) const override {
    const double top = *std::max_element(logits.begin(), logits.end());
    double sum = 0.0;
    for (const double x : logits) {
      sum += portable_exp(x - top);
    }
    return top + portable_log(sum);
  }
};

class AdaptiveK final : public TokenRouter {
 public:
  using TokenRouter::TokenRouter;
  std::vector<std::int16_t> experts_of(std::span<const double> logits, std::int64_t,
                                       RandomStream&) const override {
    const std::vector<double> p = softmax(logits);
    std::vector<std::int16_t> set = largest(p, options_.top_k);
    double sum = 0.0;
    for (std::size_t j = 0; j < set.size(); ++j) {
      sum += p[static_cast<std::size_t>(set[j])];
      if (sum >= options_.threshold) {
        set.resize(j + 1);
      }
    }
    return set;
  }
};

class GShardTop2 final : public TokenRouter {
 public:
  explicit GShardTop2(RouterOptions options) : TokenRouter(std::move(options)) {
    options_.top_k = 2;
  }
  std::vector<std::int16_t> experts_of(std::span<const double> logits, std::int64_t,
                                       RandomStream& stream) const override {
    std::vector<std::int16_t> set = largest(logits, 2);
    if (options_.second == SecondExpert::sampling) {
      std::vector<double> noisy(logits.begin(), logits.end());
      for (double& x : noisy) {
        x += stream.gumbel();
      }
      noisy[static_cast<std::size_t>(set[0])] = kNever;
      set = {set[0], largest(noisy, 1)[0]};
    } else if (options_.second == SecondExpert::random) {
      const double first = logits[static_cast<std::size_t>(set[0])];
      const double second = logits[static_cast<std::size_t>(set[1])];
      const double share = sigmoid(second - first);  // of the two gates
      if (stream.uniform() >= 2.0 * share) {
        set.pop_back();
      }
    }
    return set;
  }
};

class HashRouter final : public TokenRouter {
 public:
  using TokenRouter::TokenRouter;
  std::vector<std::int16_t> experts_of(std::span<const double> logits, std::int64_t token_id,
                                       RandomStream&) const override {
    // The token's own stream, whatever the batch: equal ids always meet the same experts.
    RandomStream own(static_cast<std::uint64_t>(options_.seed), "router/hash",
                     static_cast<std::uint64_t>(token_id));
    std::vector<std::int16_t> set;
    while (static_cast<std::int64_t>(set.size()) < options_.top_k) {
      const std::int16_t e = static_cast<std::int16_t>(own.below(logits.size()));
      if (std::find(set.begin(), set.end(), e) == set.end()) {
        set.push_back(e);
      }
    }
    return set;
  }
};

class StaticRouter final : public TokenRouter {
 public:
  using TokenRouter::TokenRouter;
  std::vector<std::int16_t> experts_of(std::span<const double>, std::int64_t token_id,
                                       RandomStream&) const override {
    const std::vector<std::int64_t>& row =
        options_.table[static_cast<std::size_t>(token_id) % options_.table.size()];
    return {row.begin(), row.end()};
  }
};

class ExpertChoice final : public Router {
 public:
  explicit ExpertChoice(RouterOptions options) : options_(std::move(options)) {}
  RoutedTokens route(const GateScores& scores, std::uint64_t) const override {
    const std::size_t experts = static_cast<std::size_t>(scores.experts);
    const double mean = static_cast<double>(scores.tokens * options_.top_k) / scores.experts;
    const std::int64_t picks = std::clamp<std::int64_t>(
        static_cast<std::int64_t>(std::ceil(options_.capacity_factor * mean * (1.0 - 1e-12))), 1,
        std::max<std::int64_t>(1, scores.tokens));
    std::vector<std::vector<double>> p;
    for (std::int64_t t = 0; t < scores.tokens; ++t) {
      p.push_back(softmax(scores.row(t)));
    }
    std::vector<std::vector<std::pair<double, std::int16_t>>> chosen(p.size());
    std::vector<std::size_t> order(p.size());
    for (std::size_t e = 0; e < experts && !p.empty(); ++e) {
      std::iota(order.begin(), order.end(), std::size_t{0});
      std::partial_sort(order.begin(), order.begin() + picks, order.end(),
                        [&](std::size_t a, std::size_t b) {
                          return p[a][e] != p[b][e] ? p[a][e] > p[b][e] : a < b;
                        });
      for (std::size_t i = 0; i < static_cast<std::size_t>(picks); ++i) {
        chosen[order[i]].emplace_back(-p[order[i]][e], static_cast<std::int16_t>(e));
      }
    }
    RoutedTokens routed;
    for (auto& set : chosen) {
      std::sort(set.begin(), set.end());
      routed.width = std::max(routed.width, static_cast<std::int32_t>(set.size()));
    }
    const std::size_t width = static_cast<std::size_t>(routed.width);
    routed.sets.assign(chosen.size() * width, -1);
    for (std::size_t t = 0; t < chosen.size(); ++t) {
      for (std::size_t j = 0; j < chosen[t].size(); ++j) {
        routed.sets[t * width + j] = chosen[t][j].second;
      }
    }
    return routed;
  }

 private:
  RouterOptions options_;
};

template <class R>
std::unique_ptr<Router> make(const RouterOptions& options) {
  return std::make_unique<R>(options);
}

constexpr RouterPolicy kPolicies[] = {
    {"softmax_top1", "the best expert (Switch Transformer)", make<SoftmaxTop1>},
    {"softmax_topk", "the top_k best experts (Mixtral, Qwen3-MoE)", make<SoftmaxTopK>},
    {"noisy_topk", "top_k after Gaussian noise, annealed from noise to noise_end by progress",
     make<NoisyTopK>},
    {"sigmoid_bias", "top_k of sigmoid scores plus a balancing bias per expert (DeepSeek-V3)",
     make<SigmoidBias>},
    {"group_limited",
     "top_k within the groups_chosen groups with the largest sum of group_score_terms best "
     "(DeepSeek)",
     make<GroupLimited>},
    {"two_level", "groups_chosen groups by their total probability, then top_k inside",
     make<TwoLevel>},
    {"adaptive_k", "as few experts as reach threshold of the probability, at most top_k",
     make<AdaptiveK>},
    {"gshard_top2", "two experts; second: all, random or sampling (GShard, fairseq)",
     make<GShardTop2>},
    {"expert_choice", "each expert picks capacity_factor * tokens * top_k / experts tokens",
     make<ExpertChoice>},
    {"hash", "top_k experts fixed by the token id (hash layers)", make<HashRouter>},
    {"static", "experts from a table by token id", make<StaticRouter>},
    {"program", "a program of yours that answers line-delimited JSON", make_program_router},
};

}  // namespace

std::span<const Choice<SecondExpert>> choices_of(SecondExpert) {
  static constexpr std::array<Choice<SecondExpert>, 3> kChoices = {{
      {SecondExpert::all, "all", "the second expert is always used"},
      {SecondExpert::random, "random", "used with probability min(1, 2 * its gate share)"},
      {SecondExpert::sampling, "sampling", "drawn by probability from the others"},
  }};
  return kChoices;
}

const Fields<RouterOptions>& fields_of(const RouterOptions*) {
  static const Fields<RouterOptions> table =
      Fields<RouterOptions>("router", "a router and its parameters")
          .add("name", &RouterOptions::name, {.doc = "row of the router table", .required = true})
          .add("top_k", &RouterOptions::top_k, {.doc = "experts a token", .min = 1, .max = 1024})
          .add("groups", &RouterOptions::groups, {.doc = "expert groups", .min = 1})
          .add("groups_chosen", &RouterOptions::groups_chosen,
               {.doc = "groups a token may use", .min = 1})
          .add("group_score_terms", &RouterOptions::group_score_terms,
               {.doc = "best experts summed to a group's score", .min = 1})
          .add("noise", &RouterOptions::noise,
               {.doc = "noisy_topk: standard deviation of logit noise", .min = 0, .max = 1000})
          .add("noise_end", &RouterOptions::noise_end,
               {.doc = "noisy_topk: noise at the end of annealing", .min = 0, .max = 1000})
          .add("progress", &RouterOptions::progress,
               {.doc = "noisy_topk: place in the annealing", .min = 0, .max = 1})
          .add("threshold", &RouterOptions::threshold,
               {.doc = "adaptive_k: cumulative probability", .min = 0, .max = 1})
          .add("capacity_factor", &RouterOptions::capacity_factor,
               {.doc = "expert_choice: tokens an expert picks / mean",
                .min = 0,
                .max = 1e6,
                .min_exclusive = true})
          .add("second", &RouterOptions::second, {.doc = "gshard_top2: the second expert"})
          .add("bias", &RouterOptions::bias, {.doc = "sigmoid_bias: one a expert"})
          .add("table", &RouterOptions::table, {.doc = "static: experts by token id"})
          .add("command", &RouterOptions::command, {.doc = "program: executable and arguments"})
          .add("seed", &RouterOptions::seed, {.doc = "of the router's own noise", .min = 0});
  return table;
}

std::span<const RouterPolicy> router_policies() { return kPolicies; }

std::unique_ptr<Router> make_router(const RouterOptions& options, std::int32_t experts,
                                    const std::string& file, const std::string& pointer) {
  const auto found = std::find_if(std::begin(kPolicies), std::end(kPolicies),
                                  [&](const RouterPolicy& p) { return options.name == p.name; });
  std::string names;
  for (const RouterPolicy& policy : kPolicies) {
    names += (names.empty() ? "allowed: " : ", ") + std::string(policy.name);
  }
  Diagnostics problems;
  if (found == std::end(kPolicies)) {
    problems.add(file, pointer + "/name", "\"" + options.name + "\" is no router", names);
    problems.throw_if_any();
  }
  const std::string_view name = found->name;
  GateShape gate = {
      .experts = experts,
      .top_k = static_cast<std::int32_t>(std::min<std::int64_t>(options.top_k, INT32_MAX))};
  if (name == "group_limited" || name == "two_level") {
    gate.groups = static_cast<std::int32_t>(std::min<std::int64_t>(options.groups, INT32_MAX));
    gate.groups_chosen =
        static_cast<std::int32_t>(std::min<std::int64_t>(options.groups_chosen, INT32_MAX));
    gate.group_score_terms = name == "two_level" ? 1
                                                 : static_cast<std::int32_t>(std::min<std::int64_t>(
                                                       options.group_score_terms, INT32_MAX));
  }
  if (const char* problem = problem_of(gate); *problem != '\0') {
    problems.add(file, pointer, problem);
  }
  if (name == "gshard_top2" && experts < 2) {
    problems.add(file, pointer, "two experts of one cannot be chosen");
  }
  if (!options.bias.empty() && options.bias.size() != static_cast<std::size_t>(experts)) {
    problems.add(file, pointer + "/bias",
                 std::to_string(options.bias.size()) + " numbers for " + std::to_string(experts) +
                     " experts");
  }
  if (name == "static") {
    if (options.table.empty()) {
      problems.add(file, pointer + "/table", "is empty", "allowed: rows of experts");
    }
    for (std::size_t i = 0; i < options.table.size(); ++i) {
      std::vector<std::int64_t> row = options.table[i];
      std::sort(row.begin(), row.end());
      if (row.empty() || static_cast<std::int64_t>(row.size()) > options.top_k || row.front() < 0 ||
          row.back() >= experts || std::adjacent_find(row.begin(), row.end()) != row.end()) {
        problems.add(file, pointer + "/table/" + std::to_string(i),
                     "is no set of 1 to top_k different experts",
                     "allowed: experts 0 to " + std::to_string(experts - 1));
      }
    }
  }
  if (name == "program" && options.command.empty()) {
    problems.add(file, pointer + "/command", "is missing", "allowed: executable and arguments");
  }
  problems.throw_if_any();
  return found->make(options);
}

GateScores draw_scores(const RoutingSpec& spec, std::int32_t layer, std::int64_t tokens,
                       std::uint64_t draw) {
  MOESIM_CHECK(spec.kind != RoutingKind::trace, "recorded sets have no logits");
  constexpr std::uint64_t kVocabulary = 32000;
  std::vector<double> weights = layer_popularity(spec, layer);
  const bool direct = spec.kind == RoutingKind::gumbel || spec.kind == RoutingKind::uniform ||
                      spec.kind == RoutingKind::balanced;
  if (!direct) {
    weights = weights_of_inclusion(capped_inclusion(weights, spec.gate.top_k), spec.gate.top_k);
  }
  GateScores scores{.tokens = tokens, .experts = spec.gate.experts};
  const std::size_t experts = weights.size();
  std::vector<double> logits(experts);
  for (std::size_t e = 0; e < experts; ++e) {
    logits[e] = portable_log(std::max(weights[e], 1e-300));
  }
  scores.logits.resize(static_cast<std::size_t>(tokens) * experts);
  RandomStream noise(spec.seed, "router/scores", (draw << 16) ^ static_cast<std::uint64_t>(layer));
  for (std::size_t i = 0; i < scores.logits.size(); ++i) {
    scores.logits[i] = logits[i % experts] + noise.gumbel();
  }
  RandomStream ids(spec.seed, "router/token_ids", draw);
  for (std::int64_t t = 0; t < tokens; ++t) {
    // Log-uniform ranks: the density of the r-th most frequent token falls as 1/r.
    const double rank =
        portable_exp(ids.uniform() * portable_log(static_cast<double>(kVocabulary)));
    scores.token_ids.push_back(static_cast<std::int64_t>(rank) - 1);
  }
  return scores;
}

}  // namespace moesim
