// SPDX-License-Identifier: Apache-2.0
// A model card: the shape of one model, enough to count its parameters, FLOPs and bytes exactly.
//
// Layers are *classes with a multiplicity* (3 dense + 58 MoE, not 61 copies); a class is one
// attention (or recurrent) sublayer plus one feed-forward sublayer, either of which may be absent.
// Where the order of the classes matters (pipeline stages, drawings) `order` gives it. Shapes are
// those of the published modelling code; the card cites its source and says, in `unknown`, what no
// public document states.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sim/base/field_table.h"
#include "sim/base/number_format.h"

namespace moesim {

enum class AttentionKind {
  standard,     ///< multi-head, grouped-query or multi-query softmax attention
  mla,          ///< multi-head latent attention (DeepSeek-V2): one cached latent for all heads
  compressed,   ///< one vector is key and value of all heads; a window of them plus one compressed
                ///< entry per `compression` tokens (DeepSeek-V4)
  linear,       ///< linear attention with a matrix state a head; `recurrence` says which
  state_space,  ///< Mamba; `recurrence` says which
  none,         ///< the layer has no token mixer (a feed-forward-only layer)
};

/// The update rule of a `linear` or `state_space` layer; it decides the parameters and the state.
enum class Recurrence { none, gated_delta, kimi_delta, lightning, mamba1, mamba2 };

/// A small attention that picks the top_k cached entries the real one may read (DeepSeek-V3.2, V4).
struct IndexerSpec {
  std::int64_t heads = 0;
  std::int64_t head_dim = 0;  ///< also the cached key elements per token, in the 8-bit format
  std::int64_t top_k = 0;     ///< cached entries a query reads
};

/// One token mixer. Head counts and widths are per layer and unsharded.
struct AttentionSpec {
  AttentionKind kind = AttentionKind::standard;
  std::int64_t heads = 0;      ///< query heads; value heads of a linear layer; Mamba-2 heads
  std::int64_t kv_heads = 0;   ///< key/value heads; query/key heads of a linear layer
  std::int64_t head_dim = 0;   ///< query and key width of a head (nope_dim + rope_dim for mla)
  std::int64_t value_dim = 0;  ///< value width of a head; the loader sets 0 to head_dim
  std::optional<std::int64_t> window;  ///< tokens a query sees at most (sliding window or chunk)
  bool window_is_chunk = false;        ///< true: fixed chunks of `window` tokens (Llama 4)
  std::int64_t compression = 1;        ///< compressed: tokens per entry; 1 = the window alone
  bool compression_overlaps = false;   ///< an entry also pools the tokens before it
  std::int64_t q_lora_rank = 0;        ///< low-rank query: 0 = a full projection
  std::int64_t output_groups = 0;  ///< compressed: head groups of the low-rank output projection
  std::int64_t output_rank = 0;    ///< compressed: rank of each group
  std::int64_t kv_lora_rank = 0;   ///< mla: width of the cached latent
  std::int64_t rope_dim = 0;       ///< mla: shared rotary part of a key, cached beside it
  std::int64_t nope_dim = 0;       ///< mla: rotary-free part of a head's key
  bool qkv_bias = false;           ///< biases on the q, k and v projections
  bool output_bias = false;        ///< a bias on the output projection
  bool qk_norm = false;            ///< a learned norm over every query and key head
  bool qk_norm_is_wide = false;    ///< ... over all heads at once (OLMoE, MiniMax-M2)
  bool sinks = false;              ///< a learned sink logit per head (gpt-oss)
  bool output_gate = false;      ///< a gate as wide as the attention output (kimi_delta: full rank)
  bool shares_kv = false;        ///< reuses the keys and values of an earlier layer
  bool cross_attention = false;  ///< a second attention over the encoder's output
  std::optional<IndexerSpec> indexer;  ///< sparse attention behind a learned indexer
  Recurrence recurrence = Recurrence::none;
  std::int64_t state_dim = 0;     ///< state_space: state width per channel
  std::int64_t state_groups = 1;  ///< mamba2: groups that share B and C
  std::int64_t inner_dim = 0;     ///< mamba1: channels (expand * hidden)
  std::int64_t dt_rank = 0;       ///< mamba1: rank of the step-size projection
  std::int64_t conv_width = 0;    ///< taps of the causal convolution, 0 = none
};

enum class RouterKind {
  softmax_top_k,  ///< softmax over all experts, then the k largest
  top_k_softmax,  ///< the k largest logits, then softmax over them
  sigmoid_top_k,  ///< independent sigmoid scores, the k largest
  sigmoid_bias,   ///< sigmoid scores chosen with a balancing bias (auxiliary-loss-free)
  softplus_bias,  ///< the same with square roots of softplus scores (DeepSeek-V4)
  top1_switch,    ///< softmax, one expert, capacity (Switch)
  top2_gshard,    ///< softmax, second expert drawn by its score, capacity (GShard)
  expert_choice,  ///< experts pick their tokens
  hash,           ///< fixed by the token id
};

/// How tokens find experts. Group limits are orthogonal to the kind: a token may use the experts of
/// `groups_chosen` of `groups` equal groups only.
struct RouterSpec {
  RouterKind kind = RouterKind::softmax_top_k;
  std::int64_t groups = 1;
  std::int64_t groups_chosen = 1;
  bool has_bias = false;  ///< one parameter per expert: logit bias or balancing bias
  bool has_gate = true;   ///< a learned gate [hidden, experts]; a pure hash router has none
};

enum class FfnKind { dense, moe, none };

/// `count` experts of a width of their own, for layers with unequal experts.
struct ExpertSize {
  std::int64_t count = 0;
  std::int64_t width = 0;
};

/// One feed-forward sublayer. A gated matrix triple has 3 * hidden * width weights, else 2.
struct FfnSpec {
  FfnKind kind = FfnKind::dense;
  std::int64_t width = 0;  ///< inner width: of the dense layer, or of one routed expert
  bool gated = true;       ///< gate, up and down matrices; false: up and down only
  bool has_bias = false;   ///< biases on every matrix of the experts or the dense layer
  std::int64_t experts = 0;
  std::int64_t top_k = 0;
  std::vector<ExpertSize> expert_sizes;  ///< empty: all `width`; else the counts sum to `experts`
  std::int64_t shared_experts = 0;       ///< experts that every token passes
  std::int64_t shared_width = 0;         ///< inner width of one shared expert
  bool shared_gate = false;              ///< a scalar sigmoid gate on the shared output
  std::int64_t residual_width = 0;  ///< dense path beside the experts (Arctic, PR-MoE): its width
  bool residual_mix = false;        ///< the two paths are mixed by a learned 2-way gate (PR-MoE)
  std::int64_t expert_dim = 0;      ///< experts work in this narrower space; 0 = hidden
  RouterSpec router;
};

/// `count` layers that are alike.
struct LayerClass {
  std::string name;
  std::int64_t count = 1;
  std::int64_t norms = 2;  ///< norms as wide as the hidden state in one layer
  AttentionSpec attention;
  FfnSpec ffn;
};

/// `repeat` times the named layers one after another.
struct LayerRun {
  std::int64_t repeat = 1;
  std::vector<std::string> layers;
};

/// Multi-token prediction: `depth` extra layers behind the model, each with a 2 * hidden -> hidden
/// projection and three norms; embeddings and head are shared unless said otherwise.
struct MtpSpec {
  std::int64_t depth = 1;
  LayerClass layer;
  bool own_embeddings = false;  ///< stores an embedding and a head of its own
};

/// As published, per class of tensor.
struct WeightFormats {
  NumberFormat attention = NumberFormat::bf16;
  NumberFormat router = NumberFormat::bf16;
  NumberFormat routed_experts = NumberFormat::bf16;
  NumberFormat shared_experts = NumberFormat::bf16;
  NumberFormat dense_ffn = NumberFormat::bf16;
  NumberFormat embeddings = NumberFormat::bf16;
};

enum class CountConvention { with_embeddings, without_input_embedding, without_embeddings };

/// A count as somebody printed it: "46.7B", "1.6T", "223M". A leading "~" says that trailing zeros
/// are not significant ("~600B" is 550 to 650).
struct PrintedCount {
  std::string text;
  double value = 0.0;       ///< parameters
  double last_digit = 0.0;  ///< worth of the last significant digit, parameters
};

struct PublishedCounts {
  std::optional<PrintedCount> total;
  std::optional<PrintedCount> active;
  CountConvention total_convention = CountConvention::with_embeddings;
  CountConvention active_convention = CountConvention::with_embeddings;
  bool total_includes_mtp = false;
  std::string source;    ///< document and place, with URL
  std::string left_out;  ///< what the published count or this card leaves out
};

/// How unevenly a model's tokens use its experts in service.
struct ServiceExpertUse {
  double sigma = 0;    ///< of the Gumbel-top-k law (routing kind gumbel): spread of popularity
  std::string source;  ///< document and place, with URL, and what was measured
};

struct SourceReference {
  std::string title;
  std::string url;
};

struct ModelCard {
  std::string schema = "moesim/model_card/1";
  std::string id;      ///< file name without ".json"
  std::string name;    ///< as its makers write it
  std::string family;  ///< "deepseek", "qwen" ...
  std::vector<SourceReference> sources;
  std::int64_t hidden = 0;
  std::int64_t vocabulary = 0;  ///< rows of the embedding matrix
  std::int64_t max_context = 0;
  bool tied_embeddings = false;        ///< the LM head reuses the input embedding
  std::int64_t learned_positions = 0;  ///< rows of a learned position embedding, 0 = none
  bool norm_has_bias = false;          ///< LayerNorm with bias instead of RMSNorm
  bool has_final_norm = true;
  std::int64_t residual_streams = 1;       ///< parallel residual streams (hyper-connections)
  std::vector<LayerClass> layers;          ///< of the decoder
  std::vector<LayerClass> encoder_layers;  ///< empty for decoder-only models
  std::vector<LayerRun> order;             ///< of `layers`; empty: class after class as listed
  std::optional<MtpSpec> mtp;
  WeightFormats weights;
  PublishedCounts published;
  std::optional<ServiceExpertUse> expert_use;  ///< absent: not published
  std::vector<std::string> unknown;            ///< what no public document states

