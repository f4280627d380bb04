// SPDX-License-Identifier: Apache-2.0
#include "sim/serving/steady_state.h"

#include <algorithm>
#include <cmath>

namespace moesim {
namespace {

constexpr int kIterations = 200;  // of the fixed points below, damped by half: converged to 1e-9

/// 1 + 1/2 + ... + 1/n: the mean of the longest of n exponential times of mean 1.
double sum_of_inverses(double n) {
  double sum = 0;
  for (double i = 1; i <= n; ++i) {
    sum += 1 / i;
  }
  return sum;
}

/// How the steps of one replica look when it generates for n sequences and reads x prompts a
/// second.
struct StepMix {
  double step_s = 0;         ///< mean time in which a sequence takes a step
  double prompt_step_s = 0;  ///< of a step that reads prompts
  double chunks = 1;         ///< of a prompt
  double prompt_share = 0;   ///< of busy time
  double hold_s = 0;         ///< a prompt waits for those of the other replicas
  double most_rate = 1e300;  ///< prompts a second when every step reads all it may
};

class Solver {
 public:
  Solver(ServingPlan& plan, const RequestStream& stream, const WorkloadSpec& workload)
      : plan_(plan),
        pool_(plan.serving),
        times_(*plan.serving.times),
        workload_(workload),
        prompt_(stream.mean_prompt()),
        output_(std::max(1.0, stream.mean_output())),
        context_(stream.mean_context()),
        tau_(times_.speculation().tokens_per_step),
        replicas_(
            static_cast<double>(pool_.instances * pool_.independent * pool_.replicas_per_instance)),
        ranks_(static_cast<double>(pool_.replicas_per_instance)),
        reads_here_(!plan.prefill) {
    const double cached = std::min(workload.shared_prefix_tokens, prompt_ - 1);
    cached_ = std::max(0.0, cached);
    others_only_ = workload.concurrency.has_value();
    limit_batch();
  }

  /// Mean step of a replica alone or of ranks in step, at a batch of about n.
  double decode_s(double n) {
    const double batch = std::max(n, 1e-6);
    if (ranks_ == 1) {
      return between(batch, [&](double size) { return times_.decode(size, context_).seconds; });
    }
    return between(batch,
                   [&](double size) { return times_.decode_own(size, context_, size).seconds; }) +
           times_.decode_common(batch, context_).seconds;
  }

  /// A batch of mean n is floor(n) or one more: captured sizes make the time a staircase.
  template <class Time>
  double between(double n, Time time) {
    const double low = std::max(1.0, std::floor(n));
    const double share = n > low ? n - low : 0.0;
    return share > 0 ? (1 - share) * time(low) + share * time(low + 1) : time(low);
  }

  /// The step that a newcomer sees among a Poisson number of others, mean `others`.
  double decode_among(double others) {
    if (others > 200) {
      return decode_s(1 + others);
    }
    double sum = 0;
    double chance = portable_exp(-others);
    double total = 0;
    const int most = static_cast<int>(others + 8 * std::sqrt(others) + 8);
    for (int k = 0; k <= most; ++k) {
      sum += chance * decode_s(1 + k);
      total += chance;
      chance *= others / (k + 1);
    }
    return sum / total;
  }

  /// A step that reads `chunks` chunks of `tokens` on the busiest replica, `mean` on the mean one.
  double mixed_s(double n, double chunks, double tokens, double cached, double mean) {
    StepShape shape;
    shape.decoding = n;
    shape.context = n > 0 ? context_ : 0;
    shape.prompts = std::max(1.0, chunks);
    shape.prompt_tokens = chunks * tokens;
    shape.cached_tokens = cached;
    if (ranks_ == 1) {
      return times_.mixed(shape).total();
    }
    StepShape average = shape;
    average.prompts = std::max(1.0, mean);
    average.prompt_tokens = std::max(1.0, mean * tokens);
    return times_.mixed(shape).own + times_.mixed(average).common;
  }

