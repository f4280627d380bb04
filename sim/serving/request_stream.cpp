// SPDX-License-Identifier: Apache-2.0
#include "sim/serving/request_stream.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

namespace moesim {
namespace {

constexpr double kPi = 3.14159265358979323846;

std::string trace_path(const Scenario& scenario) {
  const std::filesystem::path given(scenario.spec.workload.request_trace);
  if (given.is_absolute() || scenario.file.empty()) {
    return given.string();
  }
  return (std::filesystem::path(scenario.file).parent_path() / given).string();
}

double power(double base, double exponent) { return portable_exp(exponent * portable_log(base)); }

}  // namespace

double portable_gamma(double x) {
  // Lanczos approximation with g = 7, n = 9 (Godfrey's coefficients).
  static constexpr double kCoefficients[] = {
      0.99999999999980993,  676.5203681218851,     -1259.1392167224028,
      771.32342877765313,   -176.61502916214059,   12.507343278686905,
      -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7};
  if (x < 0.5) {
    return kPi / (portable_sin(kPi * x) * portable_gamma(1 - x));
  }
  x -= 1;
  double sum = kCoefficients[0];
  for (int i = 1; i < 9; ++i) {
    sum += kCoefficients[i] / (x + i);
  }
  const double t = x + 7.5;
  return std::sqrt(2 * kPi) * power(t, x + 0.5) * portable_exp(-t) * sum;
}

double portable_sin(double x) {
  double rest = x - 2 * kPi * std::floor(x / (2 * kPi));  // [0, 2 pi)
  double sign = 1;
  if (rest >= kPi) {
    rest -= kPi;
    sign = -1;
  }
  if (rest > kPi / 2) {
    rest = kPi - rest;
  }
  double term = rest;
  double sum = rest;
  for (int i = 1; i < 12; ++i) {
    term *= -rest * rest / (2.0 * i * (2.0 * i + 1));
    sum += term;
  }
  return sign * sum;
}

double weibull_shape(double cv) {
  // cv^2 + 1 = G(1 + 2/k) / G(1 + 1/k)^2 falls in k: bisect on log k.
  double low = -2.5;
  double high = 4.0;
  for (int i = 0; i < 100; ++i) {
    const double middle = (low + high) / 2;
    const double inverse = portable_exp(-middle);
    const double mean = portable_gamma(1 + inverse);
    const double ratio = portable_gamma(1 + 2 * inverse) / (mean * mean);
    (ratio > cv * cv + 1 ? low : high) = middle;
  }
  return portable_exp((low + high) / 2);
}

RequestStream::RequestStream(const Scenario& scenario)
    : workload_(scenario.spec.workload),
      process_(scenario.spec.workload.arrival_process()),
      gaps_(static_cast<std::uint64_t>(scenario.spec.seed), "serving/gaps"),
      prompts_(static_cast<std::uint64_t>(scenario.spec.seed), "serving/prompts"),
      outputs_(static_cast<std::uint64_t>(scenario.spec.seed), "serving/outputs"),
      groups_(static_cast<std::uint64_t>(scenario.spec.seed), "serving/groups") {
  if (!workload_.request_trace.empty()) {
    trace_ = std::make_shared<const RequestTrace>(
        read_request_trace(trace_path(scenario), process_ == ArrivalProcess::trace));
  }
  concurrency_ = static_cast<std::int64_t>(workload_.concurrency.value_or(0));
  if (process_ == ArrivalProcess::trace) {
    count_ = std::min<std::int64_t>(static_cast<std::int64_t>(trace_->size()),
                                    workload_.requests.value_or(INT64_MAX));
  } else if (workload_.requests) {
    count_ = *workload_.requests;
  } else if (process_ == ArrivalProcess::closed) {
    count_ = 10 * concurrency_;
  } else if (workload_.duration_s && workload_.requests_per_s) {
    count_ = INT64_MAX;
  } else {
    count_ =
        workload_.lengths == LengthLaw::trace ? static_cast<std::int64_t>(trace_->size()) : 1000;
  }
  mean_lengths();
  if (process_ == ArrivalProcess::weibull) {
    weibull_shape_ = weibull_shape(workload_.burst_cv);
    weibull_scale_ = 1 / portable_gamma(1 + 1 / weibull_shape_);
  }
  draw_arrival();
}

/// A sequence of prompt P and output O generates in O steps at a mean context P + O / 2, so over
/// all steps the context is E[P O] / E[O] + E[O^2] / (2 E[O]).
void RequestStream::mean_lengths() {
  mean_prompt_ = workload_.prompt_tokens;
  mean_output_ = workload_.output_tokens;
  double square = 1;  // E[O^2] / E[O]^2
  switch (workload_.lengths) {
    case LengthLaw::range: {
      const double ratio = workload_.length_ratio;
      mean_prompt_ *= (1 + ratio) / 2;
      mean_output_ *= (1 + ratio) / 2;
      square += (1 - ratio) * (1 - ratio) / (3 * (1 + ratio) * (1 + ratio));
      break;
    }
    case LengthLaw::lognormal:
      square += workload_.output_cv * workload_.output_cv;
      break;
    case LengthLaw::exponential:
      square = 2;
      break;
    case LengthLaw::fixed:
    case LengthLaw::trace:
      break;
  }
  mean_context_ = mean_prompt_ + mean_output_ * square / 2;
  if (workload_.lengths == LengthLaw::trace || process_ == ArrivalProcess::trace) {
    double prompt = 0;
    double output = 0;
    double mixed = 0;
    for (std::size_t i = 0; i < trace_->size(); ++i) {
      const double o = trace_->output_tokens[i];
      prompt += trace_->prompt_tokens[i];
      output += o;
      mixed += o * (trace_->prompt_tokens[i] + o / 2);
    }
    mean_prompt_ = prompt / static_cast<double>(trace_->size());
    mean_output_ = output / static_cast<double>(trace_->size());
    mean_context_ = mixed / output;
  }
}

std::optional<double> RequestStream::mean_rate() const {
  if (process_ == ArrivalProcess::trace) {
    const double span =
        (trace_->arrival_s.back() - trace_->arrival_s.front()) / workload_.trace_speed;
    return span > 0 ? std::optional<double>(static_cast<double>(trace_->size() - 1) / span)
                    : std::nullopt;
  }
  return workload_.requests_per_s;
}

void RequestStream::draw_arrival() {
  const double rate = workload_.requests_per_s.value_or(1);
  switch (process_) {
    case ArrivalProcess::automatic:
    case ArrivalProcess::closed:
    case ArrivalProcess::offline:
      return;
    case ArrivalProcess::poisson:
      arrival_ += gaps_.exponential() / rate;
      break;
    case ArrivalProcess::gamma: {
      const double square = workload_.burst_cv * workload_.burst_cv;
      arrival_ += gaps_.gamma(1 / square) * square / rate;
      break;
    }
    case ArrivalProcess::weibull:
      arrival_ +=
          power(std::max(gaps_.exponential(), 1e-300), 1 / weibull_shape_) * weibull_scale_ / rate;
      break;
    case ArrivalProcess::diurnal: {
      // Integral of the rate: t + A P / (2 pi) (1 - cos(2 pi t / P)), unit rate; inverted by
      // Newton steps inside a bracket (the rate may touch 0 when A = 1).
      unit_time_ += gaps_.exponential() / rate;
      const double swing = workload_.rate_amplitude;
      const double wave = 2 * kPi / workload_.rate_period_s;
      double low = std::max(arrival_, unit_time_ - 2 * swing / wave);
      double high = unit_time_;
      double t = std::clamp(arrival_ + 1 / rate, low, high);
      for (int i = 0; i < 60 && high - low > 1e-9; ++i) {
        const double value = t + swing / wave * (1 - portable_sin(wave * t + kPi / 2)) - unit_time_;
        (value > 0 ? high : low) = t;
        const double slope = 1 + swing * portable_sin(wave * t);
        const double newton = slope > 1e-3 ? t - value / slope : low;
        const double next = newton > low && newton < high ? newton : (low + high) / 2;
        if (std::fabs(next - t) < 1e-10) {
          break;
        }
        t = next;
      }
      arrival_ = std::max(arrival_, t);
      break;
    }
    case ArrivalProcess::trace:
      if (made_ < count_) {
        arrival_ =
            (trace_->arrival_s[static_cast<std::size_t>(made_)] - trace_->arrival_s.front()) /
            workload_.trace_speed;
      }
      break;
  }
  if (workload_.duration_s && arrival_ > *workload_.duration_s) {
    ended_ = true;
    count_ = made_;
  }
}

std::optional<double> RequestStream::next_arrival() const {
  if (is_closed_loop() || !has_more() || ended_) {
    return std::nullopt;
  }
  return arrival_;
}

std::int32_t RequestStream::draw_length(double nominal, double cv, RandomStream& random) {
  double length = nominal;
  switch (workload_.lengths) {
    case LengthLaw::fixed:
    case LengthLaw::trace:
      break;
    case LengthLaw::range: {
      const double low = std::max(1.0, std::floor(nominal * workload_.length_ratio));
      const double high = std::max(low, std::floor(nominal));
      length = low + static_cast<double>(random.below(static_cast<std::uint64_t>(high - low) + 1));
      break;
    }
    case LengthLaw::lognormal: {
      const double variance = portable_log(1 + cv * cv);
      length = nominal * portable_exp(std::sqrt(variance) * random.normal() - variance / 2);
      break;
    }
    case LengthLaw::exponential:
      length = nominal * random.exponential();
      break;
  }
  return static_cast<std::int32_t>(std::clamp(std::floor(length + 0.5), 1.0, 1e8));
}

RequestState RequestStream::next(double now) {
  RequestState request;
  request.arrival_s = now;
  const bool recorded = workload_.lengths == LengthLaw::trace || process_ == ArrivalProcess::trace;
  if (recorded) {
    const std::size_t row = static_cast<std::size_t>(made_) % trace_->size();
    request.prompt = trace_->prompt_tokens[row];
    request.output = trace_->output_tokens[row];
    request.trace_row = static_cast<std::uint32_t>(row);
  } else {
    request.prompt = draw_length(workload_.prompt_tokens, workload_.prompt_cv, prompts_);
    request.output = draw_length(workload_.output_tokens, workload_.output_cv, outputs_);
    if (workload_.shared_prefix_tokens > 0) {
      request.prefix_group = static_cast<std::uint32_t>(
          groups_.below(static_cast<std::uint64_t>(workload_.prefix_groups)));
    }
  }
  ++made_;
  draw_arrival();
  return request;
}

}  // namespace moesim
