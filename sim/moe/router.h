// SPDX-License-Identifier: Apache-2.0
// Routers as policies: from gate logits to each token's experts.
//
// `token_routing.h` draws top-k routing fast, as a law; a router works on the logits themselves, so
// that policies which are no top-k (expert choice, adaptive k, sampled second experts, a program of
// the user's) can be compared on equal tokens. One visible table; a new router is a class, a row
// and a test.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "sim/base/field_table.h"
#include "sim/moe/token_routing.h"

namespace moesim {

/// Gate logits of one batch at one layer.
struct GateScores {
  std::int64_t tokens = 0;
  std::int32_t experts = 0;
  std::vector<double> logits;           ///< [tokens, experts]
  std::vector<std::int64_t> token_ids;  ///< [tokens] vocabulary ids, for routers that go by them

  std::span<const double> row(std::int64_t token) const {
    return std::span(logits).subspan(static_cast<std::size_t>(token * experts),
                                     static_cast<std::size_t>(experts));
  }
};

/// The outcome: a token's experts, best first, -1 where it has fewer than `width`.
struct RoutedTokens {
  std::int32_t width = 0;
  std::vector<std::int16_t> sets;  ///< [tokens, width]
};

/// What GShard's gate does with the second expert (arXiv 2006.16668; fairseq
/// --moe-second-expert-policy).
enum class SecondExpert {
  all,       ///< always used
  random,    ///< used with probability min(1, 2 * its gate share of the two)
  sampling,  ///< drawn by probability from the others instead of the best of them
};
std::span<const Choice<SecondExpert>> choices_of(SecondExpert);

/// Parameters of every router; each row of the table says which it reads.
struct RouterOptions {
  std::string name = "softmax_topk";
  std::int64_t top_k = 2;
  std::int64_t groups = 1;
  std::int64_t groups_chosen = 1;
  std::int64_t group_score_terms = 2;
  double noise = 1.0;            ///< noisy_topk: standard deviation of the logit noise, annealed
  double noise_end = 0.0;        ///< noisy_topk: its value at the end of the annealing
  double progress = 0.0;         ///< noisy_topk: place in the annealing, 0 to 1
  double threshold = 0.8;        ///< adaptive_k: cumulative probability to reach
  double capacity_factor = 1.0;  ///< expert_choice: tokens an expert picks / mean
  SecondExpert second = SecondExpert::all;
  std::vector<double> bias;                      ///< sigmoid_bias: [experts]; empty is zero
  std::vector<std::vector<std::int64_t>> table;  ///< static: experts by token id, modulo rows
  std::vector<std::string> command;              ///< program: executable and arguments
  std::int64_t seed = 0;
};
const Fields<RouterOptions>& fields_of(const RouterOptions*);

class Router {
 public:
  virtual ~Router() = default;
  /// Experts of each token: different, at most what the options allow; the same for the same
  /// scores and `draw`. Throws InputError only for what the user's own program answers.
  virtual RoutedTokens route(const GateScores& scores, std::uint64_t draw) const = 0;
};

struct RouterPolicy {
  const char* name;
  const char* doc;
  std::unique_ptr<Router> (*make)(const RouterOptions& options);
};

std::span<const RouterPolicy> router_policies();

/// The router `options.name` for `experts` experts. Throws InputError (file and pointer of the
/// options as given) for unknown names and options that do not fit.
std::unique_ptr<Router> make_router(const RouterOptions& options, std::int32_t experts,
                                    const std::string& file, const std::string& pointer);

/// Logits log w_e + Gumbel noise of the layer's popularity, for any kind but trace: softmax top-k
/// of these scores is what `LayerRouting` draws. Token ids are Zipf-like draws from 32,000.
GateScores draw_scores(const RoutingSpec& spec, std::int32_t layer, std::int64_t tokens,
                       std::uint64_t draw);

}  // namespace moesim
