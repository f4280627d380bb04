// SPDX-License-Identifier: Apache-2.0
#include "sim/base/stop.h"

#include <gtest/gtest.h>

#include <thread>

namespace moesim {
namespace {

TEST(StopScope, OutsideAnyScopeNothingStops) { EXPECT_NO_THROW(check_stopped()); }

TEST(StopScope, ThrowsOnlyWithinTheScopeAndOnlyOnceAsked) {
  std::stop_source source;
  {
    const StopScope scope(source.get_token());
    EXPECT_NO_THROW(check_stopped());
    source.request_stop();
    EXPECT_THROW(check_stopped(), Stopped);
  }
  EXPECT_NO_THROW(check_stopped());
}

TEST(StopScope, AnInnerScopeStillListensToTheOuterOne) {
  std::stop_source outer;
  const StopScope first(outer.get_token());
  {
    const StopScope second{std::stop_token()};  // can never be asked
    outer.request_stop();
    EXPECT_THROW(check_stopped(), Stopped);
  }
  EXPECT_THROW(check_stopped(), Stopped);
}

TEST(StopScope, AnotherThreadListensToTheCallersScopes) {
  std::stop_source source;
  const StopScope scope(source.get_token());
  source.request_stop();
  bool alone = false;
  bool with_callers = false;
  std::jthread worker([&, caller = StopScope::current()] {
    const auto is_stopped = [] {
      try {
        check_stopped();
        return false;
      } catch (const Stopped&) {
        return true;
      }
    };
    alone = is_stopped();
    const StopScope of_caller(caller);
    with_callers = is_stopped();
  });
  worker.join();
  EXPECT_FALSE(alone);
  EXPECT_TRUE(with_callers);
}

}  // namespace
}  // namespace moesim
