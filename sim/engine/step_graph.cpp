// SPDX-License-Identifier: Apache-2.0
#include "sim/engine/step_graph.h"

#include <tbb/parallel_for.h>
#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "sim/engine/step_flows.h"
#include "sim/engine/step_loads.h"

namespace moesim {
namespace {

constexpr StreamId kCompute{0};
constexpr StreamId kCommunication{1};

/// A task of each GPU, or none yet.
using TaskRow = std::vector<std::optional<TaskId>>;

class StepGraphBuilder {
 public:
  StepGraphBuilder(const Scenario& scenario, const StepCostModel& model, const StepBatch& batch,
                   std::uint64_t draw, bool with_labels, const StepFlows* flows)
      : scenario_(scenario),
        model_(model),
        step_(model.step_template()),
        gpus_(static_cast<std::uint32_t>(step_.ways.gpus)),
        has_exchange_(step_.ways.data > 1 && step_.num_moe_layers > 0),
        overlap_(model.overlap()),
        micro_batches_(overlap_ == OverlapRule::two_batch && has_exchange_ ? 2 : 1),
        whole_(batch),
        batch_(batch),
        draw_(draw),
        with_labels_(with_labels),
        flows_(flows),
        builder_(gpus_, {{"compute", StreamClass::compute},
                         {"communication", StreamClass::communication}}),
        last_(1, TaskRow(gpus_)) {
    for (const Choice<OpKind>& kind : choices_of(OpKind{})) {
      kinds_.push_back(builder_.add_kind(std::string(kind.name), sm_share(kind.value)));
    }
  }

  void build() {
    draw_passes();
    if (scenario_.spec.runtime.host_overhead_s > 0) {
      add_everywhere(0, OpKind::host, Seconds(scenario_.spec.runtime.host_overhead_s), "host");
    }
    add_ops(0, step_.first, "embedding");
    for (const LayerTemplate& layer : step_.layers) {
      for (std::int64_t copy = 0; copy < layer.count; ++copy) {
        // Engines split only the layers that exchange tokens; everything else runs on the whole
        // batch.
        const bool splits = micro_batches_ == 2 && layer.experts && layer.experts->has_exchange;
        splits ? split() : merge();
        add_layer(layer, copy);
      }
    }
    merge();
    add_ops(0, step_.last, "head");
  }

  TaskGraph graph() && { return std::move(builder_).build(); }

  /// An exchange that flows carried: its first task and what the links carried.
  struct Carried {
    TaskId task;
    ExchangeDirection direction;
    const FlowedExchange* flows;
  };
  const std::vector<Carried>& carried() const { return carried_; }

  DrawnLoads loads() const {
    DrawnLoads loads;
    if (passes_.empty()) {
      return loads;
    }
    loads.rank_max_over_mean = 0;
    loads.expert_max_over_mean = 0;
    double selections = 0;
    double dropped = 0;
    double rows = 0;
    double padding = 0;
    const double count = static_cast<double>(passes_.size());
    for (const PassLoads& pass : passes_) {
      loads.rank_max_over_mean += pass.rank_max_over_mean / count;
      loads.expert_max_over_mean += pass.expert_max_over_mean / count;
      loads.active_experts += pass.active_experts / count;
      selections += pass.selections;
      dropped += pass.dropped;
      rows += pass.rows;
      padding += pass.padding;
    }
    loads.dropped_fraction = selections > 0 ? dropped / selections : 0;
    loads.padding_fraction = rows > 0 ? padding / rows : 0;
    loads.nic_bytes =
        nic_bytes_.empty() ? 0 : *std::max_element(nic_bytes_.begin(), nic_bytes_.end());
    return loads;
  }

 private:
  /// Exchange kernels slow the other micro-batch's compute by the SMs they hold.
  double sm_share(OpKind kind) const {
    if (kind != OpKind::dispatch && kind != OpKind::combine) {
      return 0;
    }
    ExchangeDemand probe;
    probe.rank_copies = 1;
    probe.ranks = step_.ways.expert;
    return model_.collectives()
        .exchange(model_.exchange_kernel(), ExchangeDirection::dispatch, probe, step_.hidden,
                  NumberFormat::bf16)
        .sm_fraction;
  }

