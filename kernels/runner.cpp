// SPDX-License-Identifier: Apache-2.0
#include "kernels/runner.h"

#include <cstdio>

namespace moesim::gpu {
namespace {

/// "12.3 us" and the like, for progress lines.
std::string time_text(double seconds) {
  const char* unit = seconds < 1e-3 ? "us" : seconds < 1 ? "ms" : "s";
  const double scaled = seconds * (seconds < 1e-3 ? 1e6 : seconds < 1 ? 1e3 : 1.0);
  char text[48];
  std::snprintf(text, sizeof text, "%.4g %s", scaled, unit);
  return text;
}

std::string result_text(const Sample& sample, bool is_quiet) {
  const double middle = median(sample.seconds);
  std::string text = time_text(middle);
  char rate[96];
  if (sample.flops.value() > 0) {
    std::snprintf(rate, sizeof rate, ", %.4g TFLOP/s", sample.flops.value() / middle * 1e-12);
    text += rate;
  }
  if (sample.bytes.value() > 0) {
    std::snprintf(rate, sizeof rate, ", %.4g GB/s", sample.bytes.value() / middle * 1e-9);
    text += rate;
  }
  std::snprintf(rate, sizeof rate, " (%zu samples%s)", sample.seconds.size(),
                is_quiet ? "" : ", still noisy");
  return text + rate;
}

/// Halves the param that decides the size; false when it cannot get smaller.
bool shrink(const Operation& operation, Json& params) {
  Json* value = params.find(operation.shrinks);
  if (value == nullptr || value->as_integer() < 2) {
    return false;
  }
  params.set(operation.shrinks, value->as_integer() / 2);
  return true;
}

}  // namespace

std::vector<Case> suite_cases(const DeviceInfo& info, SuiteSize size, const std::string& filter) {
  std::vector<Case> list;
  for (const Operation& operation : operations()) {
    for (const Json& params : operation.cases(info, size)) {
      const std::string text = std::string(operation.name) + " " + params.dump(-1);
      if (text.find(filter) == std::string::npos) {
        continue;
      }
      list.push_back({&operation, params, false});
      if (size == SuiteSize::full && operation.has_cold) {
        list.push_back({&operation, params, true});
      }
    }
  }
  return list;
}

Case named_case(const std::string& op, const Json& params, bool is_cold) {
  std::string allowed;
  std::vector<std::string> names;
  for (const Operation& operation : operations()) {
    if (operation.name == op) {
      return {&operation, params, is_cold};
    }
    names.emplace_back(operation.name);
    allowed += (allowed.empty() ? "allowed: " : ", ") + names.back();
  }
  const std::string near = nearest_word(op, names);
  throw InputError(
      "", "",
      "unknown operation \"" + op + "\"" + (near.empty() ? "" : "; did you mean \"" + near + "\"?"),
      allowed);
}

RunSummary run_cases(Device& device, const std::vector<Case>& cases, const RunOptions& options) {
  RunSummary summary;
  const std::string backend = device.info().backend;
  int number = 0;
  for (const Case& c : cases) {
    ++number;
    const std::string title = "[" + std::to_string(number) + "/" + std::to_string(cases.size()) +
                              "] " + std::string(c.operation->name) + " " + c.params.dump(-1) +
                              (c.is_cold ? " cold" : "");
    if (options.done.count(c.key(backend)) != 0) {
      ++summary.resumed;
      continue;
    }
    Sample sample;
    sample.op = c.operation->name;
    sample.params = c.params;
    sample.backend = backend;
    sample.is_cold = c.is_cold;
    sample.command = options.command;
    while (true) {
      try {
        CaseContext context{device, options.timing};
        context.timing.is_cold = c.is_cold;
        const DeviceState before = device.state();
        CaseOutcome outcome = c.operation->run(context, sample.params);
        sample.device = device_json(device.info(), before, device.state());
        sample.seconds = std::move(outcome.timing.seconds);
        sample.repeats = outcome.timing.repeats;
        sample.bytes = outcome.bytes;
        sample.flops = outcome.flops;
        sample.verified_max_error = outcome.max_error;
        sample.verified_tolerance = outcome.tolerance;
        options.keep(sample);
        options.progress(title + ": " + result_text(sample, outcome.timing.is_quiet));
        ++summary.measured;
      } catch (const OutOfDeviceMemory& error) {
        if (sample.shrunk_from.is_null()) {
          sample.shrunk_from = c.params;
        }
        if (shrink(*c.operation, sample.params)) {
          options.progress(title + ": out of memory, shrunk to " + sample.params.dump(-1));
          continue;
        }
        options.progress(title + ": skipped: " + error.what());
        ++summary.skipped;
      } catch (const CaseSkipped& reason) {
        options.progress(title + ": skipped: " + reason.what());
        ++summary.skipped;
      } catch (const DeviceError& error) {
        options.progress(title + ": FAILED: " + error.what());
        ++summary.failed;
      }
      break;
    }
  }
  return summary;
}

}  // namespace moesim::gpu