  std::int64_t num_layers() const;      ///< decoder layers
  std::int64_t num_moe_layers() const;  ///< decoder layers with routed experts
  /// Class index of each decoder layer in order [num_layers].
  std::vector<std::int64_t> layer_sequence() const;
};

const Fields<ModelCard>& fields_of(const ModelCard*);
const Fields<AttentionSpec>& fields_of(const AttentionSpec*);
const Fields<FfnSpec>& fields_of(const FfnSpec*);
const Fields<LayerClass>& fields_of(const LayerClass*);
const Fields<IndexerSpec>& fields_of(const IndexerSpec*);
const Fields<RouterSpec>& fields_of(const RouterSpec*);
const Fields<ExpertSize>& fields_of(const ExpertSize*);
const Fields<LayerRun>& fields_of(const LayerRun*);
const Fields<MtpSpec>& fields_of(const MtpSpec*);
const Fields<WeightFormats>& fields_of(const WeightFormats*);
const Fields<PublishedCounts>& fields_of(const PublishedCounts*);
const Fields<ServiceExpertUse>& fields_of(const ServiceExpertUse*);
const Fields<SourceReference>& fields_of(const SourceReference*);
std::span<const Choice<AttentionKind>> choices_of(AttentionKind);
std::span<const Choice<Recurrence>> choices_of(Recurrence);
std::span<const Choice<RouterKind>> choices_of(RouterKind);
std::span<const Choice<FfnKind>> choices_of(FfnKind);
std::span<const Choice<CountConvention>> choices_of(CountConvention);

/// Reads a card from parsed JSON; `file` and `pointer` name it in messages. All problems, of form
/// and of meaning, go to `diagnostics`.
ModelCard read_model_card(const Json& json, const std::string& file, Diagnostics& diagnostics,
                          const std::string& pointer = "");
/// Reads and checks a card; throws InputError with every problem.
ModelCard load_model_card(const std::string& path);
/// The semantic checks alone (top_k <= experts, heads divide ...), for cards built or changed in
/// memory; fills defaults that depend on other keys (value_dim) first.
void complete_and_check(ModelCard& card, const std::string& file, Diagnostics& diagnostics,
                        const std::string& pointer = "");
/// The card as JSON without keys that hold their defaults; `load_model_card` reads it back equal.
Json model_card_json(const ModelCard& card);

/// "46.7B" and the like; nullopt when the text is no count.
std::optional<PrintedCount> parse_printed_count(const std::string& text);
void read_value(PrintedCount& out, const Json& json, const ReadContext& context);
Json write_value(const PrintedCount& value);

}  // namespace moesim
