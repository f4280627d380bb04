// SPDX-License-Identifier: Apache-2.0
#include "sim/serving/instance.h"

#include <algorithm>
#include <cmath>

#include "sim/base/error.h"

namespace moesim {

Instance::Instance(StepTimeline& timeline, std::vector<Replica> replicas, double swap_s_per_token,
                   std::int64_t prompt_wait_steps)
    : timeline_(timeline),
      epoch_end_s_(timeline.epoch(0).end_s),
      times_(&timeline.times(0)),
      replicas_(std::move(replicas)),
      plans_(replicas_.size()),
      lines_(replicas_.size()),
      swap_s_per_token_(swap_s_per_token),
      prompt_wait_steps_(prompt_wait_steps) {}

/// TensorRT-LLM's balance of attention replicas (AttentionDpConfig, LLM API reference,
/// https://nvidia.github.io/TensorRT-LLM/llm-api/reference/AttentionDpConfig.html): prompts are
/// read when every replica has some, when one has nothing else to do, or when they waited long
/// enough.
bool Instance::must_hold_prompts() const {
  if (!reads_ || replicas_.size() == 1 || waited_steps_ >= prompt_wait_steps_) {
    return false;
  }
  bool all_read = true;
  for (std::size_t rank = 0; rank < replicas_.size(); ++rank) {
    if (replicas_[rank].decoding() == 0) {
      return false;
    }
    all_read = all_read && plans_[rank].prompts > 0;
  }
  return !all_read;
}

bool Instance::start(double now) {
  MOESIM_CHECK(!is_running_, "an instance runs one run at a time");
  reads_ = false;
  bool works = false;
  double swap_tokens = 0;
  for (std::size_t rank = 0; rank < replicas_.size(); ++rank) {
    plans_[rank] = replicas_[rank].plan(now);
    works = works || !plans_[rank].is_empty();
    reads_ = reads_ || plans_[rank].prompts > 0;
    swap_tokens = std::max(swap_tokens, plans_[rank].swap_tokens);
  }
  if (!works) {
    return false;
  }
  holds_ = must_hold_prompts();
  if (holds_) {
    for (std::size_t rank = 0; rank < replicas_.size(); ++rank) {
      replicas_[rank].hold_prompts(plans_[rank]);
    }
    reads_ = false;
  }
  start_s_ = now;
  stall_s_ = now < epoch_end_s_ ? 0 : enter_epoch(now);
  swap_s_ = swap_tokens * swap_s_per_token_;
  imbalance_ = 0;
  if (reads_) {
    steps_ = 1;
    first_s_ = plan_prompt_step() + swap_s_ + stall_s_;
    growth_s_ = 0;
  } else {
    plan_decode_run();
    if (holds_) {
      steps_ = std::min(steps_, prompt_wait_steps_ - waited_steps_);
    }
    if (swap_s_ + stall_s_ > 0) {
      steps_ = 1;
      first_s_ += swap_s_ + stall_s_;
    }
  }
  end_s_ = start_s_ + run_seconds(static_cast<double>(steps_));
  is_running_ = true;
  if (end_s_ > epoch_end_s_) {
    cut(epoch_end_s_);
  }
  return true;
}

double Instance::enter_epoch(double now) {
  const std::size_t from = epoch_;
  epoch_ = timeline_.epoch_at(now);
  const StepEpoch& epoch = timeline_.epoch(epoch_);
  epoch_end_s_ = epoch.end_s;
  times_ = &timeline_.times(epoch_);
  // Weights move from the epoch's beginning, or from the end of the step that it interrupted:
  // an instance without work has them by the time it gets some.
  double stall = 0;
  for (std::size_t i = from + 1; i <= epoch_; ++i) {
    const StepEpoch& passed = timeline_.epoch(i);
    const double moved_from = std::max(passed.begin_s, end_s_);
    stall += std::clamp(moved_from + passed.stall_s - now, 0.0, passed.stall_s);
  }
  return stall;
}

double Instance::plan_prompt_step() {
  if (replicas_.size() == 1) {
    return times_
        ->mixed(StepShape::of(replicas_[0].decoding(), replicas_[0].mean_context(), plans_[0]))
        .total();
  }
  const double ranks = static_cast<double>(replicas_.size());
  double decoding = 0;  // of the mean replica
  double contexts = 0;
  double slowest = 0;
  double sum = 0;
  double working = 0;
  for (std::size_t rank = 0; rank < replicas_.size(); ++rank) {
    const Replica& replica = replicas_[rank];
    const StepPlan& plan = plans_[rank];
    if (plan.is_empty()) {
      continue;
    }
    const StepShape shape = StepShape::of(replica.decoding(), replica.mean_context(), plan);
    const double own =
        plan.prompts > 0
            ? times_->mixed(shape).own
            : times_->decode_own(shape.decoding, shape.context, shape.decoding).seconds;
    slowest = std::max(slowest, own);
    sum += own;
    working += 1;
    decoding += shape.decoding / ranks;
    contexts += shape.decoding / ranks * shape.context;
  }
  imbalance_ = sum > 0 ? slowest * working / sum - 1 : 0;
  const StepShape mean = mean_shape(decoding, decoding > 0 ? contexts / decoding : 0);
  return slowest + times_->mixed(mean).common;
}

void Instance::plan_decode_run() {
  const double tau = times_->speculation().tokens_per_step;
  std::int64_t most = std::int64_t{1} << 50;
  double longest = 0;
  double total = 0;
  double contexts = 0;
  for (const Replica& replica : replicas_) {
    if (replica.decoding() > 0) {
      most = std::min(
          {most, replica.steps_to_finish(), std::max<std::int64_t>(1, replica.steps_with_room())});
      longest = std::max(longest, replica.decoding());
      total += replica.decoding();
      contexts += replica.decoding() * replica.mean_context();
    }
  }
  const auto steps_to = [tau](double from, double to) {
    return static_cast<std::int64_t>(std::min(1e15, std::floor((to - from) / tau))) + 1;
  };
  if (replicas_.size() == 1) {
    const double context = replicas_[0].mean_context();
    const DecodeLine line = times_->decode(longest, context);
    steps_ = std::min(most, steps_to(context, line.valid_to));
    first_s_ = line.seconds;
    growth_s_ = line.per_token * tau;
    return;
  }
  // The slowest rank now; another one may overtake it.
  std::size_t top = 0;
  double sum = 0;
  double working = 0;
  double top_valid = 0;
  bool found = false;
  for (std::size_t rank = 0; rank < replicas_.size(); ++rank) {
    const Replica& replica = replicas_[rank];
    if (replica.decoding() == 0) {
      lines_[rank] = {0, 0};
      continue;
    }
    const DecodeLine line = times_->decode_own(replica.decoding(), replica.mean_context(), longest);
    lines_[rank] = {line.seconds, line.per_token * tau};
    sum += line.seconds;
    working += 1;
    if (!found || line.seconds > lines_[top].seconds ||
        (line.seconds == lines_[top].seconds && lines_[rank].growth > lines_[top].growth)) {
      top = rank;
      top_valid = static_cast<double>(steps_to(replica.mean_context(), line.valid_to));
      found = true;
    }
  }
  const double ranks = static_cast<double>(replicas_.size());
  const double mean_context = contexts / total;
  const DecodeLine common = times_->decode_common(total / ranks, mean_context);
  double steps = std::min({static_cast<double>(most), top_valid,
                           static_cast<double>(steps_to(mean_context, common.valid_to))});
  for (const RankLine& line : lines_) {
    if (line.growth > lines_[top].growth) {
      steps = std::min(steps, std::ceil((lines_[top].seconds - line.seconds) /
                                        (line.growth - lines_[top].growth)));
    }
  }
  steps_ = std::max<std::int64_t>(1, static_cast<std::int64_t>(steps));
  first_s_ = lines_[top].seconds + common.seconds;
  growth_s_ = lines_[top].growth + common.per_token * tau;
  imbalance_ = sum > 0 ? lines_[top].seconds * working / sum - 1 : 0;
}

bool Instance::cut(double now) {
  if (!is_running_ || steps_ <= 1) {
    return false;
  }
  // Smallest k with run_seconds(k) >= elapsed.
  const double elapsed = now - start_s_;
  double steps = elapsed / first_s_;
  if (growth_s_ > 0) {
    const double half = first_s_ - growth_s_ / 2;
    steps = (std::sqrt(half * half + 2 * growth_s_ * elapsed) - half) / growth_s_;
  }
  const auto wanted = std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil(steps - 1e-9)));
  if (wanted >= steps_) {
    return false;
  }
  steps_ = wanted;
  end_s_ = std::max(now, start_s_ + run_seconds(static_cast<double>(steps_)));
  return true;
}

