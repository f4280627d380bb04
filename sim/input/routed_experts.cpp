// SPDX-License-Identifier: Apache-2.0
#include "sim/input/routed_experts.h"

#include <zlib.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>

#include "sim/base/error.h"
#include "sim/base/json.h"

namespace moesim {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{1} << 31;

[[noreturn]] void fail(const std::string& file, std::string problem, std::string allowed = "") {
  throw InputError(file, "", std::move(problem),
                   allowed.empty() ? std::string() : "allowed: " + allowed);
}

template <class T>
T little_endian(const char* from) {
  T value{};
  std::memcpy(&value, from, sizeof value);
  static_assert(std::endian::native == std::endian::little, "arrays are read in place");
  return value;
}

/// The text after `'key':` in a header dictionary, or "".
std::string_view entry(std::string_view header, std::string_view key) {
  const std::size_t at = header.find("'" + std::string(key) + "'");
  if (at == std::string_view::npos) {
    return "";
  }
  std::string_view rest = header.substr(at + key.size() + 2);
  const std::size_t start = rest.find_first_not_of(": ");
  return start == std::string_view::npos ? "" : rest.substr(start);
}

double element(const char* from, char kind, std::size_t size) {
  if (kind == 'i') {
    return size == 1   ? static_cast<double>(little_endian<std::int8_t>(from))
           : size == 2 ? static_cast<double>(little_endian<std::int16_t>(from))
           : size == 4 ? static_cast<double>(little_endian<std::int32_t>(from))
                       : static_cast<double>(little_endian<std::int64_t>(from));
  }
  if (kind == 'u') {
    return size == 1   ? static_cast<double>(little_endian<std::uint8_t>(from))
           : size == 2 ? static_cast<double>(little_endian<std::uint16_t>(from))
           : size == 4 ? static_cast<double>(little_endian<std::uint32_t>(from))
                       : static_cast<double>(little_endian<std::uint64_t>(from));
  }
  return size == 4 ? static_cast<double>(little_endian<float>(from)) : little_endian<double>(from);
}

std::string inflate_raw(std::string_view packed, std::size_t size, const std::string& file) {
  std::string out(size, '\0');
  z_stream stream{};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) {
    fail(file, "cannot be unpacked");
  }
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int code = inflate(&stream, Z_FINISH);
  const bool whole = code == Z_STREAM_END && stream.avail_out == 0;
  inflateEnd(&stream);
  if (!whole) {
    fail(file, "is damaged: a member does not unpack to its size");
  }
  return out;
}

}  // namespace

