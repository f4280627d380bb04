// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/op.h"

#include <gtest/gtest.h>

#include <vector>

namespace moesim {
namespace {

TEST(Op, GemmCountsTwoFlopsAMultiplyAddAndEachOperandOnce) {
  // [8 x 32] x [32 x 16]: 2*8*16*32 = 8192 FLOPs; weights 512 B in fp8, activations (8*32 + 8*16)*2
  // = 768 B.
  const OpWork work = work_of(GemmOp{.m = 8, .n = 16, .k = 32, .weights = NumberFormat::fp8});
  EXPECT_DOUBLE_EQ(work.flops.value(), 8192);
  EXPECT_DOUBLE_EQ(work.bytes.value(), 512 + 768);
}

TEST(Op, MlaPairsCostWhatDeepSeekV3Pays) {
  // One new token against 1,000 cached: 2*128*1088 FLOPs a pair absorbed (PHYSICS.md 6), 576 bytes
  // of bf16 latent x 2.
  const OpWork decode =
      work_of(MlaDecodeOp{.sequences = 1, .new_tokens = 1, .context = 1000, .heads = 128});
  EXPECT_DOUBLE_EQ(decode.flops.value(), 2.0 * 128 * 1088 * 1000);
  EXPECT_NEAR(decode.bytes.value(), 1000 * 576 * 2 + 128 * (576 + 512) * 2, 1e-6);
  const OpWork expanded = work_of(MlaPrefillOp{.sequences = 1, .new_tokens = 100, .heads = 128});
  EXPECT_DOUBLE_EQ(expanded.flops.value(), 2.0 * 128 * 320 * 5050);
  const OpWork absorbed =
      work_of(MlaPrefillOp{.sequences = 1, .new_tokens = 100, .heads = 128, .absorbed = true});
  EXPECT_DOUBLE_EQ(absorbed.flops.value() / expanded.flops.value(), 1088.0 / 320.0);
}

TEST(Op, CausalPairsEqualTheCountedOnes) {
  for (const int window : {0, 1, 4, 7, 100}) {
    for (const int cached : {0, 3, 9}) {
      for (const int fresh : {1, 5, 12}) {
        int pairs = 0;
        for (int i = 0; i < fresh; ++i) {
          const int seen = cached + i + 1;
          pairs += window > 0 && seen > window ? window : seen;
        }
        EXPECT_DOUBLE_EQ(causal_pairs(fresh, cached, window), pairs)
            << window << " " << cached << " " << fresh;
      }
    }
  }
}

TEST(Op, ExpertLoadCountsActiveExpertsAndTilePadding) {
  // 0, 1, 64 and 65 tokens: three active; padded to tiles of 64 rows 0 + 64 + 64 + 128.
  const std::vector<std::int32_t> tokens = {0, 1, 64, 65};
  const ExpertLoad load = ExpertLoad::of(tokens);
  EXPECT_EQ(load.assignments, 130);
  EXPECT_EQ(load.active_experts, 3);
  EXPECT_EQ(load.hottest, 65);
  EXPECT_EQ(load.padded, 256);
}

TEST(Op, AnIdleExpertReadsNoWeights) {
  MoeOp op{.tokens = 64,
           .hidden = 7168,
           .width = 2048,
           .top_k = 8,
           .experts = 256,
           .expert_ways = 32,
           .weights = NumberFormat::fp8_block};
  op.load.assignments = 16;
  op.load.active_experts = 2;
  // Two DeepSeek-V3 experts of 3*7168*2048 = 44.04 MB and 16 rows of 2*7168 + 4*2048 bf16 values.
  EXPECT_DOUBLE_EQ(work_of(op).bytes.value(), 2 * 44040192.0 + 16 * (2 * 7168 + 4 * 2048) * 2.0);
  EXPECT_DOUBLE_EQ(work_of(op).flops.value(), 2.0 * 3 * 16 * 7168 * 2048);
}

TEST(Op, FamiliesFollowTheAlternatives) {
  EXPECT_EQ(family_of(GemmOp{}), OpFamily::gemm);
  EXPECT_EQ(family_of(MoeOp{}), OpFamily::grouped_gemm);
  EXPECT_EQ(family_of(MlaDecodeOp{}), OpFamily::mla_decode);
  EXPECT_EQ(family_of(RoutingOp{}), OpFamily::routing);
}

}  // namespace
}  // namespace moesim
