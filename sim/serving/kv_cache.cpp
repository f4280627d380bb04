// SPDX-License-Identifier: Apache-2.0
#include "sim/serving/kv_cache.h"

#include <algorithm>
#include <cmath>

#include "sim/serving/batch_scheduler.h"

namespace moesim {

namespace {

/// Memory that may be planned for, as each engine counts it. vLLM: a share of all. SGLang
/// (mem_fraction_static): weights and cache share it, activations and graphs live in the rest.
/// TensorRT-LLM (free_gpu_memory_fraction): the cache's share of what everything else leaves.
Bytes planned_memory(const Scenario& scenario, const MemoryBudget& memory) {
  const Bytes all = scenario.device->memory.value;
  const double share = scenario.spec.runtime.memory_utilisation;
  Bytes beside_static;  // activations, buffers, runtime
  Bytes others;         // everything but the cache
  for (const auto& [kind, bytes] : memory.kinds) {
    const bool is_dynamic =
        kind == "activations" || kind == "communication_buffers" || kind == "runtime";
    beside_static += is_dynamic ? bytes : Bytes(0);
    others += kind == "kv_cache" ? Bytes(0) : bytes;
  }
  switch (scenario.spec.serving.engine) {
    case EnginePreset::vllm:
      return all * share;
    case EnginePreset::sglang:
      return std::min(all, all * share + beside_static);
    case EnginePreset::tensorrt_llm:
      return others >= all ? all : others + (all - others) * share;
  }
  return all * share;
}

/// The largest step of its phase that the engine takes.
StepBatch largest_step(const Scenario& scenario, Phase phase, const EngineRules& rules,
                       double decode_sequences, double mean_context) {
  StepBatch batch;
  // One sequence of mean length makes the budget's cache per token that of the workload.
  batch.decode_sequences = std::max(1.0, decode_sequences);
  batch.decode_new_tokens = 1 + scenario.spec.workload.draft_tokens;
  batch.decode_context = std::max(1.0, mean_context);
  if (phase == Phase::prefill) {
    batch.prefill_sequences = 1;
    batch.prefill_new_tokens = std::max(1.0, rules.token_budget - 1);
  }
  return batch;
}

/// Experts that stay on a GPU when /offload/slots leaves it to the memory: what the largest steps
/// and the caches of `decode_sequences` sequences leave, twice their mean length so that long ones
/// fit (or /serving/kv_cache_tokens).
std::int64_t slots_beside_sequences(const Scenario& scenario, const StepTemplate& step,
                                    const EngineRules& rules, double decode_sequences,
                                    double mean_context) {
  const double tokens = scenario.spec.serving.kv_cache_tokens.value_or(
      2 * std::max(1.0, decode_sequences) * std::max(1.0, mean_context));
  double slots = static_cast<double>(step.num_moe_layers * step.experts);
  for (const Phase phase : {Phase::prefill, Phase::decode}) {
    Scenario without = scenario;
    without.spec.workload.phase = phase;
    without.spec.offload.slots = 0;
    const StepBatch batch = largest_step(
        scenario, phase, rules, phase == Phase::decode ? decode_sequences : 1, mean_context);
    const MemoryBudget memory = memory_budget(without, step, batch);
    Bytes others = memory.kv_bytes_per_sequence / batch.decode_context * tokens;
    for (const auto& [kind, bytes] : memory.kinds) {
      others += kind == "kv_cache" ? Bytes(0) : bytes;
    }
    slots = std::min(slots,
                     std::floor((planned_memory(scenario, memory) - others) / memory.expert_bytes));
  }
  return static_cast<std::int64_t>(std::max(0.0, slots));
}

}  // namespace

CacheRoom cache_room(const Scenario& scenario, const StepTemplate& step, const EngineRules& rules,
                     double decode_sequences, double mean_context) {
  // The largest prompt step sets the activations; the largest decode step the buffers of the
  // low-latency exchange. Both must fit beside the cache, so the smaller room counts.
  CacheRoom room;
  Scenario phased = scenario;
  if (scenario.spec.offload.experts != ExpertHome::gpu && !scenario.spec.offload.slots) {
    phased.spec.offload.slots =
        slots_beside_sequences(scenario, step, rules, decode_sequences, mean_context);
  }
  for (const Phase phase : {Phase::prefill, Phase::decode}) {
    phased.spec.workload.phase = phase;
    const StepBatch batch = largest_step(
        scenario, phase, rules, phase == Phase::decode ? decode_sequences : 1, mean_context);
    MemoryBudget memory = memory_budget(phased, step, batch);
    const Bytes planned = planned_memory(scenario, memory);
    if (memory.kv_bytes_per_sequence > Bytes(0)) {
      const double more =
          (planned - memory.available) / (memory.kv_bytes_per_sequence / batch.decode_context);
      memory.kv_cache_tokens = std::max(0.0, memory.kv_cache_tokens + more);
    }
    memory.available = planned;
    if (phase == Phase::prefill || memory.kv_cache_tokens < room.tokens) {
      room.tokens = memory.kv_cache_tokens;
      room.bytes_per_token = memory.kv_bytes_per_sequence / batch.decode_context;
      room.memory = std::move(memory);
    }
  }
  if (scenario.spec.serving.kv_cache_tokens) {
    room.tokens = *scenario.spec.serving.kv_cache_tokens;
  }
  room.tokens = std::floor(room.tokens / rules.block_tokens) * rules.block_tokens;
  // Show the cache as the engine allocates it: all of the room.
  Bytes others;
  for (auto& [kind, bytes] : room.memory.kinds) {
    if (kind == "kv_cache") {
      bytes = room.bytes_per_token * room.tokens;
    }
    others += bytes;
  }
  room.memory.total = others;
  return room;
}

template <class Visit>
void PrefixCache::each_block(std::uint32_t row, std::uint32_t group, double prompt,
                             Visit visit) const {
  if (source_.trace == nullptr) {
    if (source_.shared_tokens > 0) {
      visit(group, std::min(prompt, source_.shared_tokens));
    }
    return;
  }
  double left = prompt;
  for (const std::uint32_t id : source_.trace->blocks(row)) {
    const double tokens = std::min(left, static_cast<double>(kTraceBlockTokens));
    if (tokens <= 0 || !visit(id, tokens)) {
      return;
    }
    left -= tokens;
  }
}

double PrefixCache::leading_hit(std::uint32_t row, std::uint32_t group, double prompt) const {
  double hit = 0;
  each_block(row, group, prompt, [&](std::uint32_t id, double tokens) {
    const bool found = blocks_.count(id) != 0;
    hit += found ? tokens : 0;
    return found;
  });
  return std::min(hit, prompt - 1);
}

double PrefixCache::acquire(std::uint32_t request, std::uint32_t row, std::uint32_t group,
                            double prompt) {
  const double hit = leading_hit(row, group, prompt);
  Chain chain;
  each_block(row, group, prompt, [&](std::uint32_t id, double tokens) {
    auto [found, is_new] = blocks_.try_emplace(id);
    Block& block = found->second;
    if (is_new) {
      block.tokens = tokens;
      resident_ += tokens;
    }
    if (block.users == 0) {
      if (!is_new) {
        unused_.erase(block.unused);
      }
      referenced_ += block.tokens;
    }
    ++block.users;
    chain.ids.push_back(id);
    chain.tokens += block.tokens;
    return true;
  });
  held_[request] = std::move(chain);
  return hit;
}

double PrefixCache::held_by(std::uint32_t request) const {
  const auto found = held_.find(request);
  return found == held_.end() ? 0 : found->second.tokens;
}

void PrefixCache::release(std::uint32_t request) {
  const auto held = held_.find(request);
  if (held == held_.end()) {
    return;
  }
  for (const std::uint32_t id : held->second.ids) {
    Block& block = blocks_.at(id);
    if (--block.users == 0) {
      referenced_ -= block.tokens;
      block.unused = unused_.insert(unused_.end(), id);
    }
  }
  held_.erase(held);
}

void PrefixCache::shrink_to(double tokens) {
  while (resident_ > tokens && !unused_.empty()) {
    const auto found = blocks_.find(unused_.front());
    resident_ -= found->second.tokens;
    blocks_.erase(found);
    unused_.pop_front();
  }
}

void PrefixCache::clear() {
  blocks_.clear();
  unused_.clear();
  held_.clear();
  referenced_ = 0;
  resident_ = 0;
}

}  // namespace moesim
