// SPDX-License-Identifier: Apache-2.0
#include "sim/input/hardware_profile.h"

#include <algorithm>
#include <iterator>

#include "sim/input/profile_checks.h"

namespace moesim {
namespace {

constexpr const char* kSchema = "moesim/hardware_profile/1";

/// One row of the family table: name, what it covers, member.
struct Family {
  const char* name;
  const char* doc;
  OpEfficiency DeviceEfficiency::*member;
};

constexpr Family kFamilies[] = {
    {"gemm", "dense matrix products", &DeviceEfficiency::gemm},
    {"grouped_gemm", "fused MoE: both grouped GEMMs and their permutes",
     &DeviceEfficiency::grouped_gemm},
    {"attention_prefill", "attention over a prompt", &DeviceEfficiency::attention_prefill},
    {"attention_decode", "attention of one new token per sequence",
     &DeviceEfficiency::attention_decode},
    {"mla_prefill", "latent attention over a prompt", &DeviceEfficiency::mla_prefill},
    {"mla_decode", "latent attention of one new token, absorbed", &DeviceEfficiency::mla_decode},
    {"batched_gemm", "one small product per head (absorbed MLA)", &DeviceEfficiency::batched_gemm},
    {"elementwise", "norm, rope, quantise, activation, residual", &DeviceEfficiency::elementwise},
    {"routing", "top-k, sort, permute outside the fused MoE op", &DeviceEfficiency::routing},
};

void check_prices(const DeviceProfile& profile, const ReadContext& context) {
  for (std::size_t i = 0; i < profile.prices.size(); ++i) {
    const ReadContext at = context.at("prices").at(std::to_string(i));
    check_date(profile.prices[i].date, at.at("date"));
  }
}

void check_efficiency(const DeviceProfile& profile, const ReadContext& context) {
  std::vector<std::string> known;
  for (const Choice<NumberFormat>& format : choices_of(NumberFormat{})) {
    known.emplace_back(format.name);
  }
  for (const Family& family : kFamilies) {
    const OpEfficiency& fit = profile.efficiency.*family.member;
    const ReadContext at = context.at("efficiency").at(family.name);
    for (const auto& [format, fraction] : fit.compute_fraction_by_format) {
      check_word(format, known, at.at("compute_fraction_by_format").at(format));
    }
  }
}

}  // namespace

std::span<const Choice<PriceKind>> choices_of(PriceKind) {
  static constexpr Choice<PriceKind> kChoices[] = {
      {PriceKind::on_demand, "on_demand", "by the hour, no commitment"},
      {PriceKind::reserved, "reserved", "with a commitment of months or years"},
      {PriceKind::spot, "spot", "may be taken back at any time"},
      {PriceKind::owned, "owned", "own machines, written off"},
  };
  return kChoices;
}

double OpEfficiency::compute_fraction_of(NumberFormat format) const {
  const auto found = compute_fraction_by_format.find(choice_name(format));
  return found == compute_fraction_by_format.end() ? compute_fraction : found->second;
}

const OpEfficiency& DeviceEfficiency::of(std::string_view family) const {
  const auto* found = std::find_if(std::begin(kFamilies), std::end(kFamilies),
                                   [family](const Family& row) { return row.name == family; });
  MOESIM_CHECK(found != std::end(kFamilies), "no op family has this name");
  return this->*found->member;
}

FlopsPerSecond DeviceProfile::peak_of(NumberFormat format) const {
  using Peak = const std::optional<Sourced<FlopsPerSecond>>*;
  const auto first = [](std::initializer_list<Peak> candidates) {
    for (const Peak candidate : candidates) {
      if (*candidate) {
        return (*candidate)->value;
      }
    }
    return FlopsPerSecond(0);
  };
  switch (format) {
    case NumberFormat::fp32:
      return first({&peak.fp32, &peak.tf32, &peak.bf16, &peak.fp16});
    case NumberFormat::tf32:
      return first({&peak.tf32, &peak.fp32, &peak.bf16, &peak.fp16});
    case NumberFormat::bf16:
      return first({&peak.bf16, &peak.fp16, &peak.fp32});
    case NumberFormat::fp16:
      return first({&peak.fp16, &peak.bf16, &peak.fp32});
    case NumberFormat::fp8:
    case NumberFormat::fp8_block:
      return first({&peak.fp8, &peak.bf16, &peak.fp16, &peak.fp32});
    case NumberFormat::int8:
      return first({&peak.int8, &peak.bf16, &peak.fp16, &peak.fp32});
    case NumberFormat::mxfp4:
    case NumberFormat::nvfp4:
      return first({&peak.fp4, &peak.bf16, &peak.fp16, &peak.fp32});
    case NumberFormat::int4:
      return first({&peak.int4, &peak.bf16, &peak.fp16, &peak.fp32});
  }
  return FlopsPerSecond(0);
}

const Fields<OpEfficiency>& fields_of(const OpEfficiency*) {
  static const Fields<OpEfficiency> table = [] {
    Fields<OpEfficiency> fields("op efficiency", "t = t0 + max(tc, tm) + c * min(tc, tm) + d * n");
    fields.add("compute_fraction", &OpEfficiency::compute_fraction,
               {.doc = "ec, fraction of the number format's peak",
                .unit = "fraction",
                .required = true,
                .min = 0,
                .max = 1.5,
                .min_exclusive = true});
    fields.add("compute_fraction_by_format", &OpEfficiency::compute_fraction_by_format,
               {.doc = "ec of single number formats where it differs",
                .unit = "fraction",
                .min = 0,
                .max = 1.5,
                .min_exclusive = true});
    fields.add("memory_fraction", &OpEfficiency::memory_fraction,
               {.doc = "em, fraction of the memory bandwidth",
                .unit = "fraction",
                .required = true,
                .min = 0,
                .max = 1.05,
                .min_exclusive = true});
    fields.add("startup_s", &OpEfficiency::startup,
               {.doc = "t0, cost of an op before its first byte",
                .unit = "s",
                .required = true,
                .min = 0,
                .max = 1});
    fields.add("overlap_fraction", &OpEfficiency::overlap,
               {.doc = "c: 0 hides the lesser of compute and memory time, 1 adds it",
                .unit = "fraction",
                .min = 0,
                .max = 1});
    fields.add("per_assignment_s", &OpEfficiency::per_assignment,
               {.doc = "d, per (token, expert) pair", .unit = "s", .min = 0, .max = 1});
    add_provenance(fields);
    return fields;
  }();
  return table;
}

const Fields<DeviceEfficiency>& fields_of(const DeviceEfficiency*) {
  static const Fields<DeviceEfficiency> table = [] {
    Fields<DeviceEfficiency> fields("device efficiency");
    for (const Family& family : kFamilies) {
      fields.add(family.name, family.member, {.doc = family.doc, .required = true});
    }
    return fields;
  }();
  return table;
}

const Fields<PeakFlops>& fields_of(const PeakFlops*) {
  static const Fields<PeakFlops> table = [] {
    Fields<PeakFlops> fields("peak rates", "dense, without sparsity");
    const auto add = [&fields](const char* key, auto member, const char* doc) {
      fields.add(key, member, {.doc = doc, .unit = "flops_per_s", .min = 1e9, .max = 1e18});
    };
    add("fp64", &PeakFlops::fp64, "64-bit float, matrix units where there are any");
    add("fp32", &PeakFlops::fp32, "32-bit float, vector units");
    add("tf32", &PeakFlops::tf32, "32-bit float with a 10-bit mantissa, matrix units");
    add("bf16", &PeakFlops::bf16, "bfloat16, 32-bit sums");
    add("fp16", &PeakFlops::fp16, "half precision, 32-bit sums");
    add("fp8", &PeakFlops::fp8, "8-bit float, 32-bit sums");
    add("int8", &PeakFlops::int8, "8-bit integers");
    add("fp6", &PeakFlops::fp6, "6-bit float");
    add("fp4", &PeakFlops::fp4, "4-bit float (MXFP4, NVFP4)");
    add("int4", &PeakFlops::int4, "4-bit integers");
    return fields;
  }();
  return table;
}

const Fields<GpuHourPrice>& fields_of(const GpuHourPrice*) {
  static const Fields<GpuHourPrice> table =
      Fields<GpuHourPrice>("price")
          .add("usd_per_gpu_hour", &GpuHourPrice::usd_per_gpu_hour,
               {.doc = "price of one device for an hour", .required = true, .min = 0, .max = 1000})
          .add("kind", &GpuHourPrice::kind, {.doc = "how it is bought", .required = true})
          .add("provider", &GpuHourPrice::provider, {.doc = "who sells it"})
          .add("date", &GpuHourPrice::date, {.doc = "day the price held", .required = true})
          .add("origin", &GpuHourPrice::origin, {.doc = "where it comes from", .required = true})
          .add("source", &GpuHourPrice::source, {.doc = "title and URL", .required = true});
  return table;
}

const Fields<DeviceProfile>& fields_of(const DeviceProfile*) {
  static const Fields<DeviceProfile> table = [] {
    using P = DeviceProfile;
    Fields<P> f("hardware_profile", "what one device can do, each number with its origin");
    f.add("schema", &P::schema, {.doc = "\"moesim/hardware_profile/1\"", .required = true});
    f.add("id", &P::id, {.doc = "the file's name without .json", .required = true});
    f.add("name", &P::name, {.doc = "name for people", .required = true});
    f.add("vendor", &P::vendor, {.doc = "who makes it", .required = true});
    f.add("software", &P::software, {.doc = "stack behind measured and fitted numbers"});
    f.add("note", &P::note, {.doc = "what a reader should know"});
    f.add("memory_bytes", &P::memory,
          {.doc = "device memory", .unit = "bytes", .required = true, .min = 1e6, .max = 1e14});
    f.add("memory_bandwidth_bytes_per_s", &P::memory_bandwidth,
          {.doc = "peak memory bandwidth",
           .unit = "bytes_per_s",
           .required = true,
           .min = 1e9,
           .max = 1e15});
    f.add("peak_flops_per_s", &P::peak,
          {.doc = "dense peak by number format", .unit = "flops_per_s", .required = true});
    f.add("sm_count", &P::sm_count,
          {.doc = "multiprocessors, compute units or cores", .min = 1, .max = 100000});
    f.add("l2_bytes", &P::l2,
          {.doc = "last-level cache", .unit = "bytes", .min = 1e3, .max = 1e12});
    f.add("power_w", &P::power,
          {.doc = "board or module power limit", .unit = "w", .min = 1, .max = 1e5});
    f.add("idle_power_w", &P::idle_power,
          {.doc = "power when nothing runs", .unit = "w", .min = 0, .max = 1e5});
    f.add("scale_up_bytes_per_s", &P::scale_up,
          {.doc = "all links to peers together, one direction",
           .unit = "bytes_per_s",
           .min = 1e6,
           .max = 1e15});
    f.add("pcie_bytes_per_s", &P::pcie,
          {.doc = "link rate to the host, one direction",
           .unit = "bytes_per_s",
           .min = 1e6,
           .max = 1e14});
    f.add("launch_gap_s", &P::launch_gap,
          {.doc = "gap between dependent kernels of a captured graph",
           .unit = "s",
           .required = true,
           .min = 0,
           .max = 1});
    f.add("launch_eager_s", &P::launch_eager,
          {.doc = "host cost of one kernel launched outside a graph",
           .unit = "s",
           .required = true,
           .min = 0,
           .max = 1});
    f.add("efficiency", &P::efficiency,
          {.doc = "how much of the peaks each op family reaches", .required = true});
    f.add("prices", &P::prices, {.doc = "prices of one device hour"});
    return f;
  }();
  return table;
}

DeviceProfile read_device_profile(const Json& json, const std::string& file) {
  Diagnostics diagnostics;
  const ReadContext context{file, "", diagnostics};
  DeviceProfile profile;
  check_schema(json, kSchema, context);
  diagnostics.throw_if_any();
  fields_of(&profile).read(&profile, json, context);
  if (json.find("peak_flops_per_s") != nullptr && diagnostics.empty() && !profile.peak.bf16 &&
      !profile.peak.fp16 && !profile.peak.fp32) {
    context.at("peak_flops_per_s")
        .problem("has none of bf16, fp16 and fp32",
                 "give at least one: narrower types fall back to it");
  }
  check_sources(json, context);
  check_efficiency(profile, context);
  check_prices(profile, context);
  diagnostics.throw_if_any();
  return profile;
}

DeviceProfile load_device_profile(const std::string& path) {
  DeviceProfile profile = read_device_profile(load_json(path), path);
  check_id_is_file_name(profile.id, path);
  return profile;
}

Json write_device_profile(const DeviceProfile& profile) { return write_object(profile); }

}  // namespace moesim
