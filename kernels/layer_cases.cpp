// SPDX-License-Identifier: Apache-2.0
// Cases of the MoE layer's light kernels and of attention: gate, plan, permute, combine, decode.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/attention_decode.h"
#include "kernels/gemm.h"
#include "kernels/kernel_table.h"
#include "kernels/operations.h"
#include "kernels/router_gate.h"
#include "kernels/token_permute.h"
#include "sim/base/random.h"

namespace moesim::gpu::cases {
namespace {

bool is_host(const DeviceInfo& info) { return info.backend == "host"; }

std::vector<int> token_counts(const DeviceInfo& info, SuiteSize size) {
  if (is_host(info)) {
    return size == SuiteSize::quick ? std::vector<int>{1, 64, 256}
                                    : std::vector<int>{1, 16, 48, 64, 128, 192, 256, 512, 1024};
  }
  return size == SuiteSize::quick
             ? std::vector<int>{1, 64, 512, 8192}
             : std::vector<int>{1, 8, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768};
}

// --- router gate

struct GateModel {
  int experts;
  int top_k;
  int groups;
  int groups_kept;
  const char* score;
};
// Mixtral; Qwen3 MoE; DeepSeek-V3 (the routers of their model cards); a wide one.
constexpr GateModel kGateModels[] = {{8, 2, 1, 1, "softmax"},
                                     {128, 8, 1, 1, "softmax"},
                                     {256, 8, 8, 4, "sigmoid"},
                                     {512, 10, 1, 1, "softmax"}};

std::vector<Json> gate_cases(const DeviceInfo& info, SuiteSize size) {
  std::vector<Json> list;
  for (const GateModel& model : kGateModels) {
    for (const int tokens : token_counts(info, size)) {
      list.push_back(make({{"tokens", tokens},
                           {"experts", model.experts},
                           {"top_k", model.top_k},
                           {"groups", model.groups},
                           {"groups_kept", model.groups_kept},
                           {"score", model.score}}));
    }
  }
  return list;
}

CaseOutcome run_gate(CaseContext& context, const Json& params) {
  RouterGateShape shape;
  shape.num_tokens = integer(params, "tokens", 0, 1 << 20);
  shape.num_experts = integer(params, "experts", 1, 512);
  shape.num_groups = integer(params, "groups", 1, 64);
  shape.groups_kept = integer(params, "groups_kept", 1, shape.num_groups);
  if (shape.num_experts % shape.num_groups != 0) {
    throw InputError("params", "/groups", "does not divide the experts");
  }
  const int choosable = shape.num_experts / shape.num_groups * shape.groups_kept;
  shape.top_k = integer(params, "top_k", 1, std::min(16, choosable));
  shape.score = word(params, "score", {"softmax", "sigmoid"}) == "softmax" ? GateScore::softmax
                                                                           : GateScore::sigmoid;
  Device& device = context.device;
  const std::size_t scores = std::size_t(shape.num_tokens) * shape.num_experts;
  const std::size_t slots = std::size_t(shape.num_tokens) * shape.top_k;
  Pattern<float> logits(device, scores, context.seed);
  DeviceBuffer<float> selection(device, scores);
  DeviceBuffer<std::int32_t> chosen(device, slots);
  DeviceBuffer<float> weights(device, slots);
  RouterGateCall call{shape,         logits.data(),  nullptr,
                      chosen.data(), weights.data(), selection.data()};
  device.kernels().router_gate(device.default_stream(), call);

  CaseOutcome outcome;
  outcome.tolerance = 1e-5;  // of a weight: expf and a sum of at most 512 terms in fp32
  const std::vector<std::int32_t> choice = chosen.download();
  const std::vector<float> weight = weights.download();
  if (choice != router_gate_select_reference(shape, selection.download())) {
    throw DeviceError("verification failed: the gate chose other experts; no time was kept");
  }
  std::vector<float> inputs(scores);
  for (std::size_t i = 0; i < scores; ++i) {
    inputs[i] = logits.value(i);
  }
  const std::vector<double> expected =
      router_gate_weights_reference(shape, router_gate_scores_reference(shape, inputs), choice);
  for (std::size_t i = 0; i < slots; ++i) {
    outcome.max_error = std::max(outcome.max_error, std::fabs(weight[i] / expected[i] - 1.0));
  }
  require(outcome.max_error, outcome.tolerance, "a gate weight");

  call.selection = nullptr;
  outcome.timing = StreamTimer(device, context.timing).measure([&] {
    device.kernels().router_gate(device.default_stream(), call);
  });
  outcome.bytes = router_gate_bytes(shape);
  outcome.flops = router_gate_flops(shape);
  return outcome;
}

// --- permute and combine

std::vector<Json> permute_cases(const DeviceInfo& info, SuiteSize size) {
  struct Model {
    int experts, top_k, hidden;
  };
  const std::vector<Model> models =
      is_host(info) ? std::vector<Model>{{8, 2, 512}, {64, 6, 512}}
                    : std::vector<Model>{{8, 2, 4096}, {128, 8, 2048}, {256, 8, 7168}};
  std::vector<Json> list;
  for (const Model& model : models) {
    for (const int tokens : token_counts(info, size)) {
      list.push_back(make({{"tokens", tokens},
                           {"top_k", model.top_k},
                           {"experts", model.experts},
                           {"hidden", model.hidden},
                           {"capacity", -1}}));
    }
  }
  return list;
}

/// A plan on the device, verified, and its inputs.
struct PlannedPermute {
  PermuteShape shape;
  DeviceBuffer<std::int32_t> chosen, counts, offsets, row_of, assignment_of;
  PermutePlan plan;
  int num_rows = 0;

