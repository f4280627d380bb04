// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/parsers.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

#include "sim/base/json.h"
#include "sim/input/bench_result.h"
#include "sim/input/card_library.h"
#include "sim/input/cluster_profile.h"
#include "sim/input/hardware_profile.h"
#include "sim/input/hf_config.h"
#include "sim/input/launch_line.h"
#include "sim/input/measurement_tables.h"
#include "sim/input/model_card.h"
#include "sim/input/scenario.h"
#include "sim/input/serving_measurements.h"
#include "sim/input/trace_file.h"
#include "sim/input/yaml_text.h"
#include "sim/moe/placement_format.h"

namespace moesim::fuzz {
namespace {

/// A file in memory with a path, for readers that take only paths.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view text) : descriptor_(memfd_create("moesim", 0)) {
    MOESIM_CHECK(descriptor_ >= 0, "no file in memory");
    while (!text.empty()) {
      const ssize_t written = write(descriptor_, text.data(), text.size());
      MOESIM_CHECK(written > 0, "cannot write a file in memory");
      text.remove_prefix(static_cast<std::size_t>(written));
    }
  }
  ~MemoryFile() { close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

const CardLibrary& cards() {
  static const CardLibrary library = CardLibrary::open(MOESIM_SOURCE_DIR);
  return library;
}

const std::string kText = "text";

void json_text(std::string_view text) {
  const Json json = parse_json(text, kText);
  // Texts are compared: 2.0 is written as 2, which is another kind of number and the same text.
  for (const int indent : {2, -1}) {
    const std::string once = json.dump(indent);
    MOESIM_CHECK(parse_json(once, kText).dump(indent) == once, "JSON does not survive writing");
  }
}

void model_card_text(std::string_view text) {
  Diagnostics diagnostics;
  const ModelCard card = read_model_card(parse_json(text, kText), kText, diagnostics);
  diagnostics.throw_if_any();
  const Json once = model_card_json(card);
  const ModelCard again = read_model_card(once, kText, diagnostics);
  MOESIM_CHECK(diagnostics.empty() && model_card_json(again) == once,
               "a model card does not survive writing");
}

void device_text(std::string_view text) {
  const DeviceProfile profile = read_device_profile(parse_json(text, kText), kText);
  const Json once = write_device_profile(profile);
  MOESIM_CHECK(write_device_profile(read_device_profile(once, kText)) == once,
               "a device profile does not survive writing");
}

void cluster_text(std::string_view text) {
  const ClusterProfile profile = read_cluster_profile(parse_json(text, kText), kText);
  const Json once = write_cluster_profile(profile);
  MOESIM_CHECK(write_cluster_profile(read_cluster_profile(once, kText)) == once,
               "a cluster profile does not survive writing");
}

void scenario_text(std::string_view text) {
  const MemoryFile file(text);
  load_scenario(file.path(), cards());
}

void trace_text(std::string_view text) {
  const MemoryFile file(text);
  const TokenTrace trace = read_token_trace(file.path());
  const MemoryFile copy(token_trace_text(trace));
  const TokenTrace again = read_token_trace(copy.path());
  MOESIM_CHECK(again.sets == trace.sets && again.layers == trace.layers,
               "a trace does not survive writing");
}

void counts_text(std::string_view text) {
  const MemoryFile file(text);
  read_expert_counts(file.path());
}

void table_file(const std::string& path) {
  Diagnostics problems;
  read_measurement_table(path, problems);
  problems.throw_if_any();
}

void table_text(std::string_view text) {
  Diagnostics problems;
  const TableIdentity identity = table_identity("h100_sxm/gemm.trtllm-1.0.0.csv");
  const MeasurementTable table = parse_measurement_table(text, identity, problems);
  for (std::size_t row = 0; row < table.num_rows(); ++row) {
    MOESIM_CHECK(table.latency_s(row) > 0, "a row without time was kept");
  }
  problems.throw_if_any();
}

void serving_rows_file(const std::string& path) {
  Diagnostics problems;
  read_serving_measurements(path, problems);
  problems.throw_if_any();
}

void serving_rows_text(std::string_view text) {
  Diagnostics problems;
  const std::string once =
      serving_measurements_csv(parse_serving_measurements(text, kText, problems));
  Diagnostics none;
  MOESIM_CHECK(serving_measurements_csv(parse_serving_measurements(once, kText, none)) == once &&
                   none.empty(),
               "measured rows do not survive writing");
  problems.throw_if_any();
}

std::string whole(const std::string& path) { return read_text_file(path, 1u << 24); }

void launch_file(const std::string& path) { import_launch(whole(path), path, cards()); }

void launch_text(std::string_view text) {
  looks_like_launch(text);
  import_launch(text, kText, cards());
}

void bench_file(const std::string& path) { import_bench_result(whole(path), path); }

void bench_text(std::string_view text) {
  looks_like_bench_result(text);
  serving_measurements_csv(import_bench_result(text, kText).rows);
}

void yaml_file(const std::string& path) { parse_yaml(whole(path), path); }

void yaml_text(std::string_view text) { parse_yaml(text, kText); }

void hf_config_file(const std::string& path) { import_hf_config(load_json(path), path, "model"); }

void hf_config_text(std::string_view text) {
  import_hf_config(parse_json(text, kText), kText, "model");
}

void placement_request_text(std::string_view text) {
  const MemoryFile file(text);
  load_placement_request(file.path());
}

void placement_file(const std::string& path) { read_placement(load_json(path), path); }

void placement_text(std::string_view text) { read_placement(parse_json(text, kText), kText); }

}  // namespace

const std::vector<Parser>& parsers() {
  static const std::vector<Parser> all = {
      {"json", "scenarios/quickstart.json", [](const std::string& path) { load_json(path); },
       json_text},
      {"model_card", "models/deepseek_v3.json",
       [](const std::string& path) { load_model_card(path); }, model_card_text},
      {"device", "hardware_profiles/h100_sxm.json",
       [](const std::string& path) { load_device_profile(path); }, device_text},
      {"cluster", "hardware_profiles/cluster_h800_ib400.json",
       [](const std::string& path) { cards().cluster(path); }, cluster_text},
      {"scenario", "scenarios/quickstart.json",
       [](const std::string& path) { load_scenario(path, cards()); }, scenario_text},
      {"trace", "tests/data/trace_sample.csv",
       [](const std::string& path) { read_token_trace(path); }, trace_text},
      {"counts", "tests/data/counts_sample.csv",
       [](const std::string& path) { read_expert_counts(path); }, counts_text},
      {"table", "tests/data/table_sample/h100_sxm/gemm.trtllm-1.0.0.csv", table_file, table_text},
      {"serving_rows", "tests/data/serving_measurements_sample.csv", serving_rows_file,
       serving_rows_text},
      {"launch", "tests/data/launch_sample.txt", launch_file, launch_text},
      {"bench_result", "tests/data/bench_result_sample.json", bench_file, bench_text},
      {"yaml", "tests/data/yaml_sample.yaml", yaml_file, yaml_text},
      {"hf_config", "tests/data/hf_configs/deepseek_v3.json", hf_config_file, hf_config_text},
      {"placement_request", "tests/data/placement_request_sample.json",
       [](const std::string& path) { load_placement_request(path); }, placement_request_text},
      {"placement", "tests/data/placement_sample.json", placement_file, placement_text},
  };
  return all;
}

const Parser& parser(std::string_view name) {
  for (const Parser& candidate : parsers()) {
    if (candidate.name == name) {
      return candidate;
    }
  }
  MOESIM_CHECK(false, "no parser has this name");
  std::abort();
}

}  // namespace moesim::fuzz