NumberArray parse_npy(std::string_view bytes, const std::string& file) {
  constexpr std::string_view kMagic = "\x93NUMPY";
  if (bytes.size() < 10 || bytes.substr(0, kMagic.size()) != kMagic) {
    fail(file, "is no NumPy array", "a .npy file of integers");
  }
  const bool wide = bytes[6] >= 2;  // versions 2 and 3 have a 4-byte header length
  if (bytes[6] < 1 || bytes[6] > 3 || (wide && bytes.size() < 12)) {
    fail(file, "has an unknown version of the NumPy format", "versions 1 to 3");
  }
  const std::size_t start = wide ? 12 : 10;
  const std::size_t length = wide ? little_endian<std::uint32_t>(bytes.data() + 8)
                                  : little_endian<std::uint16_t>(bytes.data() + 8);
  if (length > bytes.size() - start) {
    fail(file, "is cut off in its header");
  }
  const std::string_view header = bytes.substr(start, length);
  std::string_view descr = entry(header, "descr");
  const std::size_t quote = descr.empty() ? std::string_view::npos : descr.find('\'', 1);
  if (descr.empty() || descr[0] != '\'' || quote == std::string_view::npos) {
    fail(file, "has fields, or no element type", "plain integers or floats");
  }
  descr = descr.substr(1, quote - 1);
  std::size_t size = 0;
  if (descr.size() >= 3) {
    std::from_chars(descr.data() + 2, descr.data() + descr.size(), size);
  }
  const char kind = descr.size() >= 3 ? descr[1] : '?';
  const bool known =
      ((kind == 'i' || kind == 'u') && (size == 1 || size == 2 || size == 4 || size == 8)) ||
      (kind == 'f' && (size == 4 || size == 8));
  if (!known || descr[0] == '>') {
    fail(file,
         "has elements of type \"" + std::string(descr.substr(0, 16)) + "\"" +
             (kind == 'O' ? ": a pickle, which is never read" : ""),
         "little-endian integers, float32 or float64");
  }
  if (entry(header, "fortran_order").substr(0, 4) == "True") {
    fail(file, "is stored column by column", "numpy.ascontiguousarray");
  }
  std::string_view shape = entry(header, "shape");
  NumberArray array;
  std::size_t count = 1;
  if (shape.empty() || shape[0] != '(') {
    fail(file, "has no shape");
  }
  shape = shape.substr(1, shape.find(')') - 1);
  while (true) {
    const std::size_t digit = shape.find_first_of("0123456789");
    if (digit == std::string_view::npos) {
      break;
    }
    std::int64_t extent = 0;
    const auto [end, error] =
        std::from_chars(shape.data() + digit, shape.data() + shape.size(), extent);
    if (error != std::errc() || extent < 0 ||
        (extent > 0 && count > kMaxBytes / static_cast<std::size_t>(extent))) {
      fail(file, "is too large", "2^31 elements");
    }
    array.shape.push_back(extent);
    count *= static_cast<std::size_t>(extent);
    shape.remove_prefix(static_cast<std::size_t>(end - shape.data()));
  }
  const std::string_view data = bytes.substr(start + length);
  if (data.size() / size != count || data.size() % size != 0) {
    fail(file, "holds " + std::to_string(data.size()) + " bytes of numbers, its shape needs " +
                   std::to_string(count * size));
  }
  array.values.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    array.values[i] = element(data.data() + i * size, kind, size);
  }
  return array;
}

NumberArray parse_npz(std::string_view bytes, const std::string& name, const std::string& file) {
  // The end record points to the central directory, which lists every member.
  constexpr std::size_t kEndSize = 22;
  if (bytes.size() < kEndSize) {
    fail(file, "is no .npz archive");
  }
  std::size_t end = bytes.size() - kEndSize;
  while (bytes.substr(end, 4) != std::string_view("PK\5\6", 4)) {
    if (end == 0 || bytes.size() - end > kEndSize + 65535) {
      fail(file, "is no .npz archive");
    }
    --end;
  }
  const std::size_t members = little_endian<std::uint16_t>(bytes.data() + end + 10);
  std::size_t at = little_endian<std::uint32_t>(bytes.data() + end + 16);
  struct Member {
    std::string name;
    std::size_t method, packed, size, header;
  };
  std::vector<Member> found;
  std::string names;
  for (std::size_t m = 0; m < members; ++m) {
    if (at > bytes.size() || bytes.size() - at < 46 ||
        bytes.substr(at, 4) != std::string_view("PK\1\2", 4)) {
      fail(file, "is damaged: its directory is cut off");
    }
    const char* entry_bytes = bytes.data() + at;
    const std::size_t name_size = little_endian<std::uint16_t>(entry_bytes + 28);
    if (bytes.size() - at - 46 < name_size) {
      fail(file, "is damaged: its directory is cut off");
    }
    found.push_back({std::string(bytes.substr(at + 46, name_size)),
                     little_endian<std::uint16_t>(entry_bytes + 10),
                     little_endian<std::uint32_t>(entry_bytes + 20),
                     little_endian<std::uint32_t>(entry_bytes + 24),
                     little_endian<std::uint32_t>(entry_bytes + 42)});
    names += (names.empty() ? "" : ", ") + found.back().name;
    at += 46 + name_size + little_endian<std::uint16_t>(entry_bytes + 30) +
          little_endian<std::uint16_t>(entry_bytes + 32);
  }
  const std::string wanted = name.empty() ? "routed_experts" : name;
  const Member* member = nullptr;
  for (const Member& candidate : found) {
    if (candidate.name == wanted || candidate.name == wanted + ".npy" ||
        (name.empty() && found.size() == 1)) {
      member = &candidate;
    }
  }
  if (member == nullptr) {
    fail(file, "has no member \"" + wanted + "\"", names.empty() ? "none" : names);
  }
  if (member->header > bytes.size() || bytes.size() - member->header < 30 ||
      bytes.substr(member->header, 4) != std::string_view("PK\3\4", 4)) {
    fail(file, "is damaged: a member is missing");
  }
  const char* local = bytes.data() + member->header;
  const std::size_t data = member->header + 30 + little_endian<std::uint16_t>(local + 26) +
                           little_endian<std::uint16_t>(local + 28);
  if (data > bytes.size() || member->packed > bytes.size() - data) {
    fail(file, "is damaged: a member is cut off");
  }
  const std::string_view packed = bytes.substr(data, member->packed);
  const std::string inner = file + ":" + member->name;
  if (member->method == 0) {
    return parse_npy(packed, inner);
  }
  // Deflate expands at most about 1030 times; a larger claim is a trap.
  if (member->method != 8 || member->size > member->packed * 1100 + 1024) {
    fail(inner, "is packed in an unknown way", "numpy.savez or savez_compressed");
  }
  return parse_npy(inflate_raw(packed, member->size, inner), inner);
}