  PlannedPermute(CaseContext& context, const Json& params) {
    shape.num_tokens = integer(params, "tokens", 0, 1 << 20);
    shape.top_k = integer(params, "top_k", 1, 64);
    shape.num_experts = integer(params, "experts", 1, 512);
    shape.hidden = integer(params, "hidden", 1, 1 << 16);
    shape.capacity = integer(params, "capacity", -1, 1 << 30);
    RandomStream random(context.seed, "chosen experts");
    std::vector<std::int32_t> choice(std::size_t(shape.num_tokens) * shape.top_k);
    for (std::int32_t& expert : choice) {
      expert = static_cast<std::int32_t>(random.below(std::uint64_t(shape.num_experts)));
    }
    Device& device = context.device;
    chosen = DeviceBuffer<std::int32_t>(device, choice);
    counts =
        DeviceBuffer<std::int32_t>(device, std::size_t(permute_chunks(shape)) * shape.num_experts);
    offsets = DeviceBuffer<std::int32_t>(device, shape.num_experts + 1);
    row_of = DeviceBuffer<std::int32_t>(device, choice.size());
    assignment_of = DeviceBuffer<std::int32_t>(device, choice.size());
    device.kernels().permute_plan(device.default_stream(), call());
    plan = permute_plan_reference(shape, choice);
    num_rows = plan.offsets.back();
    if (offsets.download() != plan.offsets || row_of.download() != plan.row_of ||
        assignment_of.download(0, num_rows) != plan.assignment_of) {
      throw DeviceError("verification failed: another permutation; no time was kept");
    }
  }
  PermutePlanCall call() {
    return {shape,          chosen.data(), counts.data(),
            offsets.data(), row_of.data(), assignment_of.data()};
  }
};

CaseOutcome run_permute_plan(CaseContext& context, const Json& params) {
  PlannedPermute planned(context, params);
  CaseOutcome outcome;
  outcome.timing = StreamTimer(context.device, context.timing).measure([&] {
    context.device.kernels().permute_plan(context.device.default_stream(), planned.call());
  });
  outcome.bytes = permute_plan_bytes(planned.shape);
  return outcome;
}

CaseOutcome run_permute_rows(CaseContext& context, const Json& params) {
  PlannedPermute planned(context, params);
  const PermuteShape& shape = planned.shape;
  Device& device = context.device;
  const std::size_t hidden = shape.hidden;
  Pattern<Bfloat16> x(device, shape.num_tokens * hidden, context.seed);
  DeviceBuffer<Bfloat16> packed(device, planned.num_rows * hidden);
  const PermuteRowsCall call{shape, planned.row_of.data(), x.data(), packed.data()};
  device.kernels().permute_rows(device.default_stream(), call);
  for (const int row : some_of(planned.num_rows, 64, context.seed)) {
    const std::vector<Bfloat16> values = packed.download(row * hidden, hidden);
    const std::size_t token = planned.plan.assignment_of[row] / shape.top_k;
    for (std::size_t h = 0; h < hidden; ++h) {
      if (values[h].bits != x.number(token * hidden + h).bits) {
        throw DeviceError("verification failed: a permuted row differs; no time was kept");
      }
    }
  }
  CaseOutcome outcome;
  outcome.timing = StreamTimer(device, context.timing).measure([&] {
    device.kernels().permute_rows(device.default_stream(), call);
  });
  outcome.bytes = permute_rows_bytes(shape, planned.num_rows);
  return outcome;
}

CaseOutcome run_combine_rows(CaseContext& context, const Json& params) {
  PlannedPermute planned(context, params);
  const PermuteShape& shape = planned.shape;
  Device& device = context.device;
  const std::size_t hidden = shape.hidden;
  Pattern<float> weights(device, planned.plan.row_of.size(), context.seed + 1);
  Pattern<Bfloat16> packed(device, planned.num_rows * hidden, context.seed);
  DeviceBuffer<Bfloat16> out(device, shape.num_tokens * hidden);
  const CombineRowsCall call{shape, planned.row_of.data(), weights.data(), packed.data(),
                             out.data()};
  device.kernels().combine_rows(device.default_stream(), call);
  CaseOutcome outcome;
  outcome.tolerance = 2.5e-3;  // norm-wise, bfloat16 output
  for (const int token : some_of(shape.num_tokens, 16, context.seed)) {
    // The same token alone: its rows packed one after another.
    PermuteShape alone = shape;
    alone.num_tokens = 1;
    PermutePlan plan;
    std::vector<float> weight;
    std::vector<Bfloat16> rows;
    for (int i = 0; i < shape.top_k; ++i) {
      const std::size_t slot = std::size_t(token) * shape.top_k + i;
      const std::int32_t row = planned.plan.row_of[slot];
      plan.row_of.push_back(row < 0 ? -1 : static_cast<std::int32_t>(rows.size() / hidden));
      weight.push_back(weights.value(slot));
      for (std::size_t h = 0; row >= 0 && h < hidden; ++h) {
        rows.push_back(packed.number(row * hidden + h));
      }
    }
    std::vector<double> actual;
    for (const Bfloat16 value : out.download(token * hidden, hidden)) {
      actual.push_back(to_float(value));
    }
    outcome.max_error =
        std::max(outcome.max_error,
                 relative_error(actual, combine_rows_reference(alone, plan, weight, rows)));
  }
  require(outcome.max_error, outcome.tolerance, "a combined token");
  outcome.timing = StreamTimer(device, context.timing).measure([&] {
    device.kernels().combine_rows(device.default_stream(), call);
  });
  outcome.bytes = combine_rows_bytes(shape, planned.num_rows);
  outcome.flops = combine_rows_flops(shape, planned.num_rows);
  return outcome;
}

// --- attention

std::vector<Json> attention_cases(const DeviceInfo& info, SuiteSize size) {
  std::vector<Json> list;
  const bool is_quick = size == SuiteSize::quick;
  const std::vector<int> batches = is_host(info) ? std::vector<int>{1, 4}
                                   : is_quick    ? std::vector<int>{1, 64}
                                                 : std::vector<int>{1, 8, 32, 64, 128, 256};
  const std::vector<int> contexts =
      is_host(info)
          ? (is_quick ? std::vector<int>{128, 512} : std::vector<int>{64, 128, 256, 384, 512, 1024})
      : is_quick ? std::vector<int>{1024, 8192}
                 : std::vector<int>{256, 1024, 4096, 8192, 16384, 65536};
  for (const int batch : batches) {
    for (const int context : contexts) {
      // 64 query heads over 8 KV heads of 128 (Llama 3 70B, Qwen3 235B has 64 over 4).
      list.push_back(make({{"sequences", batch},
                           {"query_heads", is_host(info) ? 8 : 64},
                           {"kv_heads", is_host(info) ? 1 : 8},
                           {"head_size", is_host(info) ? 64 : 128},
                           {"context", context}}));
    }
  }
  return list;
}

CaseOutcome run_attention(CaseContext& context, const Json& params) {
  AttentionShape shape;
  shape.num_sequences = integer(params, "sequences", 0, 1 << 16);
  shape.num_kv_heads = integer(params, "kv_heads", 1, 1 << 10);
  shape.num_query_heads = integer(params, "query_heads", 1, 1 << 12);
  shape.head_size = integer(params, "head_size", 32, 256);
  shape.context = integer(params, "context", 1, 1 << 24);
  const int group = shape.num_query_heads / shape.num_kv_heads;
  if (shape.num_query_heads % shape.num_kv_heads != 0 || group > 16 || (group & (group - 1)) != 0) {
    throw InputError("params", "/query_heads", "is no 1, 2, 4, 8 or 16 times kv_heads");
  }
  if ((shape.head_size & (shape.head_size - 1)) != 0) {
    throw InputError("params", "/head_size", "is no power of two", "allowed: 32, 64, 128, 256");
  }
  Device& device = context.device;
  const std::size_t queries =
      std::size_t(shape.num_sequences) * shape.num_query_heads * shape.head_size;
  const std::size_t one_cache = std::size_t(shape.num_kv_heads) * shape.context * shape.head_size;
  const int splits = attention_splits(shape, device.info());
  Pattern<Bfloat16> q(device, queries, context.seed);
  Pattern<Bfloat16> k(device, one_cache * shape.num_sequences, context.seed + 1);
  Pattern<Bfloat16> v(device, one_cache * shape.num_sequences, context.seed + 2);
  DeviceBuffer<float> partial(device, attention_partial_size(shape, splits));
  DeviceBuffer<Bfloat16> out(device, queries);
  const AttentionCall call{shape, splits, q.data(), k.data(), v.data(), partial.data(), out.data()};
  device.kernels().attention_decode(device.default_stream(), call);
  CaseOutcome outcome;
  outcome.tolerance = 2.5e-3;  // norm-wise, bfloat16 output
  // One KV head and its queries of two sequences: the reference costs as much as the cache is long.
  for (const int sequence : some_of(shape.num_sequences, 2, context.seed)) {
    const AttentionShape alone{1, group, 1, shape.head_size, shape.context};
    const std::size_t size = shape.head_size;
    const std::size_t first_query = std::size_t(sequence) * shape.num_query_heads * size;
    std::vector<Bfloat16> query, key, value;
    for (std::size_t i = 0; i < group * size; ++i) {
      query.push_back(q.number(first_query + i));
    }
    for (std::size_t i = 0; i < shape.context * size; ++i) {
      key.push_back(k.number(sequence * one_cache + i));
      value.push_back(v.number(sequence * one_cache + i));
    }
    std::vector<double> actual;
    for (const Bfloat16 number : out.download(first_query, group * size)) {
      actual.push_back(to_float(number));
    }
    outcome.max_error =
        std::max(outcome.max_error,
                 relative_error(actual, attention_reference(alone, 0, query, key, value)));
  }
  require(outcome.max_error, outcome.tolerance, "attention");
  outcome.timing = StreamTimer(device, context.timing).measure([&] {
    device.kernels().attention_decode(device.default_stream(), call);
  });
  outcome.bytes = attention_bytes(shape);
  outcome.flops = attention_flops(shape);
  return outcome;
}

}  // namespace

std::vector<Operation> layer_operations() {
  return {
      {"router_gate", "scores, groups and top-k of the router, fp32", "tokens", true, gate_cases,
       run_gate},
      {"permute_plan", "histogram and places of (token, slot) pairs by expert", "tokens", true,
       permute_cases, run_permute_plan},
      {"permute_rows", "dispatch packing: token rows in expert order, bf16", "tokens", true,
       permute_cases, run_permute_rows},
      {"combine_rows", "combine: weighted sum of a token's rows, bf16", "tokens", true,
       permute_cases, run_combine_rows},
      {"attention_decode", "one new token per sequence over its bf16 KV cache", "sequences", true,
       attention_cases, run_attention},
  };
}

}  // namespace moesim::gpu::cases
