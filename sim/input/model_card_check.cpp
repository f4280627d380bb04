// SPDX-License-Identifier: Apache-2.0
// What a field table cannot say of a model card: how its keys must fit together.
#include <set>

#include "sim/input/model_card.h"

namespace moesim {
namespace {

/// Collects the problems of one layer class; `at` is its JSON pointer.
class LayerChecker {
 public:
  LayerChecker(const std::string& file, std::string at, Diagnostics& diagnostics)
      : file_(file), at_(std::move(at)), diagnostics_(diagnostics) {}

  void check(LayerClass& layer, bool may_cross) {
    attention(layer.attention, may_cross);
    ffn(layer.ffn);
    if (layer.attention.kind == AttentionKind::none && layer.ffn.kind == FfnKind::none) {
      problem("", "the layer has neither a token mixer nor a feed-forward sublayer",
              "allowed: one of the two kinds other than \"none\"");
    }
  }

 private:
  void problem(const std::string& key, std::string text, std::string allowed) {
    diagnostics_.add(file_, at_ + key, std::move(text), std::move(allowed));
  }
  void positive(const std::string& key, std::int64_t value, const std::string& why) {
    if (value <= 0) {
      problem(key, "is missing or 0; " + why + " needs it", "allowed: a whole number >= 1");
    }
  }

  void attention(AttentionSpec& a, bool may_cross) {
    const std::string kind = choice_name(a.kind) + " attention";
    if (a.kind == AttentionKind::mla) {
      a.head_dim = a.head_dim == 0 ? a.nope_dim + a.rope_dim : a.head_dim;
      a.kv_heads = a.kv_heads == 0 ? a.heads : a.kv_heads;
      positive("/attention/kv_lora_rank", a.kv_lora_rank, kind);
      positive("/attention/value_dim", a.value_dim, kind);
      if (a.head_dim != a.nope_dim + a.rope_dim) {
        problem("/attention/head_dim",
                std::to_string(a.head_dim) +
                    " is not nope_dim + rope_dim = " + std::to_string(a.nope_dim + a.rope_dim),
                "allowed: leave it out");
      }
    }
    if (a.kind == AttentionKind::linear && a.kv_heads == 0) {
      a.kv_heads = a.heads;
    }
    a.value_dim = a.value_dim == 0 ? a.head_dim : a.value_dim;
    compressed(a);
    const bool recurrent = a.kind == AttentionKind::linear || a.kind == AttentionKind::state_space;
    if (a.kind != AttentionKind::none && a.recurrence != Recurrence::mamba1) {
      positive("/attention/heads", a.heads, kind);
      positive("/attention/head_dim", a.head_dim, kind);
    }
    if (a.kind == AttentionKind::standard) {
      positive("/attention/kv_heads", a.kv_heads, kind);
    }
    if (a.kv_heads > 0 && a.heads > 0 && a.heads % a.kv_heads != 0) {
      problem("/attention/kv_heads",
              std::to_string(a.kv_heads) + " does not divide " + std::to_string(a.heads) + " heads",
              "allowed: a divisor of heads");
    }
    recurrence(a, recurrent);
    if (a.window_is_chunk && !a.window) {
      problem("/attention/window_is_chunk", "is true without a window", "allowed: give window");
    }
    if (a.cross_attention && !may_cross) {
      problem("/attention/cross_attention", "is true but the model has no encoder",
              "allowed: encoder_layers with at least one class");
    }
  }

  void compressed(AttentionSpec& a) {
    if (a.kind != AttentionKind::compressed) {
      if (a.compression != 1) {
        problem("/attention/compression", "only kind \"compressed\" has compressed entries",
                "allowed: leave it out");
      }
      return;
    }
    a.kv_heads = a.kv_heads == 0 ? 1 : a.kv_heads;
    positive("/attention/window", a.window.value_or(0), "compressed attention");
    positive("/attention/q_lora_rank", a.q_lora_rank, "compressed attention");
    positive("/attention/output_groups", a.output_groups, "compressed attention");
    positive("/attention/output_rank", a.output_rank, "compressed attention");
  }

  void recurrence(const AttentionSpec& a, bool recurrent) {
    const bool is_mamba = a.recurrence == Recurrence::mamba1 || a.recurrence == Recurrence::mamba2;
    if (recurrent != (a.recurrence != Recurrence::none) ||
        (recurrent && is_mamba != (a.kind == AttentionKind::state_space))) {
      problem(
          "/attention/recurrence",
          "\"" + choice_name(a.recurrence) + "\" does not fit kind \"" + choice_name(a.kind) + "\"",
          "allowed: linear with gated_delta, kimi_delta or lightning; state_space with mamba1 "
          "or mamba2; none otherwise");
      return;
    }
    if (is_mamba) {
      positive("/attention/state_dim", a.state_dim, "a state-space layer");
    }
    if (a.recurrence == Recurrence::mamba1) {
      positive("/attention/inner_dim", a.inner_dim, "mamba1");
      positive("/attention/dt_rank", a.dt_rank, "mamba1");
    }
    if (a.recurrence == Recurrence::mamba2 && a.heads > 0 && a.heads % a.state_groups != 0) {
      problem(
          "/attention/state_groups",
          std::to_string(a.state_groups) + " does not divide " + std::to_string(a.heads) + " heads",
          "allowed: a divisor of heads");
    }
  }