  /// From the whole batch to two halves that both wait for what the whole did.
  void split() {
    if (last_.size() == 1) {
      last_.push_back(last_[0]);
      batch_ = whole_.split(2.0);
    }
  }

  /// Back to the whole batch: its first ops wait for both halves.
  void merge() {
    if (last_.size() == 2) {
      also_ = last_[1];
      last_.pop_back();
      batch_ = whole_;
    }
  }

  LabelId label(const std::string& text) {
    return with_labels_ ? builder_.label(text) : LabelId{0};
  }

  TaskId add_task(std::uint32_t gpu, StreamId stream, OpKind kind, Seconds duration, LabelId text,
                  std::optional<TaskId> after) {
    Task task;
    task.device = gpu;
    task.stream = stream;
    task.kind = kinds_[static_cast<std::size_t>(kind)];
    task.duration = SimTime::from_seconds(duration);
    task.label = text;
    const TaskId id = builder_.add_task(task);
    if (after) {
      builder_.add_dependency(*after, id);
    }
    return id;
  }

  void add_everywhere(std::size_t m, OpKind kind, Seconds duration, const std::string& name) {
    const LabelId text = label(name);
    for (std::uint32_t gpu = 0; gpu < gpus_; ++gpu) {
      last_[m][gpu] = add_task(gpu, kCompute, kind, duration, text, last_[m][gpu]);
      if (!also_.empty() && also_[gpu]) {
        builder_.add_dependency(*also_[gpu], *last_[m][gpu]);
      }
    }
    also_.clear();
  }

  void add_ops(std::size_t m, const std::vector<TemplateOp>& ops, const std::string& name) {
    for (const TemplateOp& item : ops) {
      const CostEstimate cost = model_.cost_model().estimate(item.bind(batch_));
      if (cost.seconds.value() > 0) {
        add_everywhere(m, item.kind, cost.seconds, name + " " + choice_name(item.kind));
      }
    }
  }

  void add_syncs(std::size_t m, const std::vector<TemplateSync>& syncs, const std::string& name) {
    for (const TemplateSync& sync : syncs) {
      if (sync.ranks <= 1 || batch_.tokens() <= 0) {
        continue;
      }
      const Seconds duration = sync_time(sync);
      const LabelId text = label(name + " " + choice_name(sync.op));
      std::vector<TaskId> members;
      for (std::uint32_t gpu = 0; gpu < gpus_; ++gpu) {
        const TaskId id =
            add_task(gpu, kCompute, OpKind::tensor_sync, duration, text, last_[m][gpu]);
        last_[m][gpu] = id;
        members.push_back(id);
        if (static_cast<std::int64_t>(members.size()) == sync.ranks || gpu + 1 == gpus_) {
          builder_.add_group(members, GroupEnd::together);
          members.clear();
        }
      }
    }
  }

  Seconds sync_time(const TemplateSync& sync) {
    const Bytes buffer = sync.bytes_per_token * batch_.tokens();
    if (flows_ == nullptr) {
      return model_.collectives().collective(sync.op, sync.ranks, buffer);
    }
    for (const KnownSync& known : syncs_) {  // a handful: ops and batches of the step
      if (known.op == sync.op && known.ranks == sync.ranks && known.buffer == buffer) {
        return known.time;
      }
    }
    syncs_.push_back(
        {sync.op, sync.ranks, buffer, flows_->collective(sync.op, sync.ranks, buffer)});
    return syncs_.back().time;
  }

