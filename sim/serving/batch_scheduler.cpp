// SPDX-License-Identifier: Apache-2.0
#include "sim/serving/batch_scheduler.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace moesim {
namespace {

constexpr std::int64_t kForEver = std::numeric_limits<std::int64_t>::max() / 4;

}  // namespace

Replica::Replica(const EngineRules& rules, double cache_tokens, const Speculation& speculation,
                 const PrefixSource& prefixes, RandomStream luck,
                 std::vector<RequestState>& requests, bool only_reads)
    : rules_(rules),
      cache_tokens_(cache_tokens),
      speculation_(speculation),
      requests_(requests),
      only_reads_(only_reads),
      luck_(luck) {
  if (prefixes.is_used()) {
    prefixes_.emplace(prefixes);
  }
}

void Replica::reserve_read(RequestId id) {
  ++arriving_;
  arriving_tokens_ += static_cast<double>(requests_[id].prompt + requests_[id].generated);
}

double Replica::mean_context() const {
  if (decoding_ == 0) {
    return 0;
  }
  return context_base_ / static_cast<double>(decoding_) +
         speculation_.tokens_per_step * static_cast<double>(steps_);
}

double Replica::used_tokens() const {
  const double sequences =
      static_cast<double>(decoding_ + held_) + static_cast<double>(reading_.size());
  const double contexts = context_base_ + static_cast<double>(decoding_) *
                                              speculation_.tokens_per_step *
                                              static_cast<double>(steps_);
  return contexts + reading_tokens_ + held_tokens_ - shared_tokens_ +
         (prefixes_ ? prefixes_->referenced_tokens() : 0.0) +
         sequences * (rules_.block_tokens - 1) / 2;
}

bool Replica::could_serve(double prompt, double output) const {
  const bool fits_step = rules_.chunks || prompt <= rules_.token_budget;
  const double end = only_reads_ ? prompt : prompt + output + speculation_.drafts;
  return fits_step && end + rules_.block_tokens <= cache_tokens_;
}

bool Replica::has_room_for(RequestId id, double context, double output) {
  const bool is_empty = decoding_ + held_ == 0 && reading_.empty();
  const RequestState& request = requests_[id];
  double need = context + (rules_.block_tokens - 1) / 2;
  if (prefixes_) {
    need -= prefixes_->leading_hit(request.trace_row, request.prefix_group,
                                   static_cast<double>(request.prompt));
  }
  double limit = cache_tokens_;
  if (!is_empty) {
    limit -= rules_.watermark_fraction * cache_tokens_;
    const double current = context_base_ + static_cast<double>(decoding_) *
                                               speculation_.tokens_per_step *
                                               static_cast<double>(steps_);
    need +=
        rules_.output_reserve * (std::max(0.0, output_end_ - current) + reading_output_ + output);
  }
  return used_tokens() + need <= limit;
}

bool Replica::has_room_for_read(RequestId id) {
  const RequestState& request = requests_[id];
  const double context = static_cast<double>(request.prompt + request.generated);
  return running() + static_cast<double>(arriving_) < rules_.max_sequences &&
         has_room_for(id, context + arriving_tokens_,
                      static_cast<double>(request.output - request.generated));
}

void Replica::give_chunk(Reading& reading, double& budget, StepPlan& plan) const {
  const double rest = reading.target - reading.done;
  reading.chunk = rules_.chunks ? std::min(rest, budget) : rest <= budget ? rest : 0.0;
  if (reading.chunk <= 0) {
    reading.chunk = 0;
    return;
  }
  budget -= reading.chunk;
  plan.prompts += 1;
  plan.prompt_tokens += reading.chunk;
  plan.pair_sum += reading.chunk * (reading.done + reading.chunk / 2);
}

void Replica::admit(RequestId id, double now, StepPlan& plan) {
  RequestState& request = requests_[id];
  if (request.admitted_s < 0) {
    request.admitted_s = now;
  }
  const double context = static_cast<double>(request.prompt + request.generated);
  double hit = 0;
  if (prefixes_) {
    hit = prefixes_->acquire(id, request.trace_row, request.prefix_group,
                             static_cast<double>(request.prompt));
    shared_tokens_ += prefixes_->held_by(id);
    if (request.generated == 0) {
      request.cached = static_cast<std::int32_t>(hit);
    }
  }
  ++admissions_;
  if (request.swapped) {
    request.swapped = false;
    plan.swap_tokens += context;
    start_generating(id, context);
    return;
  }
  Reading reading;
  reading.id = id;
  reading.done = hit;
  reading.target = context;
  reading.admission = admissions_;
  reading_.push_back(reading);
  reading_tokens_ += context;
  reading_output_ += static_cast<double>(request.output - request.generated);
}

