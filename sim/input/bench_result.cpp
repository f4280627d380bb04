// SPDX-License-Identifier: Apache-2.0
// Sources of the keys: vllm/benchmarks/serve.py, sglang/bench_serving.py, utils/process_result.py
// of github.com/SemiAnalysisAI/InferenceX, docs of aiperf (reference/json-export-schema),
// guidellm's benchmark/output.py.
#include "sim/input/bench_result.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "sim/input/bench_text.h"

namespace moesim {
namespace {

/// A JSON object whose keys are ticked off as they are read.
class Record {
 public:
  Record(const Json& json, const std::string& file, std::string pointer)
      : json_(json), file_(file), pointer_(std::move(pointer)) {}

  const Json* find(std::string_view key) {
    const Json* value = json_.find(key);
    if (value != nullptr) {
      read_.insert(std::string(key));
    }
    return value == nullptr || value->is_null() ? nullptr : value;
  }

  /// A positive number, or nothing when the key is absent, null or 0 (benchmarks write 0 for what
  /// they did not measure). "inf" is nothing, too.
  std::optional<double> number(std::string_view key) {
    const Json* value = find(key);
    if (value == nullptr) {
      return std::nullopt;
    }
    double number = 0;
    if (value->is_number()) {
      number = value->as_number();
    } else if (value->is_text()) {
      if (value->as_text() == "inf") {
        return std::nullopt;
      }
      const std::optional<double> parsed = plain_number(value->as_text());
      if (!parsed) {
        wrong(key, "is no number");
      }
      number = *parsed;
    } else {
      wrong(key, "is no number");
    }
    if (number < 0) {
      wrong(key, number_text(number) + " is negative");
    }
    return number > 0 ? std::optional<double>(number) : std::nullopt;
  }

  std::string text(std::string_view key) {
    const Json* value = find(key);
    if (value == nullptr) {
      return "";
    }
    return value->is_text() ? value->as_text() : value->dump(-1);
  }

  void unread(std::vector<std::string>& list) const {
    for (const auto& [key, value] : json_.members()) {
      if (read_.count(key) == 0) {
        list.push_back(key);
      }
    }
  }

 private:
  [[noreturn]] void wrong(std::string_view key, const std::string& problem) const {
    throw InputError(file_, pointer_ + "/" + pointer_token(key), problem,
                     "a number > 0, as the benchmark writes it");
  }

