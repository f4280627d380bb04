// SPDX-License-Identifier: Apache-2.0
#include "sim/study/hidden_queue.h"

#include <algorithm>
#include <map>
#include <string>

namespace moesim {
namespace {

constexpr double kLittleLoad = 64;        // requests in flight: beyond, noise hides a single one
constexpr double kWaitingRequests = 0.5;  // half way between none and one
constexpr std::size_t kFewestPairs = 4;

/// Seconds a request spends generating.
double in_service(const ServingCase& item) {
  return (item.load.mean_output() - 1) * item.row.tpot_s.value();
}

/// Requests that wait, from the runs of one prompt length and concurrency.
void add_waiting(std::vector<const ServingCase*> runs, std::vector<double>& waiting) {
  std::sort(runs.begin(), runs.end(), [](const ServingCase* a, const ServingCase* b) {
    return a->load.output_tokens < b->load.output_tokens;
  });
  const double longer = in_service(*runs.back()) - in_service(*runs.front());
  if (runs.front()->load.output_tokens < runs.back()->load.output_tokens && longer > 0) {
    waiting.push_back((*runs.back()->row.ttft_s - *runs.front()->row.ttft_s) / longer *
                      runs.front()->load.concurrency);
  }
}

}  // namespace

void mark_hidden_queues(std::vector<ServingCase>& cases) {
  struct Family {
    std::vector<ServingCase*> cases;
    std::map<std::string, std::vector<const ServingCase*>> runs;  ///< but for the output length
  };
  std::map<std::string, Family> families;
  for (ServingCase& item : cases) {
    if (!item.left_out.empty() || item.load.kind != LoadKind::closed_loop || !item.row.ttft_s ||
        !item.row.tpot_s) {
      continue;
    }
    Family& family = families[item.family + "|" + item.row.framework + "|" + item.row.precision];
    family.cases.push_back(&item);
    if (item.load.concurrency <= kLittleLoad) {
      const std::string outputs = "/" + item.row.output_tokens + "|";
      std::string key = item.series + "|" + item.row.load;
      if (const std::size_t at = key.find(outputs); at != std::string::npos) {
        key.erase(at, outputs.size());
      }
      family.runs[key].push_back(&item);
    }
  }
  for (auto& [name, family] : families) {
    std::vector<double> waiting;
    for (auto& [key, runs] : family.runs) {
      add_waiting(runs, waiting);
    }
    if (waiting.size() < kFewestPairs) {
      continue;
    }
    const auto middle = waiting.begin() + static_cast<std::ptrdiff_t>(waiting.size() / 2);
    std::nth_element(waiting.begin(), middle, waiting.end());
    if (*middle >= kWaitingRequests) {
      for (ServingCase* item : family.cases) {
        item->ttft_left_out =
            "TTFT of these runs grows with the output length as if one request always waited for a "
            "slot: the engine's limit is not stated";
      }
    }
  }
}

}  // namespace moesim