  /// `n` sequences generate; in an open loop these are the one that looks and n - 1 others.
  StepMix mix(double n, double x) {
    StepMix mix;
    const double decode = others_only_ || ranks_ > 1 ? decode_s(n) : decode_among(n - 1);
    mix.step_s = decode;
    if (!reads_here_) {
      return mix;
    }
    const EngineRules& rules = *pool_.rules;
    const double verified = n * (1 + times_.speculation().drafts);
    const double room = std::max(1.0, rules.token_budget - (rules.mixes ? verified : 0.0));
    const double fresh = prompt_ - cached_;
    // The last chunk of a prompt shares its step with the first of the next.
    mix.chunks = rules.chunks ? std::max(1.0, fresh / room) : 1.0;
    const double tokens = fresh / mix.chunks;
    const double before = cached_ + (fresh - tokens) / 2;
    // Equal lengths in a closed loop end together, so their successors are read together.
    const double together =
        workload_.lengths == LengthLaw::fixed && workload_.concurrency && mix.chunks == 1
            ? std::clamp(std::floor(room / tokens), 1.0, std::max(1.0, std::floor(n + 0.5)))
            : 1.0;
    const double generating = rules.mixes ? n : 0;
    // In a closed loop a sequence never meets its own prompt.
    const double seen = others_only_ ? std::max(0.0, 1 - together / std::max(n, together)) : 1.0;
    for (int i = 0; i < 40; ++i) {
      // Prompts that begin in a step are a Poisson number of mean q (each in `together`).
      const double q = x * mix.chunks * mix.step_s / together;
      const double none = portable_exp(-q);
      double any = 1 - portable_exp(-q * ranks_);
      double per_step = (q > 1e-9 ? q / (1 - none) : 1.0) * together;
      if (rules.prompt_wait_steps > 0 && ranks_ > 1 && q > 1e-9) {
        // All ranks have a prompt after the longest of as many exponential times; what came until
        // then is read in as few steps as the budget allows.
        const double wait =
            std::min(sum_of_inverses(ranks_) / q, static_cast<double>(rules.prompt_wait_steps));
        const double most = std::max(together, std::floor(room / tokens));
        any = std::min(any, std::max(1 / (wait + 1), q * together / most));
        const double read = q * together / any;
        per_step = std::clamp(read + std::sqrt(read), together, most);
        mix.hold_s = wait / 2 * decode;
      }
      const double mean = any > 0 ? std::min(per_step, q * together / any) : 0;
      mix.prompt_step_s = mixed_s(generating, per_step, tokens, before, mean);
      double next = decode;
      if (rules.mixes) {
        next = decode + seen * any * (mix.prompt_step_s - decode);
        mix.prompt_share = any * mix.prompt_step_s / (decode + any * (mix.prompt_step_s - decode));
      } else {
        // Decode waits for the replica's own prompts; those of other ranks lengthen its steps.
        const double others = 1 - portable_exp(-q * (ranks_ - 1));
        next = decode + seen * (1 - none) * mix.prompt_step_s +
               others * std::max(0.0, mix.prompt_step_s - decode);
        mix.prompt_share = 1 - decode / next;
      }
      if (!std::isfinite(next) || next > 1e6) {
        mix.step_s = 1e6;
        return mix;
      }
      mix.step_s = (mix.step_s + next) / 2;
    }
    mix.most_rate = room / fresh / mix.step_s;
    return mix;
  }

  /// Requests a second and replica with `n` of them running all the time.
  double rate_at(double n, StepMix& mix_out, double& decoding) {
    decoding = n;
    double x = 0;
    for (int i = 0; i < kIterations; ++i) {
      mix_out = mix(decoding, x);
      const double reading = mix_out.chunks * mix_out.prompt_step_s + mix_out.hold_s;
      const double generating = (output_ - 1) * mix_out.step_s / tau_;
      const double next = std::min(mix_out.most_rate, n / std::max(1e-12, reading + generating));
      x = (x + next) / 2;
      decoding = (decoding + std::min(n, x * generating)) / 2;
    }
    return x;
  }