std::string decode_base64(std::string_view text, const std::string& file) {
  std::string out;
  std::uint32_t bits = 0;
  int held = 0;
  bool ended = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    int value = -1;
    if (c >= 'A' && c <= 'Z') {
      value = c - 'A';
    } else if (c >= 'a' && c <= 'z') {
      value = c - 'a' + 26;
    } else if (c >= '0' && c <= '9') {
      value = c - '0' + 52;
    } else if (c == '+' || c == '/') {
      value = c == '+' ? 62 : 63;
    } else if (c == '=') {
      ended = true;
      continue;
    } else if (c == ' ' || c == '\n' || c == '\r' || c == '\t') {
      continue;
    }
    if (value < 0 || ended) {
      fail(file, "is no base64: character " + std::to_string(i + 1));
    }
    bits = (bits << 6) | static_cast<std::uint32_t>(value);
    held += 6;
    if (held >= 8) {
      held -= 8;
      out += static_cast<char>((bits >> held) & 0xff);
    }
  }
  return out;
}

TokenTrace trace_of_array(const NumberArray& array, std::int32_t experts, const std::string& file) {
  if (array.shape.size() != 3 || array.shape[1] < 1 || array.shape[2] < 1) {
    std::string shape;
    for (const std::int64_t extent : array.shape) {
      shape += (shape.empty() ? "" : ", ") + std::to_string(extent);
    }
    fail(file, "has shape [" + shape + "]", "[tokens, layers, top_k]");
  }
  const std::size_t layers = static_cast<std::size_t>(array.shape[1]);
  const std::size_t k = static_cast<std::size_t>(array.shape[2]);
  std::size_t tokens = static_cast<std::size_t>(array.shape[0]);
  const auto at = [&](std::size_t t, std::size_t l, std::size_t j) {
    return array.values[(t * layers + l) * k + j];
  };
  for (std::size_t t = 0; t < tokens; ++t) {
    if (at(t, 0, 0) == -1.0) {  // padding from here on
      tokens = t;
    }
  }
  if (tokens == 0) {
    fail(file, "holds no token");
  }
  TokenTrace trace{.name = file, .top_k = static_cast<std::int32_t>(k)};
  trace.sequence.assign(tokens, 0);
  trace.sets.resize(tokens * layers * k);
  const double limit = experts > 0 ? experts : 32767;
  double most = 0.0;
  for (std::size_t l = 0; l < layers; ++l) {
    trace.layers.push_back(static_cast<std::int32_t>(l));
    for (std::size_t t = 0; t < tokens; ++t) {
      for (std::size_t j = 0; j < k; ++j) {
        const double e = at(t, l, j);
        bool good = e >= 0.0 && e < limit && e == std::floor(e);
        for (std::size_t i = 0; i < j && good; ++i) {
          good = at(t, l, i) != e;
        }
        if (!good) {
          fail(file,
               "element [" + std::to_string(t) + ", " + std::to_string(l) + ", " +
                   std::to_string(j) + "] is " + number_text(e),
               "different experts 0 to " + std::to_string(static_cast<int>(limit) - 1));
        }
        most = std::max(most, e);
        trace.sets[(l * tokens + t) * k + j] = static_cast<std::int16_t>(e);
      }
    }
  }
  trace.experts = experts > 0 ? experts : static_cast<std::int32_t>(most) + 1;
  return trace;
}

