// SPDX-License-Identifier: Apache-2.0
#include "sim/study/serving_case.h"

#include <algorithm>
#include <cmath>

#include "sim/base/error.h"
#include "sim/input/model_card_count.h"
#include "sim/input/scenario_experts.h"
#include "sim/study/measured_software.h"

namespace moesim {
namespace {

// InferenceX draws both lengths uniformly from 80-100% of the nominal ones and sends ten prompts
// per slot of concurrency (random_range_ratio 0.8; README of github.com/SemiAnalysisAI/InferenceX).
constexpr double kInferenceXShortest = 0.8;
constexpr double kInferenceXPromptsPerSlot = 10;
constexpr std::int64_t kGpusPerNode = 8;  // of every system with pools in the table

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

std::string lower_case(std::string text) {
  for (char& c : text) {
    c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return text;
}

/// The number before "prompts", "requests" or the like in "offline, all 3000 requests at t=0".
double number_before(std::string_view text, std::string_view word) {
  const std::size_t at = text.find(word);
  if (at == std::string_view::npos) {
    return 0;
  }
  std::size_t begin = at;
  while (begin > 0 && text[begin - 1] == ' ') {
    --begin;
  }
  const std::size_t end = begin;
  while (begin > 0 && text[begin - 1] >= '0' && text[begin - 1] <= '9') {
    --begin;
  }
  return plain_number(text.substr(begin, end - begin)).value_or(0);
}

std::int64_t whole(const std::optional<double>& value, std::int64_t otherwise) {
  return value ? static_cast<std::int64_t>(std::llround(*value)) : otherwise;
}

/// Layout of a system of prefill and decode pools.
std::string read_pools(const ServingMeasurement& row, ScenarioSpec& spec, bool has_experts) {
  struct Pool {
    std::int64_t instances, tensor, data, expert, expert_tensor;
    std::int64_t gpus() const { return tensor * data; }
  };
  const auto pool = [has_experts](const MeasuredPool& measured) -> std::optional<Pool> {
    if (!measured.workers || !measured.tensor || !measured.data) {
      return std::nullopt;
    }
    Pool result{whole(measured.workers, 1), whole(measured.tensor, 1), whole(measured.data, 1), 1,
                1};
    if (has_experts) {
      result.expert = whole(measured.moe_expert, 1);
      result.expert_tensor = whole(measured.moe_tensor, 1);
      if (result.expert * result.expert_tensor != result.gpus()) {
        return std::nullopt;
      }
    }
    return result;
  };
  const std::optional<Pool> prefill = pool(row.prefill);
  const std::optional<Pool> decode = pool(row.decode);
  if (!prefill || !decode) {
    return "the layout of the pools is not stated, or does not fit together";
  }
  if (contains(row.notes, "is ambiguous")) {
    return "the layout of the prefill pool is ambiguous";
  }
  const auto nodes_of = [](std::int64_t gpus) {
    return gpus % kGpusPerNode == 0 ? gpus / kGpusPerNode : 1;
  };
  if (row.gpus && prefill->instances * prefill->gpus() + decode->instances * decode->gpus() !=
                      whole(row.gpus, 0)) {
    return "the pools are not the number of GPUs";
  }
  spec.nodes = nodes_of(decode->gpus());
  if (decode->gpus() % kGpusPerNode != 0) {
    spec.gpus_per_node = decode->gpus();
  } else if (prefill->gpus() % kGpusPerNode != 0) {
    return "pools that fill nodes and parts of nodes: not simulated by this suite";
  }
  spec.parallelism.tensor = decode->tensor;
  spec.parallelism.data = decode->data;
  spec.serving.instances = decode->instances;
  PrefillPoolSpec& other = spec.serving.prefill_pool;
  other.instances = prefill->instances;
  other.nodes = nodes_of(prefill->gpus());
  other.tensor = prefill->tensor;
  other.data = prefill->data;
  if (has_experts) {
    spec.parallelism.expert = decode->expert;
    spec.parallelism.expert_tensor = decode->expert_tensor;
    other.expert = prefill->expert;
    other.expert_tensor = prefill->expert_tensor;
  }
  return "";
}

/// Reads the layout; the reason why it cannot be simulated, or "".
std::string read_layout(const ServingMeasurement& row, ScenarioSpec& spec, bool has_experts) {
  if (row.role == "pd") {
    return read_pools(row, spec, has_experts);
  }
  if (!row.gpus || !row.tensor) {
    return "the layout is not stated (gpus, tp)";
  }
  const std::int64_t gpus = whole(row.gpus, 1);
  const std::int64_t nodes = whole(row.nodes, 1);
  const std::int64_t pipeline = whole(row.pipeline, 1);
  std::int64_t tensor = whole(row.tensor, 1);
  std::int64_t data = whole(row.data, 1);
  // SGLang and TensorRT-LLM count attention's data-parallel ranks inside tp: tp 8, dp 8 on 8 GPUs.
  if (data > 1 && tensor * pipeline == gpus && tensor % data == 0) {
    tensor /= data;
  }
  if (contains(row.notes, "independent replicas")) {
    return "independent replicas behind one load: not simulated by this suite";
  }
  if (tensor * data * pipeline != gpus) {
    return "tp x dp x pp is not the number of GPUs";
  }
  if (nodes < 1 || gpus % nodes != 0) {
    return "the GPUs cannot be shared out over the nodes";
  }
  spec.nodes = nodes;
  spec.gpus_per_node = gpus / nodes;
  spec.parallelism.tensor = tensor;
  spec.parallelism.data = data;
  spec.parallelism.pipeline = pipeline;
  if (has_experts) {
    const std::int64_t expert = whole(row.moe_expert, whole(row.expert, 1));
    const std::int64_t expert_tensor = whole(row.moe_tensor, gpus / pipeline / expert);
    if (expert * expert_tensor * pipeline != gpus) {
      return "moe_tp x moe_ep x pp is not the number of GPUs";
    }
    spec.parallelism.expert = expert;
    spec.parallelism.expert_tensor = expert_tensor;
  }
  return "";
}

std::string read_precision(const ServingMeasurement& row, const ModelCard& model,
                           ServingEngine engine, ScenarioSpec& spec) {
  const std::string text = lower_case(row.precision);
  // Qwen3's own fp8 checkpoints scale blocks of 128 x 128 (huggingface.co/Qwen/Qwen3-32B-FP8,
  // config.json, quantization_config.weight_block_size), as DeepSeek's weights do.
  const bool is_deepseek_fp8 = model.weights.routed_experts == NumberFormat::fp8_block;
  const bool is_qwen3 = model.id.starts_with("qwen3");
  if (text.empty()) {
    return "the precision is not stated";
  }
  if (contains(text, "mxfp4")) {
    // As published.
  } else if (contains(text, "fp4")) {
    spec.precision.weights = NumberFormat::nvfp4;
  } else if (contains(text, "fp8")) {
    if (!is_deepseek_fp8) {
      spec.precision.weights = is_qwen3 ? NumberFormat::fp8_block : NumberFormat::fp8;
    }
  } else if (contains(text, "fp16") || contains(text, "bf16") || contains(text, "not stated")) {
    // "not stated": the archive leaves it empty for runs of the published bf16 checkpoints.
    spec.precision.weights = NumberFormat::bf16;
  } else {
    return "precision \"" + row.precision.substr(0, 40) + "\" is not understood";
  }
  if (contains(text, "fp8 kv")) {
    spec.precision.kv_cache = NumberFormat::fp8;
  }
  // Launch scripts of InferenceX (benchmarks/*_trt*.sh, *_b200*.sh): a cache in fp8 for
  // TensorRT-LLM, and for all engines on B200; the others leave it in bf16.
  const bool is_trt = engine == ServingEngine::trtllm;
  const bool is_b200 = engine != ServingEngine::unknown && contains(lower_case(row.system), "b200");
  if (is_inferencex(row) && (is_trt || is_b200)) {
    spec.precision.kv_cache = NumberFormat::fp8;
  }
  return "";
}

std::string read_lengths(const ServingMeasurement& row, MeasuredLoad& load) {
  const std::optional<double> input = plain_number(row.input_tokens);
  const std::optional<double> output = plain_number(row.output_tokens);
  if (!input || *input < 1) {
    return row.input_tokens.empty() ? "no input length" : "the input length is no plain number";
  }
  load.input_tokens = *input;
  if (row.role == "prefill") {
    return "";
  }
  if (!output || *output < 1) {
    // A decode pool at a fixed local batch is judged at its context length.
    if (row.role == "decode") {
      return "";
    }
    return row.output_tokens.empty() ? "no output length" : "the output length is no plain number";
  }
  load.output_tokens = *output;
  return "";
}

std::string read_load(const ServingMeasurement& row, MeasuredLoad& load) {
  const std::string text = lower_case(row.load);
  if (text.empty()) {
    return "the load is not stated";
  }
  if (const std::optional<double> concurrency = plain_number(row.load)) {
    load.kind = LoadKind::closed_loop;
    load.concurrency = *concurrency;
    load.requests = is_inferencex(row) ? kInferenceXPromptsPerSlot * *concurrency
                                       : number_before(row.notes, "prompts");
    return "";
  }
  if (text.starts_with("offline")) {
    load.kind = LoadKind::offline;
    load.requests = number_before(text, "requests");
    return load.requests > 0 ? "" : "offline, without the number of requests";
  }
  if (contains(text, "requests/gpu") || contains(text, "tokens/gpu")) {
    load.kind = LoadKind::local_batch;
    load.batch_per_gpu = number_before(text, contains(text, "requests") ? "requests" : "tokens");
    if (contains(text, "step)")) {
      return "simulated speculative decoding with dummy kernels";
    }
    return load.batch_per_gpu > 0 ? "" : "the local batch is no number";
  }
  if (text.starts_with("qps ")) {
    load.kind = LoadKind::poisson;
    load.requests_per_s = plain_number(text.substr(4)).value_or(0);
    return load.requests_per_s > 0 ? "" : "the arrival rate is no number";
  }
  if (contains(text, "open loop")) {
    return "open loop without the arrival trace";
  }
  return "load \"" + row.load.substr(0, 40) + "\" is not understood";
}

std::string read_prefix(const ServingMeasurement& row, MeasuredLoad& load) {
  if (row.prefix_hit.empty()) {
    return "";
  }
  load.prefix_hit = plain_number(row.prefix_hit).value_or(-1);
  return load.prefix_hit == 0 ? "" : "prompts share prefixes: hits are stated only roughly";
}

/// Why no machine of the row's size can have carried its load; "" when one can. Two operations per
/// active parameter and token, prompts included, against every GPU's fastest arithmetic.
std::string read_possibility(const ServingCase& item, const ModelCard& model,
                             const DeviceProfile& device) {
  const MeasuredLoad& load = item.load;
  const std::optional<double>& gpus = item.row.gpus;
  if (load.kind != LoadKind::closed_loop || !item.row.ttft_s || !item.row.tpot_s || !gpus) {
    return "";
  }
  double peak = 0;
  for (const auto* rate : {&device.peak.bf16, &device.peak.fp8, &device.peak.fp4}) {
    peak = std::max(peak, *rate ? (*rate)->value.value() : 0.0);
  }
  const double latency = *item.row.ttft_s + *item.row.tpot_s * (load.output_tokens - 1);
  const double needed = 2 * count_parameters(model).active_without_input_embedding *
                        load.concurrency * (load.input_tokens + load.output_tokens) / latency;
  if (peak <= 0 || needed <= peak * *gpus) {
    return "";
  }
  return "impossible: its requests need " + std::to_string(std::llround(needed * 1e-12)) +
         " TFLOP/s, " + std::to_string(std::llround(*gpus)) + " GPUs have " +
         std::to_string(std::llround(peak * *gpus * 1e-12));
}

/// What the benchmark's launch scripts say beyond the row, and the workload itself.
/// `experts` of each MoE layer of the model.
void set_workload(ServingCase& result, std::int64_t experts) {
  const ServingMeasurement& row = result.row;
  const MeasuredLoad& load = result.load;
  ScenarioSpec& spec = result.spec;
  WorkloadSpec& workload = spec.workload;
  if (contains(row.notes, "two-batch overlap") || contains(row.notes, "TBO") ||
      contains(row.notes, "two micro-batches")) {
    spec.communication.overlap = OverlapRule::two_batch;
  }
  if (contains(row.notes, "balanced routing") || contains(row.notes, "perfect EPLB")) {
    spec.routing.kind = RoutingModel::gumbel;
    spec.routing.sigma = 0;
  } else {
    // Four layers of their own stand for all: a hundred rows of 58 skewed layers each are minutes.
    spec.routing.kind = RoutingModel::typical;
    spec.routing.distinct_layers = 4;
    const double redundant = number_before(row.notes, "redundant");
    if (contains(row.notes, "EPLB") && redundant > 0) {
      spec.placement.policy = PlacementKind::eplb;
      spec.placement.slots = experts + std::llround(redundant);
    }
  }
  switch (result.software.engine) {
    case ServingEngine::vllm:
      spec.serving.engine = EnginePreset::vllm;
      break;
    case ServingEngine::sglang:
      spec.serving.engine = EnginePreset::sglang;
      break;
    case ServingEngine::trtllm:
      spec.serving.engine = EnginePreset::tensorrt_llm;
      break;
    case ServingEngine::unknown:
      break;
  }
  if (load.kind == LoadKind::local_batch) {
    workload.kind = WorkloadKind::step;
    if (row.role == "prefill") {
      workload.phase = Phase::prefill;
      workload.prompt_tokens = load.input_tokens;
      workload.batch_per_gpu = load.batch_per_gpu / load.input_tokens;
    } else {
      workload.phase = Phase::decode;
      workload.context_tokens = load.input_tokens + load.output_tokens / 2;
      workload.batch_per_gpu = load.batch_per_gpu;
    }
    return;
  }
  workload.kind = WorkloadKind::serving;
  spec.fidelity = Fidelity::event;
  workload.prompt_tokens = load.input_tokens;
  workload.output_tokens = load.output_tokens;
  if (load.shortest_share < 1) {
    workload.lengths = LengthLaw::range;
    workload.length_ratio = load.shortest_share;
  }
  if (load.kind == LoadKind::closed_loop) {
    workload.concurrency = load.concurrency;
  } else if (load.kind == LoadKind::offline) {
    workload.arrivals = ArrivalProcess::offline;
  } else {
    workload.requests_per_s = load.requests_per_s;
  }
  if (load.requests > 0) {
    workload.requests = static_cast<std::int64_t>(std::llround(load.requests));
  }
  spec.serving.prefix_cache = false;  // prompts of random tokens
  if (is_compiled(row)) {
    spec.serving.host_kernel_s = 0;  // kernels start from C++: the device's own launches are left
  }
  const double whole_prompts = load.input_tokens + load.concurrency + 64;
  if (result.software.engine == ServingEngine::trtllm) {
    // Prompts are read whole: a server that took them has room for one beside the decodes.
    // InferenceX: max(8192, input + concurrency + 64, rounded up to 64).
    spec.serving.max_batched_tokens =
        static_cast<std::int64_t>(std::max(8192.0, std::ceil(whole_prompts / 64) * 64));
  }
  if (is_inferencex(row)) {
    // benchmarks/single_node of github.com/SemiAnalysisAI/InferenceX.
    switch (result.software.engine) {
      case ServingEngine::sglang:
        spec.serving.max_batched_tokens = 32768;
        spec.runtime.memory_utilisation = 0.82;  // mem-fraction-static
        break;
      case ServingEngine::trtllm:
        spec.runtime.memory_utilisation = 0.75;  // free_gpu_memory_fraction
        spec.serving.prompt_wait_steps = 60;     // attention_dp_config: timeout_iters
        break;
      case ServingEngine::vllm:
        spec.serving.max_batched_tokens = 8192;
        spec.serving.max_sequences = std::max<std::int64_t>(1, std::llround(load.concurrency));
        break;
      case ServingEngine::unknown:
        break;
    }
  }
}

void set_rate(ServingCase& result) {
  const ServingMeasurement& row = result.row;
  result.output_rate = row.output_rate;
  const MeasuredLoad& load = result.load;
  if (!row.output_rate && load.kind == LoadKind::closed_loop && row.ttft_s && row.tpot_s &&
      load.output_tokens > 0) {
    // Little's law in a closed loop: each slot turns out one request per TTFT + TPOT x (n - 1).
    const double output = load.mean_output();
    result.output_rate = load.concurrency * output / (*row.ttft_s + *row.tpot_s * (output - 1)) /
                         row.gpus.value_or(1);
    result.rate_is_derived = true;
  }
}

}  // namespace

ServingCase serving_case(const ServingMeasurement& row, const CardLibrary& cards) {
  ServingCase result;
  result.row = row;
  result.software = software_named(row.framework);
  result.spec.name = row.id;
  const auto refuse = [&result](std::string why) { result.left_out = std::move(why); };

  const std::optional<ModelNameMatch> model_id =
      model_card_named(row.model, cards.ids(CardKind::model));
  const std::optional<std::string> cluster_id = cluster_named(row.system);
  result.family = (model_id ? model_id->id : row.model) + " on " +
                  (cluster_id ? cluster_id->substr(8, cluster_id->find('_', 8) - 8) : row.system);
  if (is_early_2025(row) && result.software.engine != ServingEngine::unknown) {
    result.family += ", early-2025 software";
    result.has_goal = false;
  }
  if (!model_id) {
    refuse("no model card \"" + row.model + "\"");
    return result;
  }
  if (!cluster_id) {
    refuse("no cluster profile for \"" + row.system + "\"");
    return result;
  }
  result.has_goal = result.has_goal && !contains(*cluster_id, "_mi3");
  result.spec.model = model_id->id;
  result.spec.cluster = *cluster_id;
  ModelCard model;
  try {
    model = load_model_card(cards.path(CardKind::model, model_id->id));
  } catch (const InputError& error) {
    refuse(error.what());
    return result;
  }
  const FfnSpec* experts = expert_layers(model);
  for (const std::string& why :
       {contains(row.notes, "MTP with") ? std::string("speculative decoding, acceptance not stated")
                                        : std::string(),
        contains(row.notes, "simMTP") || contains(row.id, "simMTP")
            ? std::string("simulated speculative decoding with dummy kernels")
            : std::string(),
        read_layout(row, result.spec, experts != nullptr),
        read_precision(row, model, result.software.engine, result.spec),
        read_lengths(row, result.load), read_load(row, result.load),
        read_prefix(row, result.load)}) {
    if (!why.empty()) {
      refuse(why);
      return result;
    }
  }
  if (is_inferencex(row)) {
    result.load.shortest_share = kInferenceXShortest;
  }
  set_workload(result, experts != nullptr ? experts->experts : 0);
  if (contains(row.notes, "use TPOT only")) {
    result.ttft_left_out = "its notes say that TTFT means something else here";
  }
  set_rate(result);
  if (!row.tpot_s && !row.output_rate && !row.input_rate && !row.ttft_s) {
    refuse("nothing measured");
    return result;
  }
  // Measured kernels of the row's framework, where its machine has some.
  const auto problem_of = [&]() -> std::string {
    try {
      resolve(result.spec, cards, row.id);
      return "";
    } catch (const InputError& error) {
      return error.what();
    }
  };
  if (result.software.engine != ServingEngine::unknown) {
    result.spec.software = std::string(engine_name(result.software.engine));
    if (contains(problem_of(), "#/software")) {
      result.spec.software.clear();
    }
  }
  if (const std::string problem = problem_of(); !problem.empty()) {
    refuse(problem);
    return result;
  }
  const Scenario scenario = resolve(result.spec, cards, row.id);
  if (const std::string why = read_possibility(result, model, *scenario.device); !why.empty()) {
    refuse(why);
    return result;
  }
  result.series = result.family + "|" + row.framework + "|" + row.precision + "|" +
                  row.input_tokens + "/" + row.output_tokens + "|" +
                  std::to_string(result.spec.parallelism.tensor) + "x" +
                  std::to_string(*result.spec.parallelism.data) + "x" +
                  std::to_string(result.spec.parallelism.expert.value_or(1));
  return result;
}

}  // namespace moesim