StepPlan Replica::plan(double now) {
  StepPlan plan;
  bool was_full = false;
  while (decoding_ > 0 && steps_with_room() < 1 &&
         decoding_ + static_cast<std::int64_t>(reading_.size()) > 1) {
    preempt_youngest(plan);
    was_full = true;
  }
  while (!arrived_.empty() && running() < rules_.max_sequences) {
    const RequestId id = arrived_.front();
    const double context = static_cast<double>(requests_[id].prompt + requests_[id].generated);
    if (used_tokens() + context > cache_tokens_ && running() > 0) {
      break;
    }
    arrived_.pop_front();
    arriving_tokens_ -= context;
    --arriving_;
    start_generating(id, context);
  }
  double budget = rules_.token_budget;
  if (rules_.mixes) {
    budget -= static_cast<double>(decoding_) * (1 + speculation_.drafts);
  }
  const bool may_read = rules_.mixes || rules_.prompts_first || decoding_ == 0;
  if (may_read) {
    for (Reading& reading : reading_) {
      give_chunk(reading, budget, plan);
    }
    while (!was_full && budget >= 1 && !waiting_.empty() && running() < rules_.max_sequences) {
      const RequestId id = waiting_.front();
      const RequestState& request = requests_[id];
      const double context = static_cast<double>(request.prompt + request.generated);
      if ((!rules_.chunks && context > budget && plan.prompts > 0) ||
          !has_room_for(
              id, context,
              only_reads_ ? 0.0 : static_cast<double>(request.output - request.generated))) {
        break;
      }
      waiting_.pop_front();
      const std::size_t before = reading_.size();
      admit(id, now, plan);
      if (reading_.size() > before) {
        give_chunk(reading_.back(), budget, plan);
      }
    }
  }
  if (prefixes_) {
    // Blocks that nobody uses make room for what runs.
    prefixes_->shrink_to(cache_tokens_ - used_tokens() + prefixes_->referenced_tokens());
  }
  plan.decodes = decoding_ > 0 && (rules_.mixes || plan.prompts == 0);
  return plan;
}

void Replica::hold_prompts(StepPlan& plan) {
  for (Reading& reading : reading_) {
    reading.chunk = 0;
  }
  plan.prompts = 0;
  plan.prompt_tokens = 0;
  plan.pair_sum = 0;
  plan.decodes = decoding_ > 0;
}

std::int64_t Replica::steps_to_finish() const {
  return decoding_ == 0 ? 0 : std::max<std::int64_t>(1, endings_.front().step - steps_);
}

std::int64_t Replica::steps_with_room() const {
  if (decoding_ == 0) {
    return kForEver;
  }
  const double free = cache_tokens_ - used_tokens();
  const double growth = static_cast<double>(decoding_) * speculation_.tokens_per_step;
  return free < 0 ? 0 : static_cast<std::int64_t>(std::min(free / growth, 1e15));
}

void Replica::complete(const StepPlan& plan, std::int64_t steps, StepEvents& events) {
  if (plan.decodes) {
    steps_ += steps;
    while (!endings_.empty() && endings_.front().step <= steps_) {
      const std::uint32_t slot = endings_.front().slot;
      const RequestId id = slots_[slot].id;
      stop_generating(slot);
      requests_[id].generated = requests_[id].output;
      leave(id);
      events.finished.push_back(id);
    }
  }
  if (plan.prompts == 0) {
    return;
  }
  std::size_t kept = 0;
  for (std::size_t i = 0; i < reading_.size(); ++i) {
    Reading reading = reading_[i];
    reading.done += reading.chunk;
    reading.chunk = 0;
    if (reading.done < reading.target) {
      reading_[kept++] = reading;
      continue;
    }
    RequestState& request = requests_[reading.id];
    reading_tokens_ -= reading.target;
    reading_output_ -= static_cast<double>(request.output - request.generated);
    request.generated += 1;
    events.first_tokens.push_back(reading.id);
    if (request.generated >= request.output) {
      leave(reading.id);
      events.finished.push_back(reading.id);
    } else if (only_reads_) {
      held_tokens_ += reading.target;
      ++held_;
    } else {
      start_generating(reading.id, reading.target);
    }
  }
  reading_.resize(kept);
}

void Replica::start_generating(RequestId id, double context) {
  const RequestState& request = requests_[id];
  const double remaining = static_cast<double>(request.output - request.generated);
  const double draw = speculation_.drafts > 0 ? luck_.normal() : 0.0;
  Generating sequence;
  sequence.id = id;
  sequence.first_context = context;
  sequence.last_context = context + remaining;
  sequence.first_step = steps_;
  sequence.last_step = steps_ + static_cast<std::int64_t>(speculation_.steps_for(remaining, draw));
  sequence.admission = admissions_;
  sequence.live = true;
  std::uint32_t slot = 0;
  if (free_slots_.empty()) {
    slot = static_cast<std::uint32_t>(slots_.size());
    slots_.push_back(sequence);
  } else {
    slot = free_slots_.back();
    free_slots_.pop_back();
    slots_[slot] = sequence;
  }
  ++decoding_;
  context_base_ += context - speculation_.tokens_per_step * static_cast<double>(steps_);
  output_end_ += sequence.last_context;
  endings_.push_back({sequence.last_step, slot});
  std::push_heap(endings_.begin(), endings_.end(), [](const Ending& a, const Ending& b) {
    return a.step != b.step ? a.step > b.step : a.slot > b.slot;
  });
}

