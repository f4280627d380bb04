// SPDX-License-Identifier: Apache-2.0
#include "sim/input/curve_files.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "sim/base/random.h"

namespace moesim {
namespace {

/// Sum of |log ratio| over what the datasheets of both give; formats that only one of them
/// multiplies in count as a factor of two.
double datasheet_distance(const DeviceProfile& a, const DeviceProfile& b) {
  const auto apart = [](double x, double y) { return std::fabs(portable_log(x / y)); };
  double distance = apart(a.memory_bandwidth.value.value(), b.memory_bandwidth.value.value());
  for (const auto member : {&PeakFlops::bf16, &PeakFlops::fp8, &PeakFlops::fp4}) {
    const std::optional<Sourced<FlopsPerSecond>>& x = a.peak.*member;
    const std::optional<Sourced<FlopsPerSecond>>& y = b.peak.*member;
    distance += x && y                           ? apart(x->value.value(), y->value.value())
                : x.has_value() != y.has_value() ? portable_log(2.0)
                                                 : 0.0;
  }
  if (a.sm_count && b.sm_count) {
    distance +=
        apart(static_cast<double>(a.sm_count->value), static_cast<double>(b.sm_count->value));
  }
  if (a.l2 && b.l2) {
    distance += apart(a.l2->value.value(), b.l2->value.value());
  }
  return distance;
}

/// Files of the device nearest to `device`; empty when no device of its vendor was measured.
std::vector<CurveFile> nearest_relative(const DeviceProfile& device, const CardLibrary& cards) {
  std::string nearest;
  double least = 0;
  const std::vector<std::string> known = cards.ids(CardKind::device);
  for (const CurveFile& file : *cards.curve_files()) {
    if (file.device == device.id || file.device == nearest ||
        !std::binary_search(known.begin(), known.end(), file.device)) {
      continue;
    }
    const DeviceProfile candidate = cards.device(file.device);
    const double distance = datasheet_distance(device, candidate);
    if (candidate.vendor == device.vendor && (nearest.empty() || distance < least)) {
      nearest = file.device;
      least = distance;
    }
  }
  std::vector<CurveFile> files;
  for (const CurveFile& file : *cards.curve_files()) {
    if (file.device == nearest) {
      files.push_back(file);
    }
  }
  return files;
}

/// The newest stack among `files` that is `software` or a version of that framework; "" when there
/// is none.
std::string newest_match(const std::vector<CurveFile>& files, const std::string& software) {
  std::string match;
  for (const CurveFile& file : files) {
    const bool is_version = file.software.starts_with(software + "-");
    if (file.software == software) {
      return software;
    }
    if (is_version && (match.empty() || version_before(match, file.software))) {
      match = file.software;
    }
  }
  return match;
}

}  // namespace

bool version_before(std::string_view a, std::string_view b) {
  const auto is_digit = [](char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; };
  std::size_t i = 0;
  std::size_t j = 0;
  while (i < a.size() && j < b.size()) {
    if (is_digit(a[i]) && is_digit(b[j])) {
      const auto number = [&](std::string_view text, std::size_t& at) {
        double value = 0;
        for (; at < text.size() && is_digit(text[at]); ++at) {
          value = 10.0 * value + (text[at] - '0');
        }
        return value;
      };
      const double x = number(a, i);
      const double y = number(b, j);
      if (x != y) {
        return x < y;
      }
    } else if (a[i] != b[j]) {
      return a[i] < b[j];
    } else {
      ++i;
      ++j;
    }
  }
  return i == a.size() && j < b.size();
}

std::shared_ptr<const CurveFiles> curve_files_for(const DeviceProfile& device,
                                                  const std::string& software,
                                                  const CardLibrary& cards,
                                                  const std::string& file) {
  auto files = std::make_shared<CurveFiles>();
  files->software = software;
  files->all = cards.curve_files();
  if (files->none() || files->all == nullptr) {
    return files;
  }
  for (const CurveFile& candidate : *cards.curve_files()) {
    if (candidate.device == device.id) {
      files->own.push_back(candidate);
    }
  }
  std::string match = newest_match(files->own, software);
  if (files->own.empty() || (!software.empty() && match.empty())) {
    files->relative = nearest_relative(device, cards);
    if (match.empty()) {
      match = newest_match(files->relative, software);
    }
  }
  if (!software.empty() && match.empty()) {
    std::vector<std::string> names = {"none"};
    for (const auto* list : {&files->own, &files->relative}) {
      for (const CurveFile& candidate : *list) {
        names.push_back(candidate.software);
      }
    }
    std::sort(names.begin() + 1, names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    std::string allowed = "allowed: ";
    for (const std::string& name : names) {
      allowed += (name == names.front() ? "" : ", ") + name;
    }
    throw InputError(file, "/software",
                     "no curves of \"" + software.substr(0, 80) + "\" serve " + device.id, allowed);
  }
  files->software = software.empty() ? "" : match;
  return files;
}

}  // namespace moesim
