// SPDX-License-Identifier: Apache-2.0
#include "sim/input/measurement_tables.h"

#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

namespace moesim {
namespace {

const TableIdentity kGemm = {"h100_sxm/gemm.trtllm-1.csv", "h100_sxm", "gemm", "trtllm", "1"};

std::vector<std::string> problems_of(std::string_view text, std::size_t* rows = nullptr,
                                     const TableIdentity& identity = kGemm) {
  Diagnostics problems;
  const MeasurementTable table = parse_measurement_table(text, identity, problems);
  if (rows != nullptr) {
    *rows = table.num_rows();
  }
  std::vector<std::string> texts;
  for (const Diagnostic& diagnostic : problems.list()) {
    texts.push_back(diagnostic.text());
  }
  return texts;
}

TEST(MeasurementTables, ColumnsKeepTheirRowsAndMillisecondsBecomeSeconds) {
  Diagnostics problems;
  const MeasurementTable table = parse_measurement_table(
      "gemm_dtype,m,n,k,latency\nfp8,16,64,128,0.5\nbfloat16,32,64,128,2\r\n", kGemm, problems);
  EXPECT_TRUE(problems.empty());
  ASSERT_EQ(table.num_rows(), 2u);
  EXPECT_EQ(table.word("gemm_dtype", 0), "fp8");
  EXPECT_EQ(table.word("gemm_dtype", 1), "bfloat16");
  EXPECT_EQ(table.numbers("m")[1], 32.0);
  EXPECT_DOUBLE_EQ(table.latency_s(0), 0.5e-3);
  EXPECT_EQ(table.file_row(1), 3);  // line 1 is the header
  EXPECT_EQ(table.numbers_or("window_size", 7.0)[0], 7.0);
}

TEST(MeasurementTables, AMissingColumnIsNamed) {
  std::size_t rows = 9;
  EXPECT_THAT(problems_of("gemm_dtype,m,k,latency\nfp8,16,64,0.5\n", &rows),
              testing::ElementsAre(testing::AllOf(testing::HasSubstr("row 1, column n"),
                                                  testing::HasSubstr("missing"))));
  EXPECT_EQ(rows, 0u);
}

TEST(MeasurementTables, ADoubledColumnIsNamed) {
  EXPECT_THAT(problems_of("gemm_dtype,m,m,n,k,latency\n"),
              testing::ElementsAre(testing::HasSubstr("column m: the column is there twice")));
}

TEST(MeasurementTables, BadCellsAreReportedByFileRowAndColumnAndOtherRowsStay) {
  std::size_t rows = 0;
  const auto problems = problems_of(
      "gemm_dtype,m,n,k,latency\n"
      "fp8,16,64,128,nan\n"
      "fp8,16,64,128,0\n"
      "fp8,16,64,128,-3\n"
      "fp8,x,64,128,1\n"
      "fp8,16,-64,128,1\n"
      "fp8,16,64,1\n"
      "fp8,16,64,128,1\n",
      &rows);
  EXPECT_EQ(rows, 1u);
  ASSERT_EQ(problems.size(), 6u);
  EXPECT_THAT(problems[0], testing::HasSubstr("h100_sxm/gemm.trtllm-1.csv: row 2, column latency"));
  EXPECT_THAT(problems[0], testing::HasSubstr("not finite"));
  EXPECT_THAT(problems[1], testing::HasSubstr("row 3, column latency"));
  EXPECT_THAT(problems[2], testing::HasSubstr("row 4, column latency"));
  EXPECT_THAT(problems[3], testing::HasSubstr("row 5, column m: \"x\" is no number"));
  EXPECT_THAT(problems[4], testing::HasSubstr("row 6, column n: -64 is no count"));
  EXPECT_THAT(problems[5], testing::HasSubstr("row 7: 4 cells where the header has 5"));
}

TEST(MeasurementTables, ALatencyInAnotherUnitIsNoKernelTime) {
  // 20 us written as seconds is 2e-5 in the millisecond column: 20 ns, shorter than any kernel.
  EXPECT_THAT(problems_of("gemm_dtype,m,n,k,latency\nfp8,16,64,128,0.00002\n"),
              testing::ElementsAre(testing::HasSubstr("is the unit milliseconds?")));
  // Two hours.
  EXPECT_THAT(problems_of("gemm_dtype,m,n,k,latency\nfp8,16,64,128,7200000\n"),
              testing::ElementsAre(testing::HasSubstr("is the unit milliseconds?")));
}

TEST(MeasurementTables, ADifferenceOfTimesMayBeZero) {
  TableIdentity identity = kGemm;
  identity.table = "computescale";
  std::size_t rows = 0;
  EXPECT_THAT(problems_of("m,k,quant_dtype,latency\n1,64,fp8,0\n", &rows, identity),
              testing::IsEmpty());
  EXPECT_EQ(rows, 1u);
}

TEST(MeasurementTables, TheListOfBadRowsStaysReadable) {
  std::string text = "gemm_dtype,m,n,k,latency\n";
  for (int i = 0; i < 250; ++i) {
    text += "fp8,16,64,128,nan\n";
  }
  const auto problems = problems_of(text);
  ASSERT_EQ(problems.size(), 101u);  // 100 rows and the line that counts the other 150
  EXPECT_THAT(problems.back(), testing::HasSubstr("150 more rows"));
}

TEST(MeasurementTables, TheFileNameTellsSystemTableFrameworkAndVersion) {
  const TableIdentity identity = table_identity("x/a100_sxm/context_mla.vllm-0.14.0.csv.gz");
  EXPECT_EQ(identity.system, "a100_sxm");
  EXPECT_EQ(identity.table, "context_mla");
  EXPECT_EQ(identity.framework, "vllm");
  EXPECT_EQ(identity.version, "0.14.0");
  EXPECT_THROW(table_identity("x/a100_sxm/gemm.csv"), InputError);
}

TEST(MeasurementTables, GzipFilesReadAsPlainOnesAndCutOnesAreRefused) {
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) /
                                       ("moesim_tables_" + std::to_string(getpid())) / "h100_sxm";
  std::filesystem::create_directories(folder);
  const std::string path = (folder / "gemm.trtllm-1.csv.gz").string();
  std::string text = "gemm_dtype,m,n,k,latency\n";
  for (int i = 1; i <= 5000; ++i) {
    text += "fp8," + std::to_string(i) + ",64,128,0." + std::to_string(1000 + i) + "\n";
  }
  gzFile file = gzopen(path.c_str(), "wb");
  ASSERT_NE(file, nullptr);
  gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
  gzclose(file);
  Diagnostics problems;
  EXPECT_EQ(read_measurement_table(path, problems).num_rows(), 5000u);
  EXPECT_TRUE(problems.empty());
  EXPECT_EQ(find_measurement_tables(folder.parent_path().string()).size(), 1u);

  std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
  EXPECT_THROW(read_measurement_table(path, problems), InputError);
  std::filesystem::remove_all(folder.parent_path());
}

}  // namespace
}  // namespace moesim
