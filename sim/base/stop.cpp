// SPDX-License-Identifier: Apache-2.0
#include "sim/base/stop.h"

#include <utility>

namespace moesim {
namespace {

thread_local const StopScope* innermost = nullptr;

}  // namespace

StopScope::StopScope(std::stop_token token)
    : token_(std::move(token)), outer_(innermost), previous_(innermost) {
  innermost = this;
}

StopScope::StopScope(const StopScope* scope) : outer_(scope), previous_(innermost) {
  innermost = this;
}

StopScope::~StopScope() { innermost = previous_; }

const StopScope* StopScope::current() { return innermost; }

void check_stopped() {
  for (const StopScope* scope = innermost; scope != nullptr; scope = scope->outer_) {
    if (scope->token_.stop_requested()) {
      throw Stopped();
    }
  }
}

}  // namespace moesim