StepShape Instance::mean_shape(double decoding, double context) const {
  const double ranks = static_cast<double>(replicas_.size());
  StepShape mean;
  mean.decoding = decoding;
  mean.context = context;
  double pairs = 0;
  for (const StepPlan& plan : plans_) {
    mean.prompts += plan.prompts / ranks;
    mean.prompt_tokens += plan.prompt_tokens / ranks;
    pairs += plan.pair_sum / ranks;
  }
  if (reads_) {
    mean.prompts = std::max(1.0, mean.prompts);
    mean.cached_tokens =
        std::max(0.0, pairs / mean.prompt_tokens - mean.prompt_tokens / mean.prompts / 2);
  }
  return mean;
}

void Instance::count_swaps(double decoding, double context, PoolTotals& totals,
                           SeriesRecorder& series) {
  const SwapCost one =
      times_->swaps(mean_shape(decoding / static_cast<double>(replicas_.size()), context));
  const double steps = static_cast<double>(steps_);
  const auto add = [&](double& total, SeriesRecorder::Quantity quantity, double amount) {
    total += amount * steps;
    series.add(quantity, start_s_, end_s_, amount * steps);
  };
  add(totals.expert_lookups, SeriesRecorder::expert_lookups, one.lookups);
  add(totals.expert_hits, SeriesRecorder::expert_hits, one.hits);
  add(totals.expert_bytes, SeriesRecorder::expert_bytes, one.bytes);
  add(totals.expert_stall_s, SeriesRecorder::expert_stall, one.stall_s);
}