  void limit_batch() {
    const double waste = (pool_.rules->block_tokens - 1) / 2;
    const double held = prompt_ - cached_ + output_ / 2 + waste;
    const double reserved = pool_.rules->output_reserve * output_ / 2;
    const double by_cache = std::max(
        1.0, pool_.room.tokens * (1 - pool_.rules->watermark_fraction) / (held + reserved));
    most_ = std::min(by_cache, pool_.rules->max_sequences);
    limited_by_ = by_cache < pool_.rules->max_sequences
                      ? "the cache of a replica (" +
                            std::to_string(static_cast<std::int64_t>(pool_.room.tokens)) +
                            " tokens)"
                      : "/serving/max_sequences";
  }

  /// Largest rate of the prefill pool, whole system; 0 when there is none.
  double prefill_capacity() {
    if (!plan_.prefill) {
      return 0;
    }
    return prefill_replicas() / prefill_s();
  }
  double prefill_replicas() const {
    return static_cast<double>(plan_.prefill->instances * plan_.prefill->independent *
                               plan_.prefill->replicas_per_instance);
  }
  /// A step of the prefill pool that reads `prompts` on the busiest replica, `mean` on the mean
  /// one, and how many steps a prompt takes.
  double prefill_step_s(double prompts, double mean) {
    const double fresh = prompt_ - cached_;
    StepShape shape;
    shape.prompts = std::max(1.0, prompts);
    shape.prompt_tokens = std::max(1.0, prompts) * std::min(fresh, prefill_budget());
    shape.cached_tokens = cached_ + (fresh - std::min(fresh, prefill_budget())) / 2;
    if (plan_.prefill->replicas_per_instance == 1) {
      return plan_.prefill->times->mixed(shape).total();
    }
    StepShape average = shape;
    average.prompts = std::max(1.0, mean);
    average.prompt_tokens = std::max(1.0, mean * std::min(fresh, prefill_budget()));
    return plan_.prefill->times->mixed(shape).own + plan_.prefill->times->mixed(average).common;
  }
  double prefill_budget() const { return plan_.prefill->rules->token_budget; }
  double prefill_chunks() const { return std::max(1.0, (prompt_ - cached_) / prefill_budget()); }
  /// Seconds a prompt and replica when all steps are full.
  double prefill_s() {
    const double most = std::max(1.0, std::floor(prefill_budget() / (prompt_ - cached_)));
    return prefill_chunks() * prefill_step_s(most, most) / most;
  }
  double transfer_s() {
    return prompt_ * plan_.prefill->transfer_bytes_per_token.value() /
           std::min(plan_.prefill->transfer_rate.value(), pool_.transfer_rate.value());
  }