  /// One dispatch or combine of every rank; returns its tasks.
  TaskRow add_exchange(std::size_t m, OpKind kind, const PassLoads& pass,
                       const TemplateExperts& experts, const std::string& name) {
    const bool is_dispatch = kind == OpKind::dispatch;
    const LabelId text = label(name);
    TaskRow row(gpus_);
    std::vector<TaskId> members;
    const FlowedExchange* flowed =
        flows_ == nullptr ? nullptr
                          : &flowed_[static_cast<std::size_t>(&pass - passes_.data()) * 2 +
                                     (is_dispatch ? 0 : 1)];
    for (std::uint32_t gpu = 0; gpu < gpus_; ++gpu) {
      const NumberFormat format = is_dispatch ? experts.dispatch_format : experts.combine_format;
      const ExchangeDemand& demand = pass.exchange[gpu];
      const ExchangeCost cost = model_.collectives().exchange(
          model_.exchange_kernel(),
          is_dispatch ? ExchangeDirection::dispatch : ExchangeDirection::combine, demand,
          step_.hidden, format);
      const double copies = sends_rank_copies(model_.exchange_kernel()) ? demand.node_copies
                                                                        : demand.remote_selections;
      nic_bytes_[gpu] += copies * copy_bytes(step_.hidden, format, Bytes(0)).value();
      const Seconds seconds = flowed == nullptr ? cost.seconds : Seconds(flowed->seconds[gpu]);
      row[gpu] = add_task(gpu, kCommunication, kind, seconds, text, last_[m][gpu]);
      members.push_back(*row[gpu]);
    }
    if (flowed != nullptr) {
      carried_.push_back({members.front(),
                          is_dispatch ? ExchangeDirection::dispatch : ExchangeDirection::combine,
                          flowed});
    }
    builder_.add_group(members);
    return row;
  }

  void add_layer(const LayerTemplate& layer, std::int64_t copy) {
    const std::string name = layer.name + " " + std::to_string(copy);
    // Program order of the compute stream: both attentions first, so that each exchange has the
    // other half's compute beside it.
    std::vector<const PassLoads*> passes(last_.size());
    std::vector<TaskRow> dispatched(last_.size());
    const bool has_exchange = layer.experts && layer.experts->has_exchange;
    for (std::size_t m = 0; m < last_.size(); ++m) {
      add_ops(m, layer.before, name);
      add_syncs(m, layer.after_attention, name);
      if (layer.experts) {
        passes[m] = &passes_[next_pass_++];
      }
      if (has_exchange) {
        dispatched[m] =
            add_exchange(m, OpKind::dispatch, *passes[m], *layer.experts, name + " dispatch");
      }
    }
    for (std::size_t m = 0; m < last_.size(); ++m) {
      const bool shared_waits = has_exchange && overlap_ == OverlapRule::serial;
      if (shared_waits) {
        last_[m] = dispatched[m];
      }
      const bool shared_last = overlap_ == OverlapRule::two_batch && has_exchange;
      if (!shared_last) {
        add_ops(m, layer.shared, name);
      }
      if (layer.experts) {
        add_experts(m, layer, *passes[m],
                    has_exchange && overlap_ != OverlapRule::perfect ? &dispatched[m] : nullptr,
                    name);
      }
      if (has_exchange) {
        const TaskRow combined =
            add_exchange(m, OpKind::combine, *passes[m], *layer.experts, name + " combine");
        if (shared_last) {
          add_ops(m, layer.shared, name);  // beside this half's combine; the stream's order keeps
                                           // it before the next layer
        }
        if (overlap_ != OverlapRule::perfect) {
          last_[m] = combined;
        }
      }
      add_ops(m, layer.after, name);
      add_syncs(m, layer.after_ffn, name);
    }
  }

