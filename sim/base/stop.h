// SPDX-License-Identifier: Apache-2.0
// How long work is asked to end: the caller opens a scope with a stop token, and loops below, which
// know nothing of callers, look now and then whether it was asked for.
#pragma once

#include <stdexcept>
#include <stop_token>

namespace moesim {

class Stopped : public std::runtime_error {
 public:
  Stopped() : std::runtime_error("stopped before the answer was complete") {}
};

/// Within it, `check_stopped` on this thread listens to `token`, and to those of outer scopes.
class StopScope {
 public:
  explicit StopScope(std::stop_token token);
  /// Listens to all that `scope` (or null) listens to, for work that another thread does for the
  /// one that opened it; `scope` must outlive this.
  explicit StopScope(const StopScope* scope);
  /// The innermost of this thread, or null.
  static const StopScope* current();
  ~StopScope();
  StopScope(const StopScope&) = delete;
  StopScope& operator=(const StopScope&) = delete;

 private:
  friend void check_stopped();
  std::stop_token token_;
  const StopScope* outer_;     ///< also listened to
  const StopScope* previous_;  ///< of this thread, back in force afterwards
};

/// Throws Stopped when a scope of this thread was asked to stop; about 1 ns otherwise.
void check_stopped();

}  // namespace moesim
