// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/token_routing_input.h"

#include <unistd.h>

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace moesim {
namespace {

class RoutingInput : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              ("moesim_routing_input_test_" + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string scenario() const { return (folder_ / "scenario.json").string(); }
  void write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
  }

  std::filesystem::path folder_;
  FfnSpec layer_ = {.kind = FfnKind::moe, .experts = 4, .top_k = 2};
};

TEST_F(RoutingInput, TakesTheGateFromTheCard) {
  FfnSpec v3 = {.kind = FfnKind::moe, .experts = 256, .top_k = 8};
  v3.router = {.kind = RouterKind::sigmoid_bias, .groups = 8, .groups_chosen = 4};
  EXPECT_EQ(gate_shape(v3), (GateShape{256, 8, 8, 4, 2}));
  EXPECT_FALSE(gate_shape(v3, false).is_group_limited());
  FfnSpec v2 = {.kind = FfnKind::moe, .experts = 160, .top_k = 6};
  v2.router = {.kind = RouterKind::softmax_top_k, .groups = 8, .groups_chosen = 3};
  EXPECT_EQ(gate_shape(v2), (GateShape{160, 6, 8, 3, 1}));
}

TEST_F(RoutingInput, SigmaZeroIsExactBalanceAndTheSeedIsPassedOn) {
  const RoutingSpec spec =
      routing_spec({.kind = RoutingModel::gumbel, .sigma = 0.0}, layer_, 1, 42, scenario());
  EXPECT_TRUE(LayerRouting(spec, 0).is_balanced());
  EXPECT_EQ(spec.seed, 42u);
}

TEST_F(RoutingInput, FilesAreRelativeToTheScenario) {
  write("t.csv", "seq,pos,layer,e0,e1\n0,0,0,3,0\n0,1,0,2,0\n");
  const RoutingSpec spec =
      routing_spec({.kind = RoutingModel::trace, .trace = "t.csv"}, layer_, 1, 1, scenario());
  EXPECT_EQ(LayerRouting(spec, 7).inclusion()[0], 1.0);
  write("c.csv", "layer,expert,count\n0,0,5\n0,1,5\n0,2,5\n0,3,5\n1,0,9\n1,1,3\n1,2,3\n1,3,3\n");
  const RoutingSpec counts =
      routing_spec({.kind = RoutingModel::counts, .trace = "c.csv"}, layer_, 1, 1, scenario());
  EXPECT_DOUBLE_EQ(LayerRouting(counts, 0).inclusion()[0], 0.5);
  EXPECT_DOUBLE_EQ(LayerRouting(counts, 1).inclusion()[0], 1.0);
}

TEST_F(RoutingInput, RefusesFilesOfAnotherRouter) {
  write("t.csv", "seq,pos,layer,e0,e1\n0,0,0,7,0\n");
  try {
    routing_spec({.kind = RoutingModel::trace, .trace = "t.csv"}, layer_, 1, 1, scenario());
    FAIL();
  } catch (const InputError& error) {
    EXPECT_EQ(error.what(), scenario() +
                                "#/routing/trace: the trace has top 2 of 8 experts, the model top "
                                "2 of 4; allowed: a trace of a model with the same router");
  }
  write("two.csv", "model,task,layer,expert,count\na,x,0,0,1\nb,x,0,0,1\n");
  EXPECT_THROW(
      routing_spec({.kind = RoutingModel::counts, .trace = "two.csv"}, layer_, 1, 1, scenario()),
      InputError);
}

}  // namespace
}  // namespace moesim
