// SPDX-License-Identifier: Apache-2.0
// Speculative decoding and multi-token prediction: how many tokens a verified step yields.
//
// A step verifies d drafts beside the real token. Draft i is kept when all before it were right:
// tokens a step T = 1 + (run of right drafts), P(T > i) = a^i, so E[T] = sum a^i and E[T^2] follows
// from E[T^2] = sum (2i + 1) P(T > i). A request of n tokens then takes about n / E[T] steps, with
// the variance of a renewal count, n Var[T] / E[T]^3.
// Source: Leviathan et al., Fast Inference from Transformers via Speculative Decoding (2023), 3.1.
#pragma once

namespace moesim {

struct Speculation {
  double drafts = 0;           ///< verified with each real token
  double tokens_per_step = 1;  ///< E[T]
  double tokens_variance = 0;  ///< Var[T]

  /// `drafts` may be a fraction: the last draft is then made that often.
  static Speculation of(double drafts, double acceptance);
  /// Steps that yield `tokens` tokens, for a standard normal draw; at least tokens / (1 + drafts).
  double steps_for(double tokens, double standard_normal) const;
};

}  // namespace moesim