namespace {

NumberArray read_array(const std::string& path) {
  const std::string bytes = read_text_file(path, kMaxBytes);
  return bytes.substr(0, 2) == "PK" ? parse_npz(bytes, "", path) : parse_npy(bytes, path);
}

}  // namespace

TokenTrace read_routed_experts(const std::string& path, std::int32_t experts) {
  return trace_of_array(read_array(path), experts, path);
}

TokenTrace routed_experts_from_base64(std::string_view text, std::int64_t layers,
                                      std::int64_t top_k, int element_bytes, std::int32_t experts,
                                      const std::string& file) {
  const std::string bytes = decode_base64(text, file);
  MOESIM_CHECK((element_bytes == 2 || element_bytes == 4) && layers >= 1 && top_k >= 1,
               "engines return int16 or int32");
  const std::size_t row = static_cast<std::size_t>(layers * top_k * element_bytes);
  if (bytes.empty() || bytes.size() % row != 0) {
    fail(file, "holds " + std::to_string(bytes.size()) + " bytes",
         "a multiple of " + std::to_string(row) + " (layers * top_k * element bytes)");
  }
  NumberArray array;
  array.shape = {static_cast<std::int64_t>(bytes.size() / row), layers, top_k};
  const std::size_t size = static_cast<std::size_t>(element_bytes);
  for (std::size_t i = 0; i < bytes.size() / size; ++i) {
    array.values.push_back(element(bytes.data() + i * size, 'i', size));
  }
  return trace_of_array(array, experts, file);
}

std::vector<ExpertCounts> read_count_array(const std::string& path) {
  const NumberArray array = read_array(path);
  if (array.shape.empty() || array.shape.size() > 2 || array.values.empty()) {
    fail(path, "has " + std::to_string(array.shape.size()) + " dimensions",
         "[layers, experts] or [experts]");
  }
  const std::size_t experts = static_cast<std::size_t>(array.shape.back());
  std::vector<ExpertCounts> all;
  for (std::size_t i = 0; i < array.values.size(); ++i) {
    const double count = array.values[i];
    if (!(count >= 0.0 && count <= 0x1.0p52)) {
      fail(path, "element " + std::to_string(i) + " is " + number_text(count),
           "counts of at least 0");
    }
    if (i % experts == 0) {
      all.push_back({.layer = static_cast<std::int32_t>(all.size())});
    }
    all.back().counts.push_back(static_cast<std::int64_t>(std::floor(count + 0.5)));
  }
  return all;
}

namespace {

void refuse_pickles(const std::string& path) {
  for (const char* end : {".pkl", ".pickle", ".pt", ".pth", ".joblib"}) {
    if (path.ends_with(end)) {
      fail(path, "is a pickle, which runs code when read and is never read here",
           ".npy, .npz or CSV");
    }
  }
}

}  // namespace

TokenTrace read_recording(const std::string& path, std::int32_t experts) {
  refuse_pickles(path);
  return path.ends_with(".npy") || path.ends_with(".npz") ? read_routed_experts(path, experts)
                                                          : read_token_trace(path, experts);
}

std::vector<ExpertCounts> read_count_recording(const std::string& path) {
  refuse_pickles(path);
  return path.ends_with(".npy") || path.ends_with(".npz") ? read_count_array(path)
                                                          : read_expert_counts(path);
}

}  // namespace moesim