  void ffn(const FfnSpec& f) {
    if (f.kind != FfnKind::moe) {
      if (f.kind == FfnKind::dense) {
        positive("/ffn/width", f.width, "a dense layer");
      }
      if (f.experts > 0 || f.top_k > 0 || f.shared_experts > 0) {
        problem("/ffn/experts", "experts in a layer of kind \"" + choice_name(f.kind) + "\"",
                "allowed: kind \"moe\", or no expert keys");
      }
      return;
    }
    positive("/ffn/experts", f.experts, "a moe layer");
    if (f.experts > 0 && (f.top_k < 1 || f.top_k > f.experts)) {
      problem("/ffn/top_k",
              std::to_string(f.top_k) + " of " + std::to_string(f.experts) + " experts",
              "allowed: 1 to the number of experts");
    }
    if (f.expert_sizes.empty()) {
      positive("/ffn/width", f.width, "a moe layer");
    } else {
      std::int64_t sum = 0;
      for (const ExpertSize& size : f.expert_sizes) {
        sum += size.count;
      }
      if (sum != f.experts) {
        problem("/ffn/expert_sizes",
                "counts sum to " + std::to_string(sum) + ", not to " + std::to_string(f.experts) +
                    " experts",
                "allowed: counts that sum to experts");
      }
    }
    if (f.shared_experts > 0) {
      positive("/ffn/shared_width", f.shared_width, "a shared expert");
    }
    router(f);
  }

  void router(const FfnSpec& f) {
    const RouterSpec& r = f.router;
    if (f.experts > 0 && f.experts % r.groups != 0) {
      problem(
          "/ffn/router/groups",
          std::to_string(r.groups) + " does not divide " + std::to_string(f.experts) + " experts",
          "allowed: a divisor of experts");
      return;
    }
    if (r.groups_chosen > r.groups) {
      problem("/ffn/router/groups_chosen",
              std::to_string(r.groups_chosen) + " of " + std::to_string(r.groups) + " groups",
              "allowed: 1 to the number of groups");
    } else if (r.groups > 1 && f.top_k > r.groups_chosen * (f.experts / r.groups)) {
      problem("/ffn/top_k",
              std::to_string(f.top_k) + " experts do not fit in " +
                  std::to_string(r.groups_chosen) + " groups of " +
                  std::to_string(f.experts / r.groups),
              "allowed: at most groups_chosen * experts / groups");
    }
    if (r.kind == RouterKind::top1_switch && f.top_k > 1) {
      problem("/ffn/top_k", std::to_string(f.top_k) + " with the router top1_switch", "allowed: 1");
    }
  }

  const std::string& file_;
  std::string at_;
  Diagnostics& diagnostics_;
};

void check_order(const ModelCard& card, const std::string& file, const std::string& pointer,
                 Diagnostics& diagnostics) {
  std::vector<std::int64_t> seen(card.layers.size(), 0);
  for (std::size_t r = 0; r < card.order.size(); ++r) {
    for (std::size_t i = 0; i < card.order[r].layers.size(); ++i) {
      const std::string& name = card.order[r].layers[i];
      bool known = false;
      std::vector<std::string> names;
      for (std::size_t c = 0; c < card.layers.size(); ++c) {
        names.push_back(card.layers[c].name);
        if (names.back() == name) {
          seen[c] += card.order[r].repeat;
          known = true;
        }
      }
      if (!known) {
        std::string allowed;
        for (const std::string& other : names) {
          allowed += (allowed.empty() ? "allowed: " : ", ") + other;
        }
        diagnostics.add(file,
                        pointer + "/order/" + std::to_string(r) + "/layers/" + std::to_string(i),
                        "\"" + name + "\" is no layer class", allowed);
      }
    }
  }
  for (std::size_t c = 0; c < card.layers.size() && !card.order.empty(); ++c) {
    if (seen[c] != card.layers[c].count) {
      diagnostics.add(file, pointer + "/order",
                      "has " + std::to_string(seen[c]) + " layers \"" + card.layers[c].name +
                          "\", but the class counts " + std::to_string(card.layers[c].count),
                      "allowed: each class as often as its count");
    }
  }
}

}  // namespace

void complete_and_check(ModelCard& card, const std::string& file, Diagnostics& diagnostics,
                        const std::string& pointer) {
  if (card.schema != "moesim/model_card/1") {
    diagnostics.add(file, pointer + "/schema", "\"" + card.schema.substr(0, 80) + "\" is unknown",
                    "allowed: \"moesim/model_card/1\"");
  }
  if (card.layers.empty()) {
    diagnostics.add(file, pointer + "/layers", "is empty", "allowed: at least one layer class");
  }
  std::set<std::string> names;
  const auto check_list = [&](std::vector<LayerClass>& layers, const std::string& key,
                              bool may_cross) {
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const std::string at = pointer + key + "/" + std::to_string(i);
      if (!names.insert(layers[i].name).second) {
        diagnostics.add(file, at + "/name", "\"" + layers[i].name + "\" names two layer classes",
                        "allowed: a name of its own for each class");
      }
      LayerChecker(file, at, diagnostics).check(layers[i], may_cross);
    }
  };
  check_list(card.layers, "/layers", !card.encoder_layers.empty());
  check_list(card.encoder_layers, "/encoder_layers", false);
  check_order(card, file, pointer, diagnostics);
  if (card.mtp) {
    LayerChecker(file, pointer + "/mtp/layer", diagnostics).check(card.mtp->layer, false);
  }
}

ModelCard read_model_card(const Json& json, const std::string& file, Diagnostics& diagnostics,
                          const std::string& pointer) {
  const std::size_t before = diagnostics.list().size();
  ModelCard card = read_object<ModelCard>(json, file, diagnostics, pointer);
  // Checks of meaning on a card that could not be read would report consequences, not causes.
  if (diagnostics.list().size() == before) {
    complete_and_check(card, file, diagnostics, pointer);
  }
  return card;
}

ModelCard load_model_card(const std::string& path) {
  Diagnostics diagnostics;
  ModelCard card = read_model_card(load_json(path), path, diagnostics);
  diagnostics.throw_if_any();
  return card;
}

}  // namespace moesim
