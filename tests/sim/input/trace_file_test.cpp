// SPDX-License-Identifier: Apache-2.0
#include "sim/input/trace_file.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>

#include "sim/base/error.h"

namespace moesim {
namespace {

class TraceFile : public testing::Test {
 protected:
  std::string write(const std::string& text, bool gzip = false) {
    path_ = (std::filesystem::temp_directory_path() /
             ("moesim_trace_" +
              std::string(testing::UnitTest::GetInstance()->current_test_info()->name()) + ".csv"))
                .string();
    if (gzip) {
      gzFile file = gzopen(path_.c_str(), "wb");
      gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
      gzclose(file);
    } else {
      std::ofstream(path_, std::ios::binary) << text;
    }
    return path_;
  }
  void TearDown() override { std::filesystem::remove(path_); }
  /// The message of reading `text`, with the path cut off.
  std::string problem(const std::string& text, std::int32_t experts = 0) {
    try {
      read_token_trace(write(text), experts);
    } catch (const InputError& error) {
      return std::string(error.what()).substr(path_.size());
    }
    return "no problem";
  }
  std::string path_;
};

const std::string kGood =
    "seq,pos,layer,e0,e1\n0,0,1,3,0\n0,0,4,1,2\n0,1,1,0,1\n0,1,4,2,3\n2,0,1,1,3\n2,0,4,0,1\n";

TEST_F(TraceFile, IsReadLayerByLayerPlainOrGzipped) {
  for (const bool gzip : {false, true}) {
    const TokenTrace trace = read_token_trace(write(kGood, gzip));
    EXPECT_EQ(trace.experts, 4);
    EXPECT_EQ(trace.top_k, 2);
    EXPECT_EQ(trace.layers, (std::vector<std::int32_t>{1, 4}));
    EXPECT_EQ(trace.sequence, (std::vector<std::int32_t>{0, 0, 2}));
    EXPECT_EQ(trace.sets, (std::vector<std::int16_t>{3, 0, 0, 1, 1, 3, 1, 2, 2, 3, 0, 1}));
    EXPECT_EQ(token_trace_text(trace), kGood);
  }
}

TEST_F(TraceFile, NamesTheLineAndColumnOfEachProblem) {
  const std::string head = "seq,pos,layer,e0,e1\n";
  EXPECT_EQ(problem(""), ": is empty; allowed: a header seq,pos,layer,e0,e1,... and rows");
  EXPECT_EQ(problem("a,b\n"), ": line 1: the header is \"a,b\"; allowed: seq,pos,layer,e0,e1,...");
  EXPECT_EQ(problem(head), ": holds no token; allowed: one row a token and layer");
  EXPECT_EQ(problem(head + "0,0,1,3\n"), ": line 2: 4 cells in a table of 5 columns");
  EXPECT_EQ(problem(head + "0,0,1,3,x\n"), ": line 2, column e1: \"x\" is no whole number");
  EXPECT_EQ(problem(head + "0,0,1,3,9\n", 8),
            ": line 2, column e1: 9 is out of range; allowed: 0 to 7");
  EXPECT_EQ(problem(head + "0,0,1,3,3\n"),
            ": line 2, column e1: expert 3 is chosen twice by one token");
  EXPECT_EQ(
      problem(head + "1,0,1,3,2\n0,0,1,3,2\n"),
      ": line 3, column seq: rows are out of order; allowed: rows ordered by seq, pos, layer");
  EXPECT_EQ(problem(head + "0,0,1,3,2\n0,0,2,3,2\n0,1,1,3,2\n0,2,1,3,2\n"),
            ": line 5, column layer: the token before has 1 layers, the first token 2");
  EXPECT_EQ(problem(head + "0,0,1,3,2\n0,1,2,3,2\n"),
            ": line 3, column layer: layer 2 is not the one that the first token has here; "
            "allowed: 1");
  EXPECT_EQ(problem(head + "0,0,1,3,2\n0,0,2,3,2\n0,1,1,3,2\n"),
            ": line 4, column layer: the token before has 1 layers, the first token 2");
}

TEST_F(TraceFile, RefusesDamagedGzipAndMissingFiles) {
  write(kGood, true);
  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) - 9);
  EXPECT_THROW(read_token_trace(path_), InputError);
  EXPECT_THROW(read_token_trace(path_ + ".none"), InputError);
}

TEST_F(TraceFile, CountsAreReadWithAnySubsetOfTheColumns) {
  const std::vector<ExpertCounts> counts =
      read_expert_counts(write("count,layer,expert\n5,0,0\n6,0,1\n7,3,0\n8,3,1\n"));
  ASSERT_EQ(counts.size(), 2u);
  EXPECT_EQ(counts[1].layer, 3);
  EXPECT_EQ(counts[1].counts, (std::vector<std::int64_t>{7, 8}));
  try {
    read_expert_counts(write("layer,expert,count\n0,0,1\n0,2,1\n"));
    FAIL();
  } catch (const InputError& error) {
    EXPECT_EQ(std::string(error.what()),
              path_ + ": line 3, column expert: expert 2 is out of turn; allowed: 1");
  }
}

}  // namespace
}  // namespace moesim
