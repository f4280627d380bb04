// SPDX-License-Identifier: Apache-2.0
#include "sim/study/serving_calibration.h"

#include <tbb/parallel_for.h>
#include <algorithm>
#include <array>
#include <cmath>

#include "sim/run/simulate.h"

namespace moesim {
namespace {

constexpr std::size_t kNumbers = 4;
using Numbers =
    std::array<double, kNumbers>;  // log memory, log arithmetic, step ms, request 100 ms

constexpr double kStepUnit = 1e-3;
constexpr double kRequestUnit = 0.1;
// Prior half-widths in the units above: a factor 1.35 of the machine, 1.5 ms a step, 100 ms a
// request. Estimates: wider than any difference between two software stacks of one machine in the
// kernel tables, narrow enough to keep a set sane that two rows are fitted to.
constexpr Numbers kPrior = {0.3, 0.3, 1.5, 1.0};
// TTFT is noisier than TPOT: 20% against 3% between runs of the same software.
constexpr double kTtftWeight = 0.3;
constexpr int kRounds = 8;
// Ever shorter steps before a round gives up: the last ones are a thousandth of the first.
constexpr int kAttempts = 6;

EfficiencySet set_of(const Numbers& x) {
  return {std::exp(std::clamp(x[0], -0.7, 0.7)), std::exp(std::clamp(x[1], -1.4, 1.4)),
          x[2] * kStepUnit, std::max(0.0, x[3]) * kRequestUnit};
}

/// Every peak rate of the device times `factor`.
void scale_peaks(PeakFlops& peak, double factor) {
  for (std::optional<Sourced<FlopsPerSecond>>* rate :
       {&peak.fp64, &peak.fp32, &peak.tf32, &peak.bf16, &peak.fp16, &peak.fp8, &peak.int8,
        &peak.fp6, &peak.fp4, &peak.int4}) {
    if (*rate) {
      (*rate)->value = (*rate)->value * factor;
    }
  }
}

// Scatter of measured TPOTs about any such model: sets how much the prior weighs. As large as the
// model's own errors before calibration (docs/serving_validation.md: medians of 6 to 17%): four
// numbers do not take away how its curve over the load bends, and bent to fit its ends it misses
// between them.
constexpr double kScatter = 0.10;
// 80% of a normal error.
constexpr double kEighty = 1.2816;

// Beyond this error a row pulls no harder: what it says is not about efficiency.
constexpr double kHuber = 0.1;

/// log(measured / predicted), made linear in the loss beyond kHuber.
double log_ratio(double measured, const std::optional<PredictedValue>& predicted) {
  // A step that is fitted to nothing or less is as wrong as can be.
  const double error = std::log(measured / std::max(predicted->value, 1e-6));
  const double scaled = error / kHuber;
  return std::copysign(kHuber * std::sqrt(2 * (std::sqrt(1 + scaled * scaled) - 1)), error);
}

/// Residuals of every case, TPOT and weighted TTFT; a case that fails counts nothing.
std::vector<double> residuals(std::span<const ServingCase* const> cases, const Numbers& x,
                              const CardLibrary& cards) {
  std::vector<std::array<double, 2>> each(cases.size());
  tbb::parallel_for(std::size_t{0}, cases.size(), [&](std::size_t i) {
    const ServingCase& item = *cases[i];
    const ServingPrediction predicted = predict_serving(item.spec, set_of(x), cards, item.row.id);
    if (item.row.tpot_s && predicted.tpot_s) {
      each[i][0] = log_ratio(*item.row.tpot_s, predicted.tpot_s);
    }
    if (item.row.ttft_s && item.ttft_left_out.empty() && predicted.ttft_s) {
      each[i][1] = kTtftWeight * log_ratio(*item.row.ttft_s, predicted.ttft_s);
    }
    if (!item.row.tpot_s && item.output_rate && predicted.output_rate) {
      each[i][0] = -log_ratio(*item.output_rate, predicted.output_rate);
    }
  });
  std::vector<double> all;
  for (const auto& pair : each) {
    all.insert(all.end(), pair.begin(), pair.end());
  }
  return all;
}

double loss(const std::vector<double>& residual, const Numbers& x) {
  double sum = 0;
  for (const double value : residual) {
    sum += value * value;
  }
  for (std::size_t k = 0; k < kNumbers; ++k) {
    sum += kScatter * kScatter * (x[k] / kPrior[k]) * (x[k] / kPrior[k]);
  }
  return sum;
}

/// Solves A d = b by elimination with pivoting; A is positive definite here.
Numbers solve(std::array<Numbers, kNumbers> a, Numbers b) {
  for (std::size_t k = 0; k < kNumbers; ++k) {
    std::size_t best = k;
    for (std::size_t i = k + 1; i < kNumbers; ++i) {
      best = std::fabs(a[i][k]) > std::fabs(a[best][k]) ? i : best;
    }
    std::swap(a[k], a[best]);
    std::swap(b[k], b[best]);
    for (std::size_t i = k + 1; i < kNumbers; ++i) {
      const double factor = a[i][k] / a[k][k];
      for (std::size_t j = k; j < kNumbers; ++j) {
        a[i][j] -= factor * a[k][j];
      }
      b[i] -= factor * b[k];
    }
  }
  Numbers x{};
  for (std::size_t k = kNumbers; k-- > 0;) {
    double sum = b[k];
    for (std::size_t j = k + 1; j < kNumbers; ++j) {
      sum -= a[k][j] * x[j];
    }
    x[k] = sum / a[k][k];
  }
  return x;
}

}  // namespace

ServingPrediction predict_serving(const ScenarioSpec& spec, const EfficiencySet& efficiency,
                                  const CardLibrary& cards, const std::string& name) {
  Scenario scenario = resolve(spec, cards, name);
  auto device = std::make_shared<DeviceProfile>(*scenario.device);
  device->memory_bandwidth.value = device->memory_bandwidth.value * efficiency.memory;
  scale_peaks(device->peak, efficiency.arithmetic);
  scenario.device = std::move(device);
  scenario.spec.runtime.host_overhead_s += efficiency.step_s;
  ServingPrediction prediction =
      prediction_of(simulate(scenario, {.what_ifs = false, .threads = 1}));
  if (prediction.ttft_s && prediction.tpot_s && prediction.output_rate &&
      efficiency.request_s > 0) {
    // A slot of the closed loop turns out a request per latency: later first tokens, fewer
    // requests.
    const WorkloadSpec& workload = spec.workload;
    const double output =
        workload.output_tokens *
        (workload.lengths == LengthLaw::range ? (1 + workload.length_ratio) / 2 : 1);
    const double latency = prediction.ttft_s->value + prediction.tpot_s->value * (output - 1);
    prediction.ttft_s->value += efficiency.request_s;
    if (workload.concurrency) {
      prediction.output_rate->value *= latency / (latency + efficiency.request_s);
    }
  }
  return prediction;
}

namespace {

Numbers fit_numbers(std::span<const ServingCase* const> cases, const CardLibrary& cards) {
  Numbers x{};
  std::vector<double> residual = residuals(cases, x, cards);
  double best = loss(residual, x);
  double damping = 1e-3;  // a share of each number's own curvature (Marquardt)
  for (int round = 0; round < kRounds; ++round) {
    std::array<std::vector<double>, kNumbers> slope;
    for (std::size_t k = 0; k < kNumbers; ++k) {
      constexpr double kStep = 0.05;
      Numbers moved = x;
      moved[k] += kStep;
      slope[k] = residuals(cases, moved, cards);
      for (std::size_t i = 0; i < residual.size(); ++i) {
        slope[k][i] = (slope[k][i] - residual[i]) / kStep;
      }
    }
    bool improved = false;
    for (int attempt = 0; attempt < kAttempts && !improved; ++attempt) {
      std::array<Numbers, kNumbers> a{};
      Numbers b{};
      for (std::size_t k = 0; k < kNumbers; ++k) {
        for (std::size_t i = 0; i < residual.size(); ++i) {
          b[k] -= slope[k][i] * residual[i];
          for (std::size_t j = 0; j < kNumbers; ++j) {
            a[k][j] += slope[k][i] * slope[j][i];
          }
        }
        const double prior = kScatter * kScatter / (kPrior[k] * kPrior[k]);
        a[k][k] += prior + damping * a[k][k];
        b[k] -= prior * x[k];
      }
      const Numbers step = solve(a, b);
      Numbers next = x;
      for (std::size_t k = 0; k < kNumbers; ++k) {
        next[k] += step[k];
      }
      const std::vector<double> after = residuals(cases, next, cards);
      const double now = loss(after, next);
      if (now < best) {
        improved = true;
        x = next;
        residual = after;
        damping *= 0.3;
        const bool is_done = best - now < 1e-4 * best;
        best = now;
        if (is_done) {
          return x;
        }
      } else {
        damping = std::max(damping * 10, 1e-2);  // queues make the loss rough: shorter steps
      }
    }
    if (!improved) {
      break;
    }
  }
  return x;
}

/// d log(TPOT), kTtftWeight * d log(TTFT) of a scenario by each number.
std::array<Numbers, 2> slopes_of(const ScenarioSpec& spec, const Numbers& x,
                                 const CardLibrary& cards) {
  constexpr double kStep = 0.05;
  std::array<Numbers, 2> slopes{};
  const ServingPrediction base = predict_serving(spec, set_of(x), cards, "a candidate");
  for (std::size_t k = 0; k < kNumbers; ++k) {
    Numbers moved = x;
    moved[k] += kStep;
    const ServingPrediction there = predict_serving(spec, set_of(moved), cards, "a candidate");
    if (base.tpot_s && there.tpot_s) {
      slopes[0][k] = std::log(there.tpot_s->value / base.tpot_s->value) / kStep;
    }
    if (base.ttft_s && there.ttft_s) {
      slopes[1][k] = kTtftWeight * std::log(there.ttft_s->value / base.ttft_s->value) / kStep;
    }
  }
  return slopes;
}

/// Adds what one load tells to the precision matrix (units of 1 / kScatter^2).
void add_information(std::array<Numbers, kNumbers>& precision,
                     const std::array<Numbers, 2>& slopes) {
  for (const Numbers& slope : slopes) {
    for (std::size_t k = 0; k < kNumbers; ++k) {
      for (std::size_t j = 0; j < kNumbers; ++j) {
        precision[k][j] += slope[k] * slope[j];
      }
    }
  }
}

/// Determinant of a positive definite matrix, in log2, by elimination.
double log2_determinant(std::array<Numbers, kNumbers> a) {
  double sum = 0;
  for (std::size_t k = 0; k < kNumbers; ++k) {
    sum += std::log2(a[k][k]);
    for (std::size_t i = k + 1; i < kNumbers; ++i) {
      const double factor = a[i][k] / a[k][k];
      for (std::size_t j = k; j < kNumbers; ++j) {
        a[i][j] -= factor * a[k][j];
      }
    }
  }
  return sum;
}

}  // namespace

EfficiencySet fit_efficiency(std::span<const ServingCase* const> cases, const CardLibrary& cards) {
  return set_of(fit_numbers(cases, cards));
}

EfficiencyFit explain_efficiency(std::span<const ServingCase* const> cases,
                                 std::span<const ScenarioSpec> candidates,
                                 const CardLibrary& cards) {
  const Numbers x = fit_numbers(cases, cards);
  std::array<Numbers, kNumbers> precision{};
  for (std::size_t k = 0; k < kNumbers; ++k) {
    precision[k][k] = kScatter * kScatter / (kPrior[k] * kPrior[k]);
  }
  for (const ServingCase* item : cases) {
    std::array<Numbers, 2> slopes = slopes_of(item->spec, x, cards);
    if (!item->row.tpot_s && !item->output_rate) {
      slopes[0] = {};
    }
    if (!item->row.ttft_s || !item->ttft_left_out.empty()) {
      slopes[1] = {};
    }
    add_information(precision, slopes);
  }
  EfficiencyFit fit;
  fit.set = set_of(x);
  const std::array<const char*, kNumbers> names = {"memory", "arithmetic", "step_s", "request_s"};
  for (std::size_t k = 0; k < kNumbers; ++k) {
    Numbers unit{};
    unit[k] = 1;
    const double variance = kScatter * kScatter * solve(precision, unit)[k];
    const double width = kEighty * std::sqrt(variance);
    Numbers low = x;
    Numbers high = x;
    low[k] -= width;
    high[k] += width;
    const auto value_of = [k](const EfficiencySet& set) {
      return k == 0 ? set.memory : k == 1 ? set.arithmetic : k == 2 ? set.step_s : set.request_s;
    };
    fit.numbers.push_back({names[k], value_of(fit.set), value_of(set_of(low)),
                           value_of(set_of(high)), 1 - variance / (kPrior[k] * kPrior[k])});
  }
  const double known = log2_determinant(precision);
  fit.next.resize(candidates.size());
  tbb::parallel_for(std::size_t{0}, candidates.size(), [&](std::size_t i) {
    std::array<Numbers, kNumbers> more = precision;
    add_information(more, slopes_of(candidates[i], x, cards));
    fit.next[i] = {candidates[i].workload.concurrency.value_or(0),
                   candidates[i].workload.prompt_tokens, (log2_determinant(more) - known) / 2};
  });
  std::stable_sort(
      fit.next.begin(), fit.next.end(),
      [](const NextMeasurement& a, const NextMeasurement& b) { return a.bits > b.bits; });
  return fit;
}

}  // namespace moesim
