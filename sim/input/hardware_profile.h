// SPDX-License-Identifier: Apache-2.0
// A device profile: what one accelerator (or CPU host) can do, each number with its origin.
//
// Datasheet peaks are kept apart from efficiencies: an op of a family takes
//     t = t0 + max(tc, tm) + c * min(tc, tm) + d * assignments,
//     tc = flops / (ec * peak), tm = bytes / (em * bandwidth), c in [0, 1],
// whose five parameters are one `OpEfficiency` per family (fitted together, hence one provenance).
// A profile belongs to a software stack: `software` names it. Rates are dense, without sparsity.
// Files: hardware_profiles/<id>.json, schema "moesim/hardware_profile/1". Clusters are in
// cluster_profile.h.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sim/base/field_table.h"
#include "sim/base/number_format.h"
#include "sim/base/units.h"
#include "sim/input/sourced.h"

namespace moesim {

/// Parameters of one op family on one device.
struct OpEfficiency : Provenance {
  double compute_fraction = 0;  ///< ec, fraction of the peak of the op's number format
  /// ec of single formats (names of NumberFormat) where it differs from the above.
  std::map<std::string, double> compute_fraction_by_format;
  double memory_fraction = 0;  ///< em, fraction of the datasheet memory bandwidth
  Seconds startup;             ///< t0, what an op costs before its first byte
  double overlap = 0;          ///< c: 0 hides the lesser of compute and memory time, 1 adds it
  Seconds per_assignment;      ///< d, per (token, expert) pair

  double compute_fraction_of(NumberFormat format) const;
};

/// Efficiencies of all op families; the members are named as the families are.
struct DeviceEfficiency {
  OpEfficiency gemm;
  OpEfficiency grouped_gemm;  ///< fused MoE: permute, both grouped GEMMs, activation, un-permute
  OpEfficiency attention_prefill, attention_decode;
  OpEfficiency mla_prefill, mla_decode;
  OpEfficiency batched_gemm, elementwise, routing;

  /// The member called `family`; aborts when there is none (families are an enumeration's names).
  const OpEfficiency& of(std::string_view family) const;
};

/// Dense peak rates; absent means that the device has no such units or nobody published them.
struct PeakFlops {
  std::optional<Sourced<FlopsPerSecond>> fp64, fp32, tf32, bf16, fp16, fp8, int8, fp6, fp4, int4;
};

enum class PriceKind { on_demand, reserved, spot, owned };
std::span<const Choice<PriceKind>> choices_of(PriceKind);

/// What an hour of one device costs.
struct GpuHourPrice {
  double usd_per_gpu_hour = 0;
  PriceKind kind = PriceKind::on_demand;
  std::string provider;
  std::string date;  ///< YYYY-MM-DD, the day the price was read
  Origin origin = Origin::datasheet;
  std::string source;
};

struct DeviceProfile {
  std::string schema;
  std::string id;        ///< the file's name without ".json"
  std::string name;      ///< for people
  std::string vendor;    ///< "NVIDIA", "AMD" ...
  std::string software;  ///< stack behind measured and fitted numbers; "" when there are none
  std::string note;

  Sourced<Bytes> memory;
  Sourced<BytesPerSecond> memory_bandwidth;
  PeakFlops peak;
  std::optional<SourcedCount> sm_count;  ///< multiprocessors, compute units or cores
  std::optional<Sourced<Bytes>> l2;
  std::optional<Sourced<Watts>> power;  ///< board or module limit
  std::optional<Sourced<Watts>> idle_power;
  std::optional<Sourced<BytesPerSecond>> scale_up;  ///< sum of its links, one direction
  std::optional<Sourced<BytesPerSecond>> pcie;      ///< link rate to the host, one direction
  Sourced<Seconds> launch_gap;    ///< between dependent kernels of one captured graph
  Sourced<Seconds> launch_eager;  ///< host cost of one kernel launched outside a graph
  DeviceEfficiency efficiency;
  std::vector<GpuHourPrice> prices;

  /// The peak at which values of `format` multiply: its own where the device has it, else that of
  /// the format its values are widened to (narrow ones to bf16, bf16 and fp16 to each other, then
  /// fp32). Positive for every loaded profile.
  FlopsPerSecond peak_of(NumberFormat format) const;
};

const Fields<OpEfficiency>& fields_of(const OpEfficiency*);
const Fields<DeviceEfficiency>& fields_of(const DeviceEfficiency*);
const Fields<PeakFlops>& fields_of(const PeakFlops*);
const Fields<GpuHourPrice>& fields_of(const GpuHourPrice*);
const Fields<DeviceProfile>& fields_of(const DeviceProfile*);

/// Reads a profile; `json` came from `file`. Throws InputError with every problem.
DeviceProfile read_device_profile(const Json& json, const std::string& file);
/// Reads hardware_profiles/<id>.json at `path`; also checks that the id is the file's name.
DeviceProfile load_device_profile(const std::string& path);
Json write_device_profile(const DeviceProfile& profile);

}  // namespace moesim