  const Json& json_;
  const std::string& file_;
  std::string pointer_;
  std::set<std::string> read_;
};

std::string count_cell(double value) { return number_text(std::round(value * 10) / 10); }

std::optional<double> milliseconds(const std::optional<double>& value) {
  return value ? std::optional<double>(*value / 1e3) : std::nullopt;
}

void add_note(ServingMeasurement& row, const std::string& note) {
  row.notes += (row.notes.empty() ? "" : "; ") + note;
}

/// Load of a run: closed loop at a concurrency, or an arrival rate.
void set_load(ServingMeasurement& row, const std::optional<double>& concurrency,
              const std::optional<double>& rate) {
  if (concurrency) {
    row.load = number_text(*concurrency);
  } else if (rate) {
    row.load = "qps " + number_text(*rate);
  } else {
    row.load = "offline, all requests at t=0";
  }
}

std::string name_of(const std::string& file, std::size_t index, std::size_t count) {
  const std::string name = file.substr(file.rfind('/') + 1);
  return count > 1 ? name + "-" + std::to_string(index + 1) : name;
}

/// `vllm bench serve` and `sglang.bench_serving` write nearly the same object.
ServingMeasurement read_bench_serving(Record& record, bool is_sglang) {
  ServingMeasurement row;
  row.source = is_sglang ? "sglang.bench_serving" : "vllm bench serve";
  row.framework = record.text("backend");
  if (row.framework.empty()) {
    row.framework = record.text("endpoint_type");
  }
  row.date = record.text("date");
  row.model = record.text("model_id");
  if (row.model.empty()) {
    row.model = record.text("model");
  }
  row.role = "agg";
  const std::optional<double> completed = record.number("completed");
  const std::optional<double> input = record.number("total_input_tokens");
  const std::optional<double> output = record.number("total_output_tokens");
  if (completed && input) {
    row.input_tokens = count_cell(*input / *completed);
  }
  if (completed && output) {
    row.output_tokens = count_cell(*output / *completed);
  }
  set_load(row, record.number("max_concurrency"), record.number("request_rate"));
  row.ttft_s = milliseconds(record.number("mean_ttft_ms"));
  row.tpot_s = milliseconds(record.number("mean_tpot_ms"));
  if (completed) {
    if (row.load.starts_with("offline")) {
      row.load = "offline, all " + number_text(*completed) + " requests at t=0";
    }
    add_note(row, number_text(*completed) + " prompts");
  }
  if (const auto total = record.number("output_throughput")) {
    add_note(row, "output " + number_text(*total) + " tok/s total: divide by the GPUs");
  }
  if (const auto total = record.number("input_throughput")) {
    add_note(row, "input " + number_text(*total) + " tok/s total");
  }
  if (const auto accepted = record.number("accept_length")) {
    add_note(row, "speculative decoding, " + number_text(*accepted) + " tokens accepted a step");
  }
  add_note(row, "means");
  return row;
}

/// InferenceX's aggregated results: seconds, and rates per GPU.
ServingMeasurement read_inferencex(Record& record) {
  ServingMeasurement row;
  row.source = "InferenceX (SemiAnalysis)";
  row.model = record.text("model");
  row.system = record.text("hw");
  row.framework = record.text("framework");
  row.precision = record.text("precision");
  row.role = "agg";
  const std::optional<double> tensor = record.number("tp");
  const std::optional<double> expert = record.number("ep");
  const std::string attention = record.text("dp_attention");
  const bool attention_data = attention == "true" || attention == "True";
  if (tensor) {
    row.gpus = tensor;
    row.nodes = std::max(1.0, std::ceil(*tensor / 8.0));
    row.tensor = attention_data ? 1.0 : *tensor;
    row.data = attention_data ? *tensor : 1.0;
    row.expert = expert.value_or(1);
    row.pipeline = 1;
    row.moe_expert = expert.value_or(1);
    row.moe_tensor = *tensor / expert.value_or(1);
  }
  if (const auto input = record.number("isl")) {
    row.input_tokens = number_text(*input);
  }
  if (const auto output = record.number("osl")) {
    row.output_tokens = number_text(*output);
  }
  set_load(row, record.number("conc"), std::nullopt);
  row.output_rate = record.number("output_tput_per_gpu");
  row.input_rate = record.number("input_tput_per_gpu");
  record.find("tput_per_gpu");  // the sum of both
  row.ttft_s = record.number("mean_ttft");
  row.tpot_s = record.number("mean_tpot");
  add_note(row, "closed loop, random_range_ratio 0.8; means");
  const std::string speculative = record.text("spec_decoding") + record.text("mtp");
  if (!speculative.empty() && speculative != "none" && speculative != "off") {
    add_note(row, "MTP with unknown acceptance (" + speculative + ")");
  }
  return row;
}

/// aiperf, genai-perf: {"time_to_first_token": {"unit": "ms", "avg": ...}, ...}.
ServingMeasurement read_aiperf(Record& record, const std::string& file) {
  ServingMeasurement row;
  row.source = "aiperf";
  row.role = "agg";
  const auto average = [&](std::string_view key) -> std::optional<double> {
    const Json* metric = record.find(key);
    if (metric == nullptr || !metric->is_object()) {
      return std::nullopt;
    }
    Record inner(*metric, file, "/" + std::string(key));
    std::optional<double> value = inner.number("avg");
    const std::string unit = inner.text("unit");
    if (value && unit == "ms") {
      *value /= 1e3;
    } else if (value && unit == "us") {
      *value /= 1e6;
    } else if (value && unit == "ns") {
      *value /= 1e9;
    }
    return value;
  };
  row.ttft_s = average("time_to_first_token");
  row.tpot_s = average("inter_token_latency");
  if (const auto length = average("input_sequence_length")) {
    row.input_tokens = count_cell(*length);
  }
  if (const auto length = average("output_sequence_length")) {
    row.output_tokens = count_cell(*length);
  }
  if (const auto total = average("output_token_throughput")) {
    add_note(row, "output " + number_text(*total) + " tok/s total: divide by the GPUs");
  }
  std::optional<double> concurrency;
  std::optional<double> rate;
  if (const Json* config = record.find("input_config"); config != nullptr) {
    const auto at = [config](const char* pointer) -> std::optional<double> {
      const Json* value = config->at_pointer(pointer);
      return value != nullptr && value->is_number() && value->as_number() > 0
                 ? std::optional<double>(value->as_number())
                 : std::nullopt;
    };
    concurrency = at("/loadgen/concurrency");
    rate = at("/loadgen/request_rate");
    const Json* names = config->at_pointer("/endpoint/model_names");
    if (names != nullptr && names->is_array() && !names->items().empty() &&
        names->items()[0].is_text()) {
      row.model = names->items()[0].as_text();
    }
  }
  set_load(row, concurrency, rate);
  add_note(row, "TPOT is the inter-token latency (first token left out); means");
  return row;
}

/// One benchmark of guidellm's list.
ServingMeasurement read_guidellm(Record& record, const std::string& file,
                                 const std::string& pointer) {
  ServingMeasurement row;
  row.source = "guidellm";
  row.role = "agg";
  const Json* metrics = record.find("metrics");
  const auto mean = [&](std::string_view key) -> std::optional<double> {
    const Json* metric = metrics == nullptr ? nullptr : metrics->find(key);
    const Json* good = metric == nullptr ? nullptr : metric->find("successful");
    if (good == nullptr || !good->is_object()) {
      return std::nullopt;
    }
    return Record(*good, file, pointer + "/metrics/" + std::string(key) + "/successful")
        .number("mean");
  };
  row.ttft_s = milliseconds(mean("time_to_first_token_ms"));
  row.tpot_s = milliseconds(mean("inter_token_latency_ms"));
  if (const auto length = mean("prompt_token_count")) {
    row.input_tokens = count_cell(*length);
  }
  if (const auto length = mean("output_token_count")) {
    row.output_tokens = count_cell(*length);
  }
  std::optional<double> concurrency;
  std::optional<double> rate;
  for (const char* holder : {"config", "args"}) {
    const Json* config = record.find(holder);
    const Json* strategy = config == nullptr ? nullptr : config->find("strategy");
    if (strategy != nullptr && strategy->is_object()) {
      Record inner(*strategy, file, pointer + "/" + holder + "/strategy");
      concurrency = inner.number("streams");
      rate = inner.number("rate");
      if (inner.text("type_") == "synchronous") {
        concurrency = 1;
      }
    }
  }
  set_load(row, concurrency, rate);
  if (const auto total = mean("output_tokens_per_second")) {
    add_note(row, "output " + number_text(*total) + " tok/s total: divide by the GPUs");
  }
  add_note(row,
           "TPOT is inter_token_latency_ms; guidellm's time_per_output_token_ms counts the first "
           "token in; means");
  return row;
}

enum class BenchFormat { none, vllm, sglang, inferencex, aiperf, guidellm };

BenchFormat format_of(const Json& json) {
  const auto has = [&json](const char* key) { return json.find(key) != nullptr; };
  if (has("benchmarks")) {
    return BenchFormat::guidellm;
  }
  if (has("time_to_first_token") || has("inter_token_latency")) {
    return BenchFormat::aiperf;
  }
  if (has("conc") && has("hw")) {
    return BenchFormat::inferencex;
  }
  if (has("mean_ttft_ms") || has("mean_tpot_ms")) {
    return has("model_id") || has("endpoint_type") || has("burstiness") ? BenchFormat::vllm
                                                                        : BenchFormat::sglang;
  }
  return BenchFormat::none;
}

const char* name_of(BenchFormat format) {
  switch (format) {
    case BenchFormat::vllm:
      return "vllm bench serve";
    case BenchFormat::sglang:
      return "sglang.bench_serving";
    case BenchFormat::inferencex:
      return "InferenceX";
    case BenchFormat::aiperf:
      return "aiperf";
    case BenchFormat::guidellm:
      return "guidellm";
    case BenchFormat::none:
      break;
  }
  return "";
}

}  // namespace

bool looks_like_bench_result(std::string_view text) {
  if (is_printed_result(text)) {
    return true;
  }
  try {
    const std::vector<Json> objects = objects_of(text, "text");
    return !objects.empty() && format_of(objects.front()) != BenchFormat::none;
  } catch (const InputError&) {
    return false;
  }
}

ImportedBench import_bench_result(std::string_view text, const std::string& file) {
  ImportedBench result;
  std::vector<Json> objects;
  if (is_printed_result(text)) {
    objects = printed_results(text);
    result.notes.push_back("printed text: model, machine and layout are not in it");
  } else {
    objects = objects_of(text, file);
  }
  std::set<std::string> unread;
  for (std::size_t i = 0; i < objects.size(); ++i) {
    const Json& json = objects[i];
    const std::string pointer = objects.size() > 1 ? "/" + std::to_string(i) : "";
    BenchFormat format = json.is_object() ? format_of(json) : BenchFormat::none;
    if (is_printed_result(text)) {
      format = json.find("backend") != nullptr ? BenchFormat::sglang : BenchFormat::vllm;
    }
    if (format == BenchFormat::none) {
      throw InputError(file, pointer, "is no benchmark result that can be read",
                       "vllm bench serve, sglang.bench_serving, InferenceX, aiperf or guidellm");
    }
    result.format = name_of(format);
    Record record(json, file, pointer);
    std::vector<ServingMeasurement> rows;
    switch (format) {
      case BenchFormat::vllm:
      case BenchFormat::sglang:
        rows.push_back(read_bench_serving(record, format == BenchFormat::sglang));
        break;
      case BenchFormat::inferencex:
        rows.push_back(read_inferencex(record));
        break;
      case BenchFormat::aiperf:
        rows.push_back(read_aiperf(record, file));
        break;
      case BenchFormat::guidellm: {
        const Json* list = record.find("benchmarks");
        if (list == nullptr || !list->is_array()) {
          throw InputError(file, pointer + "/benchmarks", "is no list", "a list of benchmarks");
        }
        for (std::size_t b = 0; b < list->items().size(); ++b) {
          if (!list->items()[b].is_object()) {
            throw InputError(file, pointer + "/benchmarks/" + std::to_string(b), "is no object",
                             "a benchmark");
          }
          const std::string at = pointer + "/benchmarks/" + std::to_string(b);
          Record benchmark(list->items()[b], file, at);
          rows.push_back(read_guidellm(benchmark, file, at));
        }
        break;
      }
      case BenchFormat::none:
        break;
    }
    std::vector<std::string> left;
    record.unread(left);
    unread.insert(left.begin(), left.end());
    for (ServingMeasurement& row : rows) {
      if (!row.ttft_s && !row.tpot_s && !row.output_rate) {
        throw InputError(file, pointer, "has neither TTFT nor TPOT nor throughput",
                         "a run that measured one of them");
      }
      row.source_ref = file;
      result.rows.push_back(std::move(row));
    }
  }
  for (std::size_t i = 0; i < result.rows.size(); ++i) {
    result.rows[i].id = name_of(file, i, result.rows.size());
  }
  result.unread.assign(unread.begin(), unread.end());
  if (result.rows.empty()) {
    throw InputError(file, "", "holds no run", "at least one benchmark");
  }
  return result;
}

}  // namespace moesim
