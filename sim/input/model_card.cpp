// SPDX-License-Identifier: Apache-2.0
// The field tables of a model card: every key, its unit and its range.
#include "sim/input/model_card.h"

#include <cmath>

namespace moesim {
namespace {

constexpr double kMaxWidth = 1 << 24;  // no published width comes near; keeps products exact

FieldDoc flag(std::string doc) { return {.doc = std::move(doc)}; }
FieldDoc count(std::string doc, double min, double max = kMaxWidth) {
  return {.doc = std::move(doc), .min = min, .max = max};
}
FieldDoc needed(std::string doc, double min, double max = kMaxWidth) {
  return {.doc = std::move(doc), .required = true, .min = min, .max = max};
}

/// Drops members of `json` that equal those of `defaults`, at every depth.
Json without_defaults(const Json& json, const Json& defaults) {
  Json kept = Json::object();
  for (const auto& [key, value] : json.members()) {
    const Json* usual = defaults.find(key);
    if (usual != nullptr && *usual == value) {
      continue;
    }
    kept.set(key, value.is_object() && usual != nullptr && usual->is_object()
                      ? without_defaults(value, *usual)
                      : value);
  }
  return kept;
}

Json layer_json(LayerClass layer) {
  AttentionSpec& attention = layer.attention;
  // What complete_and_check derives from other keys is left out.
  if (attention.kind == AttentionKind::mla) {
    attention.head_dim = 0;
    attention.kv_heads = attention.kv_heads == attention.heads ? 0 : attention.kv_heads;
  } else if (attention.value_dim == attention.head_dim) {
    attention.value_dim = 0;
  }
  const LayerClass defaults;
  Json json = without_defaults(write_object(layer), write_object(defaults));
  // These say what the layer is, so they are written even when they hold the default.
  Json named = Json::object();
  named.set("name", layer.name);
  named.set("count", layer.count);
  for (auto& [key, value] : json.members()) {
    named.set(key, std::move(value));
  }
  for (const auto& [part, kind] : {std::pair{"attention", choice_name(attention.kind)},
                                   std::pair{"ffn", choice_name(layer.ffn.kind)}}) {
    Json inner = Json::object();
    inner.set("kind", kind);
    if (const Json* rest = named.find(part)) {
      for (const auto& [key, value] : rest->members()) {
        inner.set(key, value);
      }
    }
    named.set(part, std::move(inner));
  }
  return named;
}

Json layers_json(const std::vector<LayerClass>& layers) {
  Json list = Json::array();
  for (const LayerClass& layer : layers) {
    list.push_back(layer_json(layer));
  }
  return list;
}

}  // namespace

std::span<const Choice<AttentionKind>> choices_of(AttentionKind) {
  static constexpr Choice<AttentionKind> kChoices[] = {
      {AttentionKind::standard, "standard", "multi-head, grouped-query or multi-query attention"},
      {AttentionKind::mla, "mla", "multi-head latent attention"},
      {AttentionKind::compressed, "compressed", "window of shared key-values plus compressed ones"},
      {AttentionKind::linear, "linear", "linear attention with a matrix state a head"},
      {AttentionKind::state_space, "state_space", "Mamba state-space layer"},
      {AttentionKind::none, "none", "no token mixer in this layer"},
  };
  return kChoices;
}

std::span<const Choice<Recurrence>> choices_of(Recurrence) {
  static constexpr Choice<Recurrence> kChoices[] = {
      {Recurrence::none, "none", "not recurrent"},
      {Recurrence::gated_delta, "gated_delta", "gated delta rule (Qwen3-Next)"},
      {Recurrence::kimi_delta, "kimi_delta", "delta rule with a gate per channel (Kimi-Linear)"},
      {Recurrence::lightning, "lightning", "lightning attention (MiniMax-01, M1)"},
      {Recurrence::mamba1, "mamba1", "selective state space (Jamba)"},
      {Recurrence::mamba2, "mamba2", "state-space duality (Nemotron)"},
  };
  return kChoices;
}

std::span<const Choice<RouterKind>> choices_of(RouterKind) {
  static constexpr Choice<RouterKind> kChoices[] = {
      {RouterKind::softmax_top_k, "softmax_top_k", "softmax over all experts, then top-k"},
      {RouterKind::top_k_softmax, "top_k_softmax", "top-k logits, then softmax over them"},
      {RouterKind::sigmoid_top_k, "sigmoid_top_k", "independent sigmoid scores, top-k"},
      {RouterKind::sigmoid_bias, "sigmoid_bias", "sigmoid scores chosen with a balancing bias"},
      {RouterKind::softplus_bias, "softplus_bias", "root of softplus scores, balancing bias"},
      {RouterKind::top1_switch, "top1_switch", "softmax, one expert, capacity"},
      {RouterKind::top2_gshard, "top2_gshard", "softmax, second expert by its score, capacity"},
      {RouterKind::expert_choice, "expert_choice", "experts pick their tokens"},
      {RouterKind::hash, "hash", "fixed by the token id"},
  };
  return kChoices;
}

std::span<const Choice<FfnKind>> choices_of(FfnKind) {
  static constexpr Choice<FfnKind> kChoices[] = {
      {FfnKind::dense, "dense", "one feed-forward network for all tokens"},
      {FfnKind::moe, "moe", "routed experts, perhaps with shared ones"},
      {FfnKind::none, "none", "no feed-forward sublayer in this layer"},
  };
  return kChoices;
}

std::span<const Choice<CountConvention>> choices_of(CountConvention) {
  static constexpr Choice<CountConvention> kChoices[] = {
      {CountConvention::with_embeddings, "with_embeddings", "input embedding and LM head counted"},
      {CountConvention::without_input_embedding, "without_input_embedding",
       "the input embedding's table look-up is not counted"},
      {CountConvention::without_embeddings, "without_embeddings",
       "neither input embedding nor LM head counted"},
  };
  return kChoices;
}

const Fields<IndexerSpec>& fields_of(const IndexerSpec*) {
  static const Fields<IndexerSpec> table =
      Fields<IndexerSpec>("indexer", "a small attention that picks what the real one reads")
          .add("heads", &IndexerSpec::heads, needed("query heads of the indexer", 1))
          .add("head_dim", &IndexerSpec::head_dim, needed("width of its heads and cached key", 1))
          .add("top_k", &IndexerSpec::top_k, needed("cached tokens a query may read", 1));
  return table;
}

const Fields<AttentionSpec>& fields_of(const AttentionSpec*) {
  using A = AttentionSpec;
  static const Fields<A> table =
      Fields<A>("attention", "the token mixer of a layer")
          .add("kind", &A::kind, {.doc = "how tokens are mixed", .required = true})
          .add("heads", &A::heads, count("query heads (linear: value heads; Mamba-2: heads)", 0))
          .add("kv_heads", &A::kv_heads, count("key/value heads (linear: query/key heads)", 0))
          .add("head_dim", &A::head_dim, count("query/key width of a head", 0))
          .add("value_dim", &A::value_dim, count("value width of a head; 0: head_dim", 0))
          .add("window", &A::window, count("tokens a query sees at most; absent: all", 1, 1e9))
          .add("window_is_chunk", &A::window_is_chunk, flag("fixed chunks instead of sliding"))
          .add("compression", &A::compression, count("tokens per compressed entry", 1, 65536))
          .add("compression_overlaps", &A::compression_overlaps, flag("entries overlap by half"))
          .add("q_lora_rank", &A::q_lora_rank, count("rank of the query; 0: full projection", 0))
          .add("output_groups", &A::output_groups, count("compressed: groups of the output", 0))
          .add("output_rank", &A::output_rank, count("compressed: rank of an output group", 0))
          .add("kv_lora_rank", &A::kv_lora_rank, count("mla: width of the cached latent", 0))
          .add("rope_dim", &A::rope_dim, count("mla: rotary part of a key, shared by heads", 0))
          .add("nope_dim", &A::nope_dim, count("mla: rotary-free part of a head's key", 0))
          .add("qkv_bias", &A::qkv_bias, flag("biases on the q, k and v projections"))
          .add("output_bias", &A::output_bias, flag("a bias on the output projection"))
          .add("qk_norm", &A::qk_norm, flag("a learned norm on queries and keys"))
          .add("qk_norm_is_wide", &A::qk_norm_is_wide, flag("that norm spans all heads at once"))
          .add("sinks", &A::sinks, flag("a learned sink logit per head"))
          .add("output_gate", &A::output_gate, flag("a gate as wide as the attention output"))
          .add("shares_kv", &A::shares_kv, flag("reuses keys and values of an earlier layer"))
          .add("cross_attention", &A::cross_attention, flag("also attends to the encoder's output"))
          .add("indexer", &A::indexer, flag("sparse attention behind a learned indexer"))
          .add("recurrence", &A::recurrence, flag("update rule of a linear or state-space layer"))
          .add("state_dim", &A::state_dim, count("state_space: state width per channel", 0))
          .add("state_groups", &A::state_groups, count("mamba2: groups that share B and C", 1))
          .add("inner_dim", &A::inner_dim, count("mamba1: channels", 0))
          .add("dt_rank", &A::dt_rank, count("mamba1: rank of the step-size projection", 0))
          .add("conv_width", &A::conv_width, count("taps of the causal convolution; 0: none", 0));
  return table;
}

const Fields<RouterSpec>& fields_of(const RouterSpec*) {
  using R = RouterSpec;
  static const Fields<R> table =
      Fields<R>("router", "how tokens find experts")
          .add("kind", &R::kind, {.doc = "scores and selection"})
          .add("groups", &R::groups, count("equal groups of experts", 1))
          .add("groups_chosen", &R::groups_chosen, count("groups that a token may use", 1))
          .add("has_bias", &R::has_bias, flag("one bias parameter per expert"))
          .add("has_gate", &R::has_gate, flag("a learned gate exists; false for pure hashing"));
  return table;
}

const Fields<ExpertSize>& fields_of(const ExpertSize*) {
  static const Fields<ExpertSize> table =
      Fields<ExpertSize>("expert_size", "experts of a width of their own")
          .add("count", &ExpertSize::count, needed("experts of this width", 1))
          .add("width", &ExpertSize::width, needed("their inner width", 1));
  return table;
}

const Fields<FfnSpec>& fields_of(const FfnSpec*) {
  using F = FfnSpec;
  static const Fields<F> table =
      Fields<F>("ffn", "the feed-forward sublayer")
          .add("kind", &F::kind, {.doc = "dense, experts or nothing", .required = true})
          .add("width", &F::width, count("inner width: dense layer or one routed expert", 0))
          .add("gated", &F::gated, flag("gate, up and down matrices; false: up and down"))
          .add("has_bias", &F::has_bias, flag("biases on every matrix"))
          .add("experts", &F::experts, count("routed experts", 0, 1 << 20))
          .add("top_k", &F::top_k, count("routed experts a token uses", 0, 1 << 20))
          .add("expert_sizes", &F::expert_sizes, flag("unequal experts; empty: all `width`"))
          .add("shared_experts", &F::shared_experts, count("experts every token passes", 0))
          .add("shared_width", &F::shared_width, count("inner width of one shared expert", 0))
          .add("shared_gate", &F::shared_gate, flag("a scalar gate on the shared output"))
          .add("residual_width", &F::residual_width, count("dense path beside the experts", 0))
          .add("residual_mix", &F::residual_mix, flag("a learned 2-way mix of both paths"))
          .add("expert_dim", &F::expert_dim, count("narrower space of experts; 0: hidden", 0))
          .add("router", &F::router, flag("how tokens find experts"));
  return table;
}

const Fields<LayerClass>& fields_of(const LayerClass*) {
  static const Fields<LayerClass> table =
      Fields<LayerClass>("layer_class", "layers that are alike")
          .add("name", &LayerClass::name, {.doc = "name of the class", .required = true})
          .add("count", &LayerClass::count, count("layers of the class", 1, 65536))
          .add("norms", &LayerClass::norms, count("hidden-wide norms in a layer", 0, 16))
          .add("attention", &LayerClass::attention, {.doc = "token mixer", .required = true})
          .add("ffn", &LayerClass::ffn, {.doc = "feed-forward sublayer", .required = true});
  return table;
}

const Fields<LayerRun>& fields_of(const LayerRun*) {
  static const Fields<LayerRun> table =
      Fields<LayerRun>("layer_run", "layers one after another, repeated")
          .add("repeat", &LayerRun::repeat, count("times", 1, 65536))
          .add("layers", &LayerRun::layers, {.doc = "class names in order", .required = true});
  return table;
}

const Fields<MtpSpec>& fields_of(const MtpSpec*) {
  static const Fields<MtpSpec> table =
      Fields<MtpSpec>("mtp", "multi-token-prediction layers")
          .add("depth", &MtpSpec::depth, count("extra layers", 1, 64))
          .add("layer", &MtpSpec::layer, {.doc = "what each is made of", .required = true})
          .add("own_embeddings", &MtpSpec::own_embeddings, flag("own embedding and head"));
  return table;
}

const Fields<WeightFormats>& fields_of(const WeightFormats*) {
  using W = WeightFormats;
  static const Fields<W> table =
      Fields<W>("weight_formats", "storage of the published weights")
          .add("attention", &W::attention, flag("token mixers"))
          .add("router", &W::router, flag("gates"))
          .add("routed_experts", &W::routed_experts, flag("routed experts"))
          .add("shared_experts", &W::shared_experts, flag("shared experts, dense paths beside"))
          .add("dense_ffn", &W::dense_ffn, flag("dense feed-forward layers"))
          .add("embeddings", &W::embeddings, flag("input embedding and LM head"));
  return table;
}

const Fields<PublishedCounts>& fields_of(const PublishedCounts*) {
  using P = PublishedCounts;
  static const Fields<P> table =
      Fields<P>("published_counts", "parameter counts as printed by the makers")
          .add("total", &P::total, flag("as printed, \"46.7B\"; \"~600B\": zeros are rounding"))
          .add("active", &P::active, flag("per token, as printed"))
          .add("total_convention", &P::total_convention, flag("what the total counts"))
          .add("active_convention", &P::active_convention, flag("what active counts"))
          .add("total_includes_mtp", &P::total_includes_mtp, flag("multi-token layers counted"))
          .add("source", &P::source, flag("document and place"))
          .add("left_out", &P::left_out, flag("what the count or this card leaves out"));
  return table;
}

const Fields<ServiceExpertUse>& fields_of(const ServiceExpertUse*) {
  static const Fields<ServiceExpertUse> table =
      Fields<ServiceExpertUse>("expert_use", "how unevenly the experts are used in service")
          .add("sigma", &ServiceExpertUse::sigma,
               {.doc = "spread of expert popularity, as of routing kind gumbel",
                .required = true,
                .min = 0,
                .max = 10})
          .add("source", &ServiceExpertUse::source,
               {.doc = "document and place", .required = true});
  return table;
}

const Fields<SourceReference>& fields_of(const SourceReference*) {
  static const Fields<SourceReference> table =
      Fields<SourceReference>("source", "where the shapes come from")
          .add("title", &SourceReference::title, {.doc = "document", .required = true})
          .add("url", &SourceReference::url, {.doc = "address", .required = true});
  return table;
}

const Fields<ModelCard>& fields_of(const ModelCard*) {
  using M = ModelCard;
  static const Fields<M> table =
      Fields<M>("model_card", "the shape of one model")
          .add("schema", &M::schema, {.doc = "\"moesim/model_card/1\"", .required = true})
          .add("id", &M::id, {.doc = "file name without .json", .required = true})
          .add("name", &M::name, {.doc = "as its makers write it", .required = true})
          .add("family", &M::family, flag("line of models it belongs to"))
          .add("sources", &M::sources, flag("where the shapes come from"))
          .add("hidden", &M::hidden, needed("width of the residual stream", 1))
          .add("vocabulary", &M::vocabulary, needed("rows of the embedding", 1))
          .add("max_context", &M::max_context, count("tokens; 0: not stated", 0, 1e9))
          .add("tied_embeddings", &M::tied_embeddings, flag("LM head reuses the embedding"))
          .add("learned_positions", &M::learned_positions, count("learned position rows", 0))
          .add("norm_has_bias", &M::norm_has_bias, flag("LayerNorm with bias, not RMSNorm"))
          .add("has_final_norm", &M::has_final_norm, flag("a norm before the LM head"))
          .add("residual_streams", &M::residual_streams, count("hyper-connection streams", 1, 64))
          .add("layers", &M::layers, {.doc = "decoder layer classes", .required = true})
          .add("encoder_layers", &M::encoder_layers, flag("encoder layer classes"))
          .add("order", &M::order, flag("order of the decoder layers; empty: as listed"))
          .add("mtp", &M::mtp, flag("multi-token prediction"))
          .add("weights", &M::weights, flag("storage of the published weights"))
          .add("published", &M::published, flag("counts to check against"))
          .add("expert_use", &M::expert_use, flag("how unevenly the experts are used in service"))
          .add("unknown", &M::unknown, flag("what no public document states"));
  return table;
}

std::int64_t ModelCard::num_layers() const {
  std::int64_t sum = 0;
  for (const LayerClass& layer : layers) {
    sum += layer.count;
  }
  return sum;
}

std::int64_t ModelCard::num_moe_layers() const {
  std::int64_t sum = 0;
  for (const LayerClass& layer : layers) {
    sum += layer.ffn.kind == FfnKind::moe ? layer.count : 0;
  }
  return sum;
}

std::vector<std::int64_t> ModelCard::layer_sequence() const {
  std::vector<std::int64_t> sequence;
  if (order.empty()) {
    for (std::size_t i = 0; i < layers.size(); ++i) {
      sequence.insert(sequence.end(), layers[i].count, static_cast<std::int64_t>(i));
    }
    return sequence;
  }
  for (const LayerRun& run : order) {
    for (std::int64_t r = 0; r < run.repeat; ++r) {
      for (const std::string& wanted : run.layers) {
        for (std::size_t i = 0; i < layers.size(); ++i) {
          if (layers[i].name == wanted) {
            sequence.push_back(static_cast<std::int64_t>(i));
          }
        }
      }
    }
  }
  return sequence;
}

Json model_card_json(const ModelCard& card) {
  ModelCard defaults;
  Json json = without_defaults(write_object(card), write_object(defaults));
  Json ordered = Json::object();
  ordered.set("schema", card.schema);
  for (auto& [key, value] : json.members()) {
    if (key == "layers" || key == "encoder_layers") {
      ordered.set(key, layers_json(key == "layers" ? card.layers : card.encoder_layers));
    } else if (key == "mtp") {
      value.set("layer", layer_json(card.mtp->layer));
      ordered.set(key, std::move(value));
    } else {
      ordered.set(key, std::move(value));
    }
  }
  return ordered;
}

std::optional<PrintedCount> parse_printed_count(const std::string& text) {
  std::size_t at = 0;
  const bool rounded = !text.empty() && text[0] == '~';
  at += rounded ? 1 : 0;
  double value = 0.0;
  double place = 1.0;  // worth of the last digit before the scale letter
  double zeros = 1.0;  // 10 to the number of trailing zeros
  bool point = false;
  int digits = 0;
  for (; at < text.size() && digits < 12; ++at) {
    const char c = text[at];
    if (c == ',' && !point) {
      continue;
    }
    if (c == '.' && !point && digits > 0) {
      point = true;
      continue;
    }
    if (c < '0' || c > '9') {
      break;
    }
    value = value * 10.0 + (c - '0');
    place /= point ? 10.0 : 1.0;
    zeros = c == '0' ? zeros * 10.0 : 1.0;
    ++digits;
  }
  if (digits == 0 || at + 1 != text.size() || value == 0.0) {
    return std::nullopt;
  }
  const char letter = text[at];
  const double scale = letter == 'T' ? 1e12 : letter == 'B' ? 1e9 : letter == 'M' ? 1e6 : 0.0;
  if (scale == 0.0) {
    return std::nullopt;
  }
  return PrintedCount{text, value * place * scale, place * scale * (rounded ? zeros : 1.0)};
}

void read_value(PrintedCount& out, const Json& json, const ReadContext& context) {
  const std::optional<PrintedCount> count =
      json.is_text() ? parse_printed_count(json.as_text()) : std::nullopt;
  if (!count) {
    context.problem((json.is_text() ? "\"" + json.as_text().substr(0, 80) + "\""
                                    : std::string(json.kind_name())) +
                        " is no parameter count",
                    "allowed: text such as \"46.7B\", \"1.6T\" or \"~600B\"");
    return;
  }
  out = *count;
}

Json write_value(const PrintedCount& value) { return Json(value.text); }

}  // namespace moesim