  ServingPlan& plan_;
  ServingPool& pool_;
  StepTimes& times_;
  const WorkloadSpec& workload_;
  double prompt_;
  double output_;
  double context_;
  double tau_;
  double replicas_;
  double ranks_;
  bool reads_here_;
  bool others_only_ = false;
  double cached_ = 0;
  double most_ = 1;
  std::string limited_by_;
};

void solve_closed(Solver& solver, double in_flight, double requests, SteadyState& state) {
  const double n_all = in_flight / solver.replicas_;
  const double n = std::min(n_all, solver.most_);
  StepMix mix;
  double decoding = 0;
  const double x = solver.rate_at(n, mix, decoding);
  const double further = solver.output_ - 1;
  const double reading = mix.chunks * mix.prompt_step_s + mix.hold_s;
  state.tpot_s = mix.step_s / solver.tau_;
  const double turn = reading + further * state.tpot_s;  // a slot's time for one request
  state.steady_requests_per_s = x * solver.replicas_;
  // Who has no slot waits for all before him: always as many in a closed loop, fewer and fewer when
  // all came at once.
  const double ahead = in_flight < requests ? n_all - n : (n_all - n) / 2;
  state.queueing_s = ahead / std::max(1e-12, x);
  // First wave: all slots ask at once and are read as fast as steps allow.
  double first_wave = 0;
  double first_step = 0;
  if (solver.reads_here_) {
    const double fresh = solver.prompt_ - solver.cached_;
    const double per_step =
        std::clamp(solver.pool_.rules->token_budget / fresh, 1.0, std::max(1.0, n));
    const double tokens = std::min(fresh, solver.pool_.rules->token_budget);
    first_step = solver.mixed_s(solver.pool_.rules->mixes ? n / 2 : 0, per_step, tokens,
                                solver.cached_, per_step);
    first_wave = first_step * std::max(1.0, n / per_step) * std::max(1.0, fresh / tokens);
  }
  const double first_share = std::min(1.0, n * solver.replicas_ / requests);
  state.ttft_s = state.queueing_s + (1 - first_share) * reading +
                 first_share * std::max(reading, (first_wave + first_step) / 2);
  // The slots start together: by renewal theory (1 - cv^2) / 2 of a turn passes before they leave
  // as in steady state. At the end they empty along the residual lengths.
  const LengthLaw law = solver.workload_.lengths;
  const bool ends_together = law == LengthLaw::fixed;
  const double cv = law == LengthLaw::lognormal     ? solver.workload_.output_cv
                    : law == LengthLaw::exponential ? 1.0
                                                    : 0.0;
  const double slots = n * solver.replicas_;
  double drain = 0;  // steps' seconds
  constexpr int kLevels = 16;
  double before = 0;
  for (int level = 1; level <= kLevels; ++level) {
    const double left = 1 - static_cast<double>(level) / kLevels;
    // Tokens until only this share of the slots is left.
    const double tokens =
        cv > 0 ? -further * (1 + cv * cv) / 2 * portable_log(std::max(left, 0.5 / slots))
               : further * (1 - left);
    drain += (tokens - before) * solver.decode_s(std::max(1.0, decoding * (left + 0.5 / kLevels)));
    before = tokens;
  }
  drain = reading + drain / solver.tau_;
  const double rounds = std::max(0.0, requests / slots - 1);
  const double stagger = rounds > 0 && !ends_together
                             ? (1 - std::min(1.0, cv * cv)) / 2 * (1 - 1 / std::max(1.0, slots))
                             : 0;
  const double makespan = (rounds + stagger) * turn +
                          (ends_together ? turn
                           : rounds > 0  ? drain
                                         : turn) +
                          std::max(0.0, first_wave - reading) / (ends_together ? 1.0 : 2.0);
  state.requests_per_s = requests / makespan;
  state.latency_s = state.ttft_s + further * state.tpot_s;
  state.decode_batch = decoding;
  state.step_s = mix.step_s;
  state.prompt_step_share = mix.prompt_share;
  state.busy = 1;
}

/// All requests at once and few enough to run together: prompts fill S steps, sequences generate
/// beside them and finish in plain decode steps.
void solve_one_wave(Solver& solver, double requests, SteadyState& state) {
  const double n = requests / solver.replicas_;
  const double further = solver.output_ - 1;
  const double fresh = solver.prompt_ - solver.cached_;
  const EngineRules& rules = *solver.pool_.rules;
  double reading = 1;  // S
  double step = 0;
  double generating = 0;
  for (int i = 0; i < kIterations; ++i) {
    const double room = std::max(1.0, rules.token_budget - (rules.mixes ? generating : 0.0));
    const double per_step = std::min(n, room / fresh);
    reading = n / per_step;
    // Mean number that generate while prompts are read: each does so for `further` steps.
    const double steps = further / solver.tau_;
    generating = !rules.mixes      ? 0.0
                 : reading > steps ? per_step * steps * (1 - steps / (2 * reading))
                                   : n / 2;
    const double chunks = std::max(1.0, per_step);
    const double tokens = std::min(fresh, room);
    step =
        solver.mixed_s(generating, chunks, tokens, solver.cached_ + (fresh - tokens) / 2, chunks);
  }
  const double steps = further / solver.tau_;
  // Share of a sequence's steps that also read prompts.
  const double beside = !rules.mixes      ? 0.0
                        : reading > steps ? 1 - steps / (2 * reading)
                                          : reading / (2 * std::max(1.0, steps));
  const double left = std::min(n, rules.mixes ? n / reading * steps : n);
  double tail = 0;  // mean decode step after the last prompt
  for (const double part : {0.125, 0.375, 0.625, 0.875}) {
    const double batch = reading > steps || rules.mixes ? left * part : left;
    tail += 0.25 * solver.decode_s(std::max(1.0, reading > steps ? batch : left));
  }
  state.step_s = beside * step + (1 - beside) * tail;
  state.tpot_s = state.step_s / solver.tau_;
  if (!rules.mixes) {
    state.tpot_s += further > 0 ? reading * step / 2 / further : 0;  // decode waits for prompts
  }
  state.ttft_s = (reading + 1) / 2 * step;
  state.queueing_s = (reading - 1) / 2 * step;
  state.latency_s = state.ttft_s + further * state.tpot_s;
  state.requests_per_s = requests / (reading * step + steps * tail);
  state.steady_requests_per_s = state.requests_per_s;
  state.decode_batch = n * further * state.tpot_s * state.requests_per_s / requests;
  state.prompt_step_share = reading * step / (reading * step + steps * tail);
  state.busy = 1;
}

/// Steady state of one Poisson rate.
void solve_open(Solver& solver, double rate, SteadyState& state) {
  const double x = rate / solver.replicas_;
  double n = 0;
  StepMix mix;
  const double further = solver.output_ - 1;
  for (int i = 0; i < kIterations; ++i) {
    mix = solver.mix(std::min(solver.most_, 1 + n), x);
    const double next = std::min(solver.most_, x * further * mix.step_s / solver.tau_);
    n = (n + next) / 2;
  }
  state.tpot_s = further > 0 ? mix.step_s / solver.tau_ : 0;
  state.step_s = mix.step_s;
  // The share of time in which a group of ranks steps: it is idle when nobody is in it.
  const double in_group = (n + x * mix.chunks * mix.prompt_step_s) * solver.ranks_;
  state.busy = 1 - portable_exp(-in_group);
  state.decode_batch = n / std::max(1e-9, state.busy);  // while it steps
  state.prompt_step_share = mix.prompt_share;
  if (solver.reads_here_) {
    // A newcomer waits for the rest of the step in progress; prompts queue behind each other.
    const double service = mix.chunks * mix.prompt_step_s;
    const double load = std::min(0.999, x * service);
    const double rest = state.busy * mix.step_s / 2;
    state.queueing_s = rest + mix.hold_s + x * service * service / (2 * (1 - load));
    state.ttft_s = state.queueing_s + service;
  } else {
    // Bulk service: what arrives during a step is read in the next one. `prompts` a replica and
    // step are as many as come in its time.
    const double per_replica = rate / solver.prefill_replicas();
    const double in_step = static_cast<double>(solver.plan_.prefill->replicas_per_instance);
    double step = solver.prefill_step_s(1, 0);
    double prompts = 0;
    for (int i = 0; i < kIterations; ++i) {
      prompts = per_replica * step / solver.prefill_chunks();
      // Balancing keeps every replica within one request of the mean.
      const double busiest = in_step > 1 ? prompts + std::min(1.0, prompts) : prompts;
      step = (step + solver.prefill_step_s(std::max(1.0, busiest), prompts)) / 2;
    }
    const double busy = 1 - portable_exp(-prompts * in_step);
    const double load = std::min(0.999, per_replica * solver.prefill_s());
    state.queueing_s = busy * step / 2 + prompts * step * load / (2 * in_step * (1 - load));
    state.ttft_s = state.queueing_s + solver.prefill_chunks() * step;
    // The cache travels and joins at the next step.
    state.tpot_s += further > 0 ? (solver.transfer_s() + mix.step_s / 2) / further : 0;
  }
  state.latency_s = state.ttft_s + further * state.tpot_s;
  state.steady_requests_per_s = rate;
}

}  // namespace

SteadyState steady_state(const Scenario& scenario, ServingPlan& plan, const RequestStream& stream) {
  Solver solver(plan, stream, scenario.spec.workload);
  SteadyState state;
  state.context = solver.context_;
  state.largest_batch = solver.most_;
  state.limited_by = solver.limited_by_;
  StepMix mix;
  double decoding = 0;
  state.capacity_per_s = solver.rate_at(solver.most_, mix, decoding) * solver.replicas_;
  if (plan.prefill && solver.prefill_capacity() < state.capacity_per_s) {
    state.capacity_per_s = solver.prefill_capacity();
    state.limited_by = "the prefill pool";
    state.prefill_limits = true;
  }
  const ArrivalProcess process = scenario.spec.workload.arrival_process();
  const double requests = static_cast<double>(std::min<std::int64_t>(stream.count(), 1LL << 52));
  if (process == ArrivalProcess::closed || process == ArrivalProcess::offline) {
    const double in_flight =
        process == ArrivalProcess::closed ? static_cast<double>(stream.concurrency()) : requests;
    const double rate = state.capacity_per_s / solver.replicas_;
    const bool is_one_wave = in_flight >= requests && solver.reads_here_;
    if (is_one_wave &&
        (requests / solver.replicas_ <= solver.most_ || rate > 0.98 * mix.most_rate)) {
      solve_one_wave(solver, requests, state);  // slots are not what limits
    } else {
      solve_closed(solver, std::min(in_flight, requests), requests, state);
    }
    return state;
  }
  const double rate = stream.mean_rate().value_or(1);
  state.is_stable = rate < state.capacity_per_s;
  if (process != ArrivalProcess::diurnal) {
    solve_open(solver, std::min(rate, 0.999 * state.capacity_per_s), state);
  } else {
    // Quasi-stationary: every phase of the wave as if it lasted, weighted by its requests.
    constexpr int kPhases = 16;
    SteadyState mean = state;
    double weights = 0;
    for (int i = 0; i < kPhases; ++i) {
      const double swing = 1 + scenario.spec.workload.rate_amplitude *
                                   portable_sin(6.283185307179586 * (i + 0.5) / kPhases);
      SteadyState phase = state;
      solve_open(solver, std::min(rate * swing, 0.999 * state.capacity_per_s), phase);
      weights += swing;
      mean.ttft_s += swing * phase.ttft_s;
      mean.queueing_s += swing * phase.queueing_s;
      mean.tpot_s += swing * phase.tpot_s;
      mean.latency_s += swing * phase.latency_s;
      mean.step_s += swing * phase.step_s;
      mean.decode_batch += phase.decode_batch;
      mean.prompt_step_share += phase.prompt_step_share;
      mean.busy += phase.busy;
    }
    for (double* value :
         {&mean.ttft_s, &mean.queueing_s, &mean.tpot_s, &mean.latency_s, &mean.step_s}) {
      *value /= weights;
    }
    mean.decode_batch /= kPhases;
    mean.prompt_step_share /= kPhases;
    mean.busy /= kPhases;
    state = mean;
  }
  // Arrivals end, the last request still takes its time.
  const double arrivals_s = requests / rate;
  state.requests_per_s = requests / (arrivals_s + state.latency_s);
  state.steady_requests_per_s = rate;
  return state;
}

}  // namespace moesim