  /// Draws every pass of the step. Passes are independent named streams, so any number of threads
  /// gives the same loads.
  void draw_passes() {
    struct Pass {
      std::int64_t moe_layer;
      std::size_t m;
      double tokens_per_gpu;
      const TemplateExperts* experts;
    };
    std::vector<Pass> passes;
    const double replicas = static_cast<double>(step_.ways.data);
    const double sources = has_exchange_ ? static_cast<double>(step_.ways.gpus) : 1.0;
    for (const LayerTemplate& layer : step_.layers) {
      if (!layer.experts) {
        continue;
      }
      const std::size_t parts = micro_batches_ == 2 && layer.experts->has_exchange ? 2 : 1;
      const double tokens = whole_.split(static_cast<double>(parts)).tokens() * replicas / sources;
      for (std::int64_t copy = 0; copy < layer.count; ++copy) {
        for (std::size_t m = 0; m < parts; ++m) {
          passes.push_back({layer.experts->first_moe_layer + copy, m, tokens, &*layer.experts});
        }
      }
    }
    passes_.resize(passes.size());
    flowed_.resize(flows_ == nullptr ? 0 : 2 * passes.size());
    tbb::parallel_for(std::size_t{0}, passes.size(), [&](std::size_t i) {
      const bool has_flows = flows_ != nullptr && passes[i].experts->has_exchange;
      passes_[i] = draw_pass(model_, passes[i].moe_layer, passes[i].tokens_per_gpu,
                             draw_ * 2 + passes[i].m, has_flows);
      if (has_flows) {
        flowed_[2 * i] = flows_->carry(ExchangeDirection::dispatch, passes_[i],
                                       passes[i].experts->dispatch_format);
        flowed_[2 * i + 1] = flows_->carry(ExchangeDirection::combine, passes_[i],
                                           passes[i].experts->combine_format);
        passes_[i].pair_copies = {};
      }
    });
    if (has_exchange_) {
      nic_bytes_.assign(gpus_, 0.0);
    }
  }

  void add_experts(std::size_t m, const LayerTemplate& layer, const PassLoads& pass,
                   const TaskRow* dispatched, const std::string& name) {
    MoeOp op = layer.experts->prototype;
    op.tokens = batch_.tokens() * static_cast<double>(step_.ways.data);
    const CurvePick pick = model_.cost_model().pick(op);
    const LabelId text = label(name + " experts");
    for (std::uint32_t gpu = 0; gpu < gpus_; ++gpu) {
      op.load = pass.experts[gpu];
      op.arriving = pass.exchange.empty() ? 0.0 : pass.exchange[gpu].rank_copies;
      const Seconds duration = model_.cost_model().point(op, pick).seconds;
      const TaskId id = add_task(gpu, kCompute, OpKind::experts, duration, text, last_[m][gpu]);
      if (dispatched != nullptr) {
        builder_.add_dependency(*(*dispatched)[gpu], id);
      }
      last_[m][gpu] = id;
    }
  }