void Instance::finish(StepEvents& events, PoolTotals& totals, ServingRecord& record) {
  is_running_ = false;
  waited_steps_ = holds_ ? waited_steps_ + steps_ : 0;
  const double seconds = end_s_ - start_s_;
  const double steps = static_cast<double>(steps_);
  const double tau = times_->speculation().tokens_per_step;
  double decoding = 0;
  double contexts = 0;
  double running = 0;
  double waiting = 0;
  double cache = 0;  // in the middle of the run
  double grown = 0;
  double room = 0;
  double prompt_tokens = 0;
  for (std::size_t rank = 0; rank < replicas_.size(); ++rank) {
    Replica& replica = replicas_[rank];
    const StepPlan& plan = plans_[rank];
    if (plan.decodes) {
      decoding += replica.decoding();
      contexts += replica.decoding() * (replica.mean_context() + tau * (steps - 1) / 2);
    }
    running += replica.running();
    waiting += replica.waiting();
    const double grows = plan.decodes ? replica.decoding() * tau * steps : 0;
    cache += replica.used_tokens() + grows / 2;
    grown += grows / 2;
    room += replica.cache_tokens();
    prompt_tokens += plan.prompt_tokens;
    replica.complete(plan, steps_, events);
  }
  const double last_s = first_s_ + growth_s_ * (steps - 1);
  if (decoding > 0) {
    record.step_s.add(first_s_, last_s, decoding * steps);
  }
  totals.busy_s += seconds;
  totals.steps += steps;
  totals.swap_s += swap_s_;
  totals.moving_s += stall_s_;
  if (reads_) {
    totals.prompt_steps += 1;
    totals.prompt_s += seconds;
  }
  totals.output_tokens += decoding * steps * tau;
  totals.prompt_tokens += prompt_tokens;
  totals.decoding_integral += decoding * seconds;
  totals.context_integral += contexts * seconds;
  totals.running_integral += running * seconds;
  totals.waiting_integral += waiting * seconds;
  totals.cache_integral += cache * seconds;
  totals.peak_cache_fraction = std::max(totals.peak_cache_fraction, (cache + grown) / room);
  totals.imbalance_integral += imbalance_ * seconds;
  SeriesRecorder& series = record.series;
  if (times_->expert_swap() != nullptr) {
    count_swaps(decoding, decoding > 0 ? contexts / decoding : 0, totals, series);
  }
  series.add(SeriesRecorder::running, start_s_, end_s_, running * seconds);
  series.add(SeriesRecorder::waiting, start_s_, end_s_, waiting * seconds);
  series.add(SeriesRecorder::cache_tokens, start_s_, end_s_, cache * seconds);
  series.add(SeriesRecorder::busy, start_s_, end_s_, seconds);
  if (decoding > 0) {
    series.add(SeriesRecorder::decoding, start_s_, end_s_, decoding * seconds);
    series.add(SeriesRecorder::output_tokens, start_s_, end_s_, decoding * steps * tau);
  }
  if (prompt_tokens > 0) {
    series.add(SeriesRecorder::prompt_tokens, start_s_, end_s_, prompt_tokens);
  }
}

}  // namespace moesim
