// SPDX-License-Identifier: Apache-2.0
#include "sim/input/routed_experts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <cstring>

#include "sim/base/error.h"

namespace moesim {
namespace {

/// A .npy file as NumPy writes it: magic, version 1.0, header padded to 64 bytes, raw numbers.
template <class T>
std::string npy(const std::string& descr, const std::string& shape, const std::vector<T>& values) {
  std::string header =
      "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }";
  header += std::string(63 - (10 + header.size()) % 64, ' ') + "\n";
  std::string bytes("\x93NUMPY\x01\x00", 8);
  bytes += static_cast<char>(header.size() & 0xff);
  bytes += static_cast<char>(header.size() >> 8);
  bytes += header;
  bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  return bytes;
}

void put(std::string& out, std::uint32_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) {
    out += static_cast<char>((value >> (8 * i)) & 0xff);
  }
}

/// An archive with one member, as numpy.savez (stored) or savez_compressed (deflated) write it.
std::string npz(const std::string& name, const std::string& content, bool deflated) {
  std::string packed = content;
  if (deflated) {
    packed.resize(content.size() + 1000);
    z_stream stream{};
    deflateInit2(&stream, 6, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
    stream.avail_in = static_cast<uInt>(content.size());
    stream.next_out = reinterpret_cast<Bytef*>(packed.data());
    stream.avail_out = static_cast<uInt>(packed.size());
    deflate(&stream, Z_FINISH);
    packed.resize(stream.total_out);
    deflateEnd(&stream);
  }
  const auto common = [&](std::string& out) {
    put(out, deflated ? 8 : 0, 2);
    put(out, 0, 4);  // time and date
    put(out, 0, 4);  // checksum, not read
    put(out, static_cast<std::uint32_t>(packed.size()), 4);
    put(out, static_cast<std::uint32_t>(content.size()), 4);
    put(out, static_cast<std::uint32_t>(name.size()), 2);
    put(out, 0, 2);
  };
  std::string out("PK\3\4", 4);
  put(out, 20, 2);
  put(out, 0, 2);
  common(out);
  out += name + packed;
  const std::size_t directory = out.size();
  out += std::string("PK\1\2", 4);
  put(out, 20, 2);
  put(out, 20, 2);
  put(out, 0, 2);
  common(out);
  put(out, 0, 2);
  put(out, 0, 4);
  put(out, 0, 4);
  put(out, 0, 4);
  out += name;
  const std::size_t size = out.size() - directory;
  out += std::string("PK\5\6", 4);
  put(out, 0, 4);
  put(out, 1, 2);
  put(out, 1, 2);
  put(out, static_cast<std::uint32_t>(size), 4);
  put(out, static_cast<std::uint32_t>(directory), 4);
  put(out, 0, 2);
  return out;
}

const std::vector<std::int16_t> kSets = {3, 0, 1, 2, 0, 1, 2, 3, 1, 3, 0, 2};  // [3, 2, 2]

TEST(RoutedExperts, NpyAndNpzAndBase64GiveTheSameTrace) {
  const std::string plain = npy<std::int16_t>("<i2", "(3, 2, 2)", kSets);
  const TokenTrace trace = trace_of_array(parse_npy(plain, "a.npy"), 0, "a.npy");
  EXPECT_EQ(trace.experts, 4);
  EXPECT_EQ(trace.layers.size(), 2u);
  EXPECT_EQ(trace.num_tokens(), 3);
  EXPECT_THAT(trace.layer_sets(0), testing::ElementsAre(3, 0, 0, 1, 1, 3));
  EXPECT_THAT(trace.layer_sets(1), testing::ElementsAre(1, 2, 2, 3, 0, 2));
  for (const bool deflated : {false, true}) {
    const TokenTrace again =
        trace_of_array(parse_npz(npz("routed_experts.npy", plain, deflated), "", "a.npz"), 0, "");
    EXPECT_EQ(again.sets, trace.sets);
  }
  // The first four of those int16 are the bytes 03 00 00 00 01 00 02 00.
  const TokenTrace text = routed_experts_from_base64("AwAAAAEA\nAgA=", 2, 2, 2, 4, "reply");
  EXPECT_EQ(text.sets, (std::vector<std::int16_t>{3, 0, 1, 2}));
  const std::vector<std::int32_t> wide(kSets.begin(), kSets.end());
  EXPECT_EQ(trace_of_array(parse_npy(npy<std::int32_t>("<i4", "(3, 2, 2)", wide), ""), 0, "").sets,
            trace.sets);
}

TEST(RoutedExperts, PaddingRowsAreCutOff) {
  std::vector<std::int16_t> padded = kSets;
  padded.insert(padded.end(), {-1, -1, -1, -1});
  EXPECT_EQ(trace_of_array(parse_npy(npy<std::int16_t>("<i2", "(4, 2, 2)", padded), ""), 0, "")
                .num_tokens(),
            3);
}

std::string problem(const std::string& bytes) {
  try {
    trace_of_array(parse_npy(bytes, "a.npy"), 4, "a.npy");
  } catch (const InputError& error) {
    return error.what();
  }
  return "no problem";
}

TEST(RoutedExperts, RefusesPicklesDamageAndImpossibleSets) {
  EXPECT_EQ(problem(npy<std::int16_t>("|O", "(3, 2, 2)", kSets)),
            "a.npy: has elements of type \"|O\"; allowed: little-endian integers, float32 or "
            "float64");
  EXPECT_THAT(problem(npy<std::int64_t>("|O8", "(1,)", {0})),
              testing::HasSubstr("a pickle, which is never read"));
  EXPECT_THAT(problem("\x80\x04\x95"), testing::HasSubstr("is no NumPy array"));
  EXPECT_THAT(problem(npy<std::int16_t>("<i2", "(4, 2, 2)", kSets)),
              testing::HasSubstr("holds 24 bytes of numbers, its shape needs 32"));
  EXPECT_THAT(problem(npy<std::int16_t>("<i2", "(6, 2)", kSets)),
              testing::HasSubstr("has shape [6, 2]; allowed: [tokens, layers, top_k]"));
  EXPECT_THAT(problem(npy<std::int16_t>("<i2", "(1, 1, 2)", {1, 1})),
              testing::HasSubstr("element [0, 0, 1] is 1; allowed: different experts 0 to 3"));
  EXPECT_THAT(problem(npy<std::int16_t>("<i2", "(1, 1, 2)", {1, 9})),
              testing::HasSubstr("element [0, 0, 1] is 9"));
  EXPECT_THAT(problem(npy<std::int16_t>("<i2", "(99999999999, 99999999999, 2)", kSets)),
              testing::HasSubstr("is too large"));
  EXPECT_THROW(parse_npz("PK", "", "a.npz"), InputError);
  EXPECT_THROW(decode_base64("ab*c", "reply"), InputError);
  const std::string archive = npz("x.npy", npy<std::int16_t>("<i2", "(3, 2, 2)", kSets), true);
  for (std::size_t cut = 1; cut < archive.size(); cut += 7) {  // never a crash
    EXPECT_THROW(parse_npz(archive.substr(0, archive.size() - cut), "", "a.npz"), InputError);
  }
}

}  // namespace
}  // namespace moesim