  const Scenario& scenario_;
  const StepCostModel& model_;
  const StepTemplate& step_;
  std::uint32_t gpus_;
  bool has_exchange_;
  OverlapRule overlap_;
  int micro_batches_;
  StepBatch whole_;
  StepBatch batch_;  // of one micro-batch, or the whole where nothing is exchanged
  std::uint64_t draw_;
  bool with_labels_;
  const StepFlows* flows_;  // null: closed forms
  TaskGraphBuilder builder_;
  std::vector<KindId> kinds_;
  std::vector<TaskRow> last_;  // [micro-batch][GPU] what its next op waits for
  TaskRow also_;               // what the next op waits for besides
  std::vector<double> nic_bytes_;
  std::vector<PassLoads> passes_;  // in the order in which layers take them
  std::size_t next_pass_ = 0;
  struct KnownSync {
    CollectiveOp op;
    std::int64_t ranks;
    Bytes buffer;
    Seconds time;
  };
  std::vector<KnownSync> syncs_;
  std::vector<FlowedExchange> flowed_;  // [passes, dispatch and combine]
  std::vector<Carried> carried_;
};

constexpr std::size_t kTracedLinks = 16;

/// Totals of the links, and the tracks of the busiest ones where a timeline is kept.
FlowTotals flow_totals(const StepFlows& flows, const StepGraphBuilder& builder,
                       const ExecutionResult& result,
                       const std::optional<RecordedWindow>& recording, Timeline& timeline) {
  FlowTotals totals;
  std::vector<double> busy(flows.num_links(), 0.0);  // seconds at full rate
  for (const auto& carried : builder.carried()) {
    totals.add(*carried.flows, 1.0 / static_cast<double>(builder.carried().size()));
    for (LinkIndex link = 0; link < busy.size(); ++link) {
      busy[link] +=
          carried.flows->link_bytes[link] / flows.capacity(carried.direction, link).value();
    }
  }
  const double step = result.makespan.seconds().value();
  for (const Choice<LinkClass>& choice : choices_of(LinkClass{})) {
    std::optional<LinkIndex> busiest;
    for (LinkIndex link = 0; link < busy.size(); ++link) {
      if (flows.link_class(link) == choice.value && busy[link] > (busiest ? busy[*busiest] : 0.0)) {
        busiest = link;
      }
    }
    if (busiest) {
      totals.busiest.emplace_back(choice.name, std::pair{flows.link_name(*busiest),
                                                         step > 0 ? busy[*busiest] / step : 0.0});
    }
  }
  if (!recording) {
    return totals;
  }
  std::vector<LinkIndex> order;
  for (LinkIndex link = 0; link < busy.size(); ++link) {
    if (busy[link] > 0) {
      order.push_back(link);
    }
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](LinkIndex a, LinkIndex b) { return busy[a] > busy[b]; });
  order.resize(std::min(order.size(), kTracedLinks));
  std::vector<std::size_t> by_time(builder.carried().size());
  for (std::size_t i = 0; i < by_time.size(); ++i) {
    by_time[i] = i;
  }
  const auto start_of = [&](std::size_t i) {
    return result.start[static_cast<std::size_t>(builder.carried()[i].task)];
  };
  std::stable_sort(by_time.begin(), by_time.end(),
                   [&](std::size_t a, std::size_t b) { return start_of(a) < start_of(b); });
  for (const LinkIndex link : order) {
    LinkTrack track{flows.link_name(link), {}};
    for (const std::size_t i : by_time) {
      const auto& carried = builder.carried()[i];
      const SimTime start = start_of(i);
      const SimTime end = start + SimTime::from_seconds(Seconds(carried.flows->longest));
      if (end < recording->from || start > recording->to || carried.flows->link_bytes[link] <= 0) {
        continue;
      }
      const double seconds =
          carried.flows->link_bytes[link] / flows.capacity(carried.direction, link).value();
      track.intervals.push_back(
          {start, end, static_cast<float>(seconds / std::max(1e-15, carried.flows->longest))});
    }
    timeline.links.push_back(std::move(track));
  }
  return totals;
}

}  // namespace

StepExecution execute_step(const Scenario& scenario, const StepCostModel& model,
                           const StepBatch& batch, std::uint64_t draw,
                           const std::optional<RecordedWindow>& recording) {
  std::optional<StepFlows> flows;
  const StepTemplate& step = model.step_template();
  if (scenario.spec.fidelity == Fidelity::flow && step.ways.gpus > 1) {
    flows.emplace(scenario, model);
  }
  StepGraphBuilder builder(scenario, model, batch, draw, recording.has_value(),
                           flows ? &*flows : nullptr);
  builder.build();
  StepExecution execution;
  execution.loads = builder.loads();
  const TaskGraph graph = std::move(builder).graph();
  execution.num_tasks = graph.num_tasks();

  ExecutionOptions options;
  options.seed = static_cast<std::uint64_t>(scenario.spec.seed) + draw;
  const double cv = scenario.spec.runtime.jitter_cv;
  options.jitter_cv = {cv, cv, cv};
  if (scenario.spec.runtime.straggler_factor > 1) {
    const double factor = scenario.spec.runtime.straggler_factor;
    options.slow_devices.push_back({0, {factor, 1.0, 1.0}});
  }
  if (recording) {
    options.record_timeline = true;
    options.record_from = recording->from;
    options.record_to = recording->to;
  }
  ExecutionResult result = execute(graph, options);
  execution.seconds = result.makespan.seconds();
  for (std::size_t kind = 0; kind < kNumOpKinds; ++kind) {
    execution.by_kind[kind] = result.critical_time[kind].seconds().value();
  }
  execution.timeline = std::move(result.timeline);
  if (flows) {
    execution.flows = flow_totals(*flows, builder, result, recording, execution.timeline);
  }
  return execution;
}

}  // namespace moesim
