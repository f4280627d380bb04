// SPDX-License-Identifier: Apache-2.0
#include "sim/serving/request_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "sim/base/error.h"
#include "tests/sim/serving/serving_fixtures.h"

namespace moesim {
namespace {

using ::testing::HasSubstr;

struct Gaps {
  double mean = 0;
  double cv = 0;
};

Gaps gaps_of(const testing::Edit& edit, std::int64_t count) {
  RequestStream stream(testing::dense([&](ScenarioSpec& spec) {
    spec.workload.requests = count;
    edit(spec);
  }));
  double sum = 0;
  double square = 0;
  double last = 0;
  while (const auto arrival = stream.next_arrival()) {
    const double gap = *arrival - last;
    last = *arrival;
    stream.next(*arrival);
    sum += gap;
    square += gap * gap;
  }
  const double mean = sum / static_cast<double>(count);
  return {mean, std::sqrt(square / static_cast<double>(count) - mean * mean) / mean};
}

TEST(RequestStream, GapsHaveTheRateAndTheBurstinessAskedFor) {
  // 200,000 gaps: the standard error of the mean is cv / sqrt(n), 0.9% at cv 4.
  for (const ArrivalProcess process : {ArrivalProcess::gamma, ArrivalProcess::weibull}) {
    for (const double cv : {0.5, 1.0, 4.0}) {
      const Gaps gaps = gaps_of(
          [&](ScenarioSpec& spec) {
            spec.workload.arrivals = process;
            spec.workload.requests_per_s = 5;
            spec.workload.burst_cv = cv;
          },
          200000);
      EXPECT_NEAR(gaps.mean, 0.2, 0.2 * 0.03) << choice_name(process) << " " << cv;
      EXPECT_NEAR(gaps.cv, cv, cv * 0.08) << choice_name(process) << " " << cv;
    }
  }
}

TEST(RequestStream, WeibullShapeIsThatOfTheCoefficientOfVariation) {
  EXPECT_NEAR(weibull_shape(1), 1, 1e-9);  // the exponential law
  // Shape 2 (Rayleigh): cv = sqrt(4 / pi - 1).
  EXPECT_NEAR(weibull_shape(std::sqrt(4 / 3.14159265358979 - 1)), 2, 1e-7);
}

TEST(RequestStream, OwnGammaAndSineAgreeWithTheLibrary) {
  for (const double x : {0.1, 0.5, 1.0, 1.5, 3.7, 12.0}) {
    EXPECT_NEAR(portable_gamma(x) / std::tgamma(x), 1, 1e-12) << x;
  }
  for (double x = -20; x < 20; x += 0.37) {
    EXPECT_NEAR(portable_sin(x), std::sin(x), 1e-13) << x;
  }
}

TEST(RequestStream, DiurnalArrivalsFollowTheRate) {
  // Rate 50 (1 + 0.6 sin(2 pi t / 1000)): the first half period gets 50 * 500 (1 + 0.6 * 2 / pi)
  // = 34,549 requests, the second 15,451; Poisson noise is 0.5% of the first.
  RequestStream stream(testing::dense([](ScenarioSpec& spec) {
    spec.workload.arrivals = ArrivalProcess::diurnal;
    spec.workload.requests_per_s = 50;
    spec.workload.rate_period_s = 1000;
    spec.workload.duration_s = 1000;
  }));
  double first = 0;
  double second = 0;
  double last = 0;
  while (const auto arrival = stream.next_arrival()) {
    EXPECT_GE(*arrival, last);
    last = *arrival;
    (*arrival < 500 ? first : second) += 1;
    stream.next(*arrival);
  }
  EXPECT_NEAR(first, 34549, 4 * 186);
  EXPECT_NEAR(second, 15451, 4 * 125);
}

TEST(RequestStream, LengthsKeepTheirMeansAndRanges) {
  const auto mean_of = [](LengthLaw law) {
    RequestStream stream(testing::dense([&](ScenarioSpec& spec) {
      spec.workload.arrivals = ArrivalProcess::offline;
      spec.workload.requests = 50000;
      spec.workload.lengths = law;
      spec.workload.prompt_tokens = 1000;
    }));
    double sum = 0;
    while (stream.has_more()) {
      const RequestState request = stream.next(0);
      if (law == LengthLaw::range) {
        EXPECT_GE(request.prompt, 800);
        EXPECT_LE(request.prompt, 1000);
      }
      sum += request.prompt;
    }
    return sum / 50000;
  };
  EXPECT_EQ(mean_of(LengthLaw::fixed), 1000);
  EXPECT_NEAR(mean_of(LengthLaw::range), 900, 2);        // sd 58 / sqrt(50,000) = 0.26
  EXPECT_NEAR(mean_of(LengthLaw::lognormal), 1000, 20);  // cv 1: 4.5
  EXPECT_NEAR(mean_of(LengthLaw::exponential), 1000, 20);
}

TEST(RequestStream, BrokenTracesNameLineAndColumn) {
  const auto problem_of = [](const std::string& text) {
    try {
      parse_request_trace(text, "t.csv", true);
    } catch (const InputError& error) {
      return std::string(error.what());
    }
    return std::string("no problem");
  };
  const std::string head = "arrival_s,prompt_tokens,output_tokens\n";
  EXPECT_EQ(problem_of(head + "0,10,5\n1,0,5\n"),
            "t.csv: line 3, column prompt_tokens: \"0\" is no number in range; allowed: 1 to "
            "100000000");
  EXPECT_THAT(problem_of(head + "2,10,5\n1,10,5\n"), HasSubstr("is earlier than the row before"));
  EXPECT_THAT(problem_of(head + "0,10\n"), HasSubstr("line 2: has 2 cells"));
  EXPECT_THAT(problem_of(head + "0,nan,5\n"), HasSubstr("\"nan\" is no number in range"));
  EXPECT_THAT(problem_of("arrival_s,prompt_tokens\n0,1\n"), HasSubstr("\"output_tokens\""));
  EXPECT_THAT(problem_of(head), HasSubstr("holds no request"));
  EXPECT_EQ(problem_of(head + "0,10,0\r\n\n"), "no problem");
  const RequestTrace trace = parse_request_trace(
      "prompt_tokens,output_tokens,block_hash_ids\n1000,5,7 8\n10,1,\n", "t", false);
  ASSERT_EQ(trace.blocks(0).size(), 2u);
  EXPECT_EQ(trace.blocks(0)[1], 8u);
  EXPECT_TRUE(trace.blocks(1).empty());
}

}  // namespace
}  // namespace moesim