void Replica::stop_generating(std::uint32_t slot) {
  Generating& sequence = slots_[slot];
  const auto later = [](const Ending& a, const Ending& b) {
    return a.step != b.step ? a.step > b.step : a.slot > b.slot;
  };
  if (endings_.front().slot == slot) {
    std::pop_heap(endings_.begin(), endings_.end(), later);
    endings_.pop_back();
  } else {  // preempted before its end: rare
    std::erase_if(endings_, [slot](const Ending& ending) { return ending.slot == slot; });
    std::make_heap(endings_.begin(), endings_.end(), later);
  }
  --decoding_;
  context_base_ -= sequence.first_context -
                   speculation_.tokens_per_step * static_cast<double>(sequence.first_step);
  output_end_ -= sequence.last_context;
  if (decoding_ == 0) {
    context_base_ = 0;  // so that rounding does not pile up
    output_end_ = 0;
  }
  sequence.live = false;
  free_slots_.push_back(slot);
}

double Replica::context_of(const Generating& sequence) const {
  return sequence.first_context +
         speculation_.tokens_per_step * static_cast<double>(steps_ - sequence.first_step);
}

void Replica::preempt_youngest(StepPlan& plan) {
  ++preemptions_;
  const Reading* reading = nullptr;
  for (const Reading& candidate : reading_) {
    if (reading == nullptr || candidate.admission > reading->admission) {
      reading = &candidate;
    }
  }
  std::uint32_t youngest = 0;
  bool found = false;
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot].live && (!found || slots_[slot].admission > slots_[youngest].admission)) {
      youngest = slot;
      found = true;
    }
  }
  if (reading != nullptr && (!found || reading->admission >= slots_[youngest].admission)) {
    const RequestId id = reading->id;
    reading_tokens_ -= reading->target;
    reading_output_ -= static_cast<double>(requests_[id].output - requests_[id].generated);
    reading_.erase(reading_.begin() + (reading - reading_.data()));
    leave(id);
    ++requests_[id].preemptions;
    waiting_.push_front(id);
    return;
  }
  const Generating sequence = slots_[youngest];
  RequestState& request = requests_[sequence.id];
  const double made = std::floor(context_of(sequence) - sequence.first_context + 0.5);
  request.generated =
      std::min(request.output - 1, request.generated + static_cast<std::int32_t>(made));
  ++request.preemptions;
  stop_generating(youngest);
  leave(sequence.id);
  if (rules_.preemption == PreemptionMode::swap) {
    request.swapped = true;
    plan.swap_tokens += static_cast<double>(request.prompt + request.generated);
  }
  waiting_.push_front(sequence.id);
}

/// Lets go of the request's prefix blocks.
void Replica::leave(RequestId id) {
  if (prefixes_) {
    shared_tokens_ -= prefixes_->held_by(id);
    prefixes_->release(id);
  }
}

void Replica::release_read(RequestId id) {
  held_tokens_ -= static_cast<double>(requests_[id].prompt);
  --held_;
  leave(id);
}

std::vector<RequestId> Replica::drop_all() {
  std::vector<RequestId> dropped;
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot].live) {
      dropped.push_back(slots_[slot].id);
    }
  }
  for (const Reading& reading : reading_) {
    dropped.push_back(reading.id);
  }
  dropped.insert(dropped.end(), arrived_.begin(), arrived_.end());
  dropped.insert(dropped.end(), waiting_.begin(), waiting_.end());
  std::sort(dropped.begin(), dropped.end());
  for (const RequestId id : dropped) {
    RequestState& request = requests_[id];
    request.generated = 0;  // what was streamed is lost with the connection
    request.first_token_s = -1;
    request.swapped = false;
  }
  slots_.clear();
  free_slots_.clear();
  endings_.clear();
  reading_.clear();
  arrived_.clear();
  waiting_.clear();
  decoding_ = 0;
  context_base_ = 0;
  output_end_ = 0;
  reading_tokens_ = 0;
  reading_output_ = 0;
  shared_tokens_ = 0;
  arriving_tokens_ = 0;
  arriving_ = 0;
  held_tokens_ = 0;
  held_ = 0;
  if (prefixes_) {
    prefixes_->clear();
  }
  return dropped;
}

}  // namespace moesim
