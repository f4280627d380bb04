// SPDX-License-Identifier: Apache-2.0
#include "sim/serving/serving_loop.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <queue>
#include <unordered_map>

#include "sim/base/error.h"
#include "sim/base/stop.h"
#include "sim/serving/cache_transfers.h"
#include "sim/serving/instance.h"

namespace moesim {
namespace {

constexpr std::int32_t kDown = std::numeric_limits<std::int32_t>::max() / 2;
constexpr std::uint32_t kNobody = std::numeric_limits<std::uint32_t>::max();

enum class EventKind : std::uint8_t { run_end, transfer_end, network, failure, recovery };

struct Event {
  double time = 0;
  std::uint64_t order = 0;
  EventKind kind = EventKind::run_end;
  std::uint32_t target = 0;  ///< instance of `pools`, or request
  std::uint32_t version = 0;
  bool operator>(const Event& other) const {
    return time != other.time ? time > other.time : order > other.order;
  }
};

/// The instances of one pool and how many requests each of their replicas has.
struct Pool {
  std::vector<Instance> instances;
  std::vector<std::uint32_t> versions;
  std::vector<std::int32_t> load;   ///< [instances * replicas]
  std::vector<double> link_free_s;  ///< [instances * replicas]
  std::size_t replicas = 1;
  std::size_t turn = 0;
  double transfer_rate = 1;

  Instance& instance_of(std::uint32_t replica) { return instances[replica / replicas]; }
  Replica& replica(std::uint32_t index) {
    return instances[index / replicas].replica(index % replicas);
  }
};

class ServingLoop {
 public:
  ServingLoop(const Scenario& scenario, ServingPlan& plan, RequestStream& stream)
      : scenario_(scenario), plan_(plan), stream_(stream) {
    if (stream.count() < INT64_MAX) {
      record_.requests.reserve(static_cast<std::size_t>(stream.count()));
    }
    build(serving_, plan.serving, false);
    if (plan.prefill) {
      build(prefill_, *plan.prefill, true);
      bytes_per_token_ = plan.prefill->transfer_bytes_per_token.value();
      latency_s_ = scenario.cluster->node_groups.front().nics.latency.value.value();
      if (scenario.spec.fidelity == Fidelity::flow) {
        flows_.emplace(scenario, plan);
      }
    }
  }

  ServingRecord run() {
    for (std::uint32_t i = 0; i < plan_.outages.size(); ++i) {
      push(plan_.outages[i].begin_s, EventKind::failure, i, 0);
    }
    if (stream_.is_closed_loop()) {
      for (std::int64_t i = 0; i < stream_.concurrency() && stream_.has_more(); ++i) {
        arrive(0);
      }
    }
    start_touched(0);
    while (true) {
      if ((++record_.events & 0xfff) == 0) {
        check_stopped();
      }
      const std::optional<double> arrival = stream_.next_arrival();
      while (!events_.empty() && events_.top().kind == EventKind::run_end &&
             events_.top().version != version_of(events_.top())) {
        events_.pop();  // a run that was cut since
      }
      if (arrival && (events_.empty() || *arrival < events_.top().time)) {
        const double now = *arrival;
        do {
          arrive(now);
        } while (stream_.next_arrival() && *stream_.next_arrival() == now);
        start_touched(now);
        continue;
      }
      if (events_.empty()) {
        break;
      }
      const Event event = events_.top();
      events_.pop();
      handle(event);
    }
    record_.step_evaluations = plan_.serving.timeline->evaluations() +
                               (plan_.prefill ? plan_.prefill->timeline->evaluations() : 0) +
                               (plan_.struck ? plan_.struck->evaluations() : 0);
    count_preemptions(serving_, record_.serving);
    count_preemptions(prefill_, record_.prefill);
    return std::move(record_);
  }

 private:
  void build(Pool& pool, ServingPool& from, bool only_reads) {
    pool.replicas = static_cast<std::size_t>(from.replicas_per_instance);
    pool.transfer_rate = from.transfer_rate.value();
    const std::int64_t instances = from.instances * from.independent;
    PrefixSource source;
    if (scenario_.spec.serving.prefix_cache) {
      const bool has_ids = stream_.trace() != nullptr && !stream_.trace()->first_block.empty();
      source.trace = has_ids ? stream_.trace() : nullptr;
      source.shared_tokens = scenario_.spec.workload.shared_prefix_tokens;
    }
    const auto seed = static_cast<std::uint64_t>(scenario_.spec.seed);
    for (std::int64_t i = 0; i < instances; ++i) {
      std::vector<Replica> replicas;
      for (std::size_t rank = 0; rank < pool.replicas; ++rank) {
        replicas.emplace_back(*from.rules, from.room.tokens, from.times->speculation(), source,
                              RandomStream(seed, "serving/speculation",
                                           static_cast<std::uint64_t>(i) * pool.replicas + rank),
                              record_.requests, only_reads);
      }
      const bool is_struck = i == 0 && !only_reads && plan_.struck != nullptr;
      pool.instances.emplace_back(is_struck ? *plan_.struck : *from.timeline, std::move(replicas),
                                  from.swap_s_per_token, from.rules->prompt_wait_steps);
    }
    pool.versions.assign(pool.instances.size(), 0);
    pool.load.assign(pool.instances.size() * pool.replicas, 0);
    pool.link_free_s.assign(pool.load.size(), 0);
  }

  // Instances are numbered through both pools: first the serving ones.
  Pool& pool_of(std::uint32_t instance) {
    return instance < serving_.instances.size() ? serving_ : prefill_;
  }
  std::size_t local(std::uint32_t instance) const {
    return instance < serving_.instances.size() ? instance : instance - serving_.instances.size();
  }
  std::uint32_t global(const Pool& pool, std::size_t instance) const {
    return static_cast<std::uint32_t>(&pool == &serving_ ? instance
                                                         : instance + serving_.instances.size());
  }
  std::uint32_t version_of(const Event& event) {
    return pool_of(event.target).versions[local(event.target)];
  }
  void push(double time, EventKind kind, std::uint32_t target, std::uint32_t version) {
    events_.push({time, order_++, kind, target, version});
  }

  std::uint32_t choose(Pool& pool) {
    const std::size_t count = pool.load.size();
    if (scenario_.spec.serving.balance == RequestBalance::round_robin) {
      for (std::size_t i = 0; i < count; ++i) {
        pool.turn = (pool.turn + 1) % count;
        if (pool.load[pool.turn] < kDown) {
          return static_cast<std::uint32_t>(pool.turn);
        }
      }
      return kNobody;
    }
    // Fewest requests; among equals the next in turn, so that ties do not pile up on the first.
    const auto best = std::min_element(pool.load.begin(), pool.load.end());
    if (*best >= kDown) {
      return kNobody;
    }
    const std::int32_t least = *best;
    pool.turn = (pool.turn + 1) % count;
    while (pool.load[pool.turn] != least) {
      pool.turn = (pool.turn + 1) % count;
    }
    return static_cast<std::uint32_t>(pool.turn);
  }

  void arrive(double now) {
    while (true) {
      const auto id = static_cast<RequestId>(record_.requests.size());
      record_.requests.push_back(stream_.next(now));
      record_.rejected.push_back(0);
      homes_.push_back(kNobody);
      record_.series.add(SeriesRecorder::arrivals, now, now, 1);
      // A client whose request is refused goes on with its next one.
      if (assign(id, now) || !stream_.is_closed_loop() || !stream_.has_more()) {
        return;
      }
    }
  }

  /// Gives the request to a replica; false when none could ever serve it.
  bool assign(RequestId id, double now) {
    Pool& pool = plan_.prefill ? prefill_ : serving_;
    const RequestState& request = record_.requests[id];
    const auto fits = [&](Pool& where) {
      return where.replica(0).could_serve(static_cast<double>(request.prompt),
                                          static_cast<double>(request.output));
    };
    if (!fits(pool) || (plan_.prefill && !decode_fits(request))) {
      record_.rejected[id] = 1;
      return false;
    }
    const std::uint32_t replica = choose(pool);
    if (replica == kNobody) {
      limbo_.push_back({id, now});
      return true;
    }
    homes_[id] = replica;
    ++pool.load[replica];
    pool.replica(replica).enqueue(id);
    touch(global(pool, replica / pool.replicas));
    return true;
  }

  void touch(std::uint32_t instance) {
    if (instance != finishing_) {  // which plans anew anyway
      touched_.push_back(instance);
    }
  }

  bool decode_fits(const RequestState& request) {
    // The prompt arrives whole: the token budget does not matter here.
    return static_cast<double>(request.prompt + request.output) +
               plan_.serving.rules->block_tokens <=
           plan_.serving.room.tokens;
  }

  /// Starts idle instances that got work and cuts runs of those that were running.
  void start_touched(double now) {
    for (std::size_t i = 0; i < touched_.size(); ++i) {
      const std::uint32_t index = touched_[i];
      Pool& pool = pool_of(index);
      Instance& instance = pool.instances[local(index)];
      if (!instance.is_running()) {
        start(index, now);
      } else if (instance.cut(now)) {
        push(instance.end_s(), EventKind::run_end, index, ++pool.versions[local(index)]);
      }
    }
    touched_.clear();
  }

  void start(std::uint32_t index, double now) {
    Pool& pool = pool_of(index);
    Instance& instance = pool.instances[local(index)];
    if (pool.load[local(index) * pool.replicas] >= kDown) {
      return;
    }
    if (instance.start(now)) {
      push(instance.end_s(), EventKind::run_end, index, ++pool.versions[local(index)]);
    }
  }

  void handle(const Event& event) {
    if (event.kind != EventKind::failure && event.kind != EventKind::recovery) {
      record_.end_s = std::max(record_.end_s, event.time);
    }
    switch (event.kind) {
      case EventKind::run_end:
        end_run(event);
        break;
      case EventKind::transfer_end:
        end_transfer(event);
        break;
      case EventKind::network:
        if (event.version == flow_version_) {
          end_flows(event.time);
        }
        break;
      case EventKind::failure:
        fail(event.time, plan_.outages[event.target].end_s);
        break;
      case EventKind::recovery:
        recover(event.time);
        break;
    }
    start_touched(event.time);
  }

  void end_run(const Event& event) {
    const double now = event.time;
    const bool is_prefill = event.target >= serving_.instances.size();
    Pool& pool = pool_of(event.target);
    Instance& instance = pool.instances[local(event.target)];
    finishing_ = event.target;
    step_events_.first_tokens.clear();
    step_events_.finished.clear();
    instance.finish(step_events_, is_prefill ? record_.prefill : record_.serving, record_);
    for (const RequestId id : step_events_.first_tokens) {
      RequestState& request = record_.requests[id];
      if (request.first_token_s < 0) {
        request.first_token_s = now;
      }
      if (is_prefill && request.generated < request.output) {
        blocked_.push_back({id, now});
      }
    }
    for (const RequestId id : step_events_.finished) {
      record_.requests[id].finish_s = now;
      --pool.load[homes_[id]];
      if (stream_.is_closed_loop() && stream_.has_more()) {
        arrive(now);
      }
    }
    if (plan_.prefill) {
      send_blocked(now);
    }
    finishing_ = kNobody;
    start(event.target, now);
  }

  /// Starts the transfers for which a decode replica has room, in order of reading.
  void send_blocked(double now) {
    while (!blocked_.empty()) {
      const auto [id, since] = blocked_.front();
      const RequestState& request = record_.requests[id];
      const std::uint32_t replica = choose(serving_);
      if (replica == kNobody || !serving_.replica(replica).has_room_for_read(id)) {
        return;
      }
      blocked_.pop_front();
      record_.blocked_s += now - since;
      serving_.replica(replica).reserve_read(id);
      ++serving_.load[replica];
      const std::uint32_t source = homes_[id];
      destinations_.resize(record_.requests.size(), kNobody);
      destinations_[id] = replica;
      record_.transfers += 1;
      const double bytes = static_cast<double>(request.prompt) * bytes_per_token_;
      if (flows_) {
        flows_->start(now, id, source, replica, Bytes(bytes));
        sent_[id] = {now, failures_};
        watch_flows();
        continue;
      }
      double& sender = prefill_.link_free_s[source];
      double& receiver = serving_.link_free_s[replica];
      const double start = std::max({now, sender, receiver});
      const double seconds =
          latency_s_ + bytes / std::min(prefill_.transfer_rate, serving_.transfer_rate);
      sender = receiver = start + seconds;
      record_.transfer_s += start + seconds - now;
      push(start + seconds, EventKind::transfer_end, id, failures_);
    }
  }

  /// The network's next change supersedes any that was expected before.
  void watch_flows() {
    ++flow_version_;
    if (const std::optional<double> next = flows_->next_change()) {
      push(*next, EventKind::network, 0, flow_version_);
    }
  }

  void end_flows(double now) {
    const std::vector<std::uint32_t> done = flows_->arrived(now);
    watch_flows();
    for (const RequestId id : done) {
      const Sent sent = sent_.at(id);
      sent_.erase(id);
      record_.transfer_s += now - sent.at;
      end_transfer({now, 0, EventKind::transfer_end, id, sent.failures});
    }
  }

  void end_transfer(const Event& event) {
    const RequestId id = event.target;
    const std::uint32_t source = homes_[id];
    const std::uint32_t replica = destinations_[id];
    prefill_.replica(source).release_read(id);
    --prefill_.load[source];
    touch(global(prefill_, source / prefill_.replicas));
    if (event.version != failures_ && replica < serving_.replicas) {
      record_.requests[id].generated = 0;  // its destination failed meanwhile: it starts anew
      record_.requests[id].first_token_s = -1;
      record_.lost_requests += 1;
      assign(id, event.time);
      return;
    }
    homes_[id] = replica;
    serving_.replica(replica).enqueue_read(id);
    touch(global(serving_, replica / serving_.replicas));
    send_blocked(event.time);
  }

  void fail(double now, double until) {
    ++failures_;
    Instance& instance = serving_.instances[0];
    if (instance.is_running()) {
      instance.abort(now);
      ++serving_.versions[0];
    }
    std::vector<RequestId> lost;
    for (std::size_t rank = 0; rank < serving_.replicas; ++rank) {
      const std::vector<RequestId> dropped = instance.replica(rank).drop_all();
      lost.insert(lost.end(), dropped.begin(), dropped.end());
      serving_.load[rank] = kDown;
    }
    record_.lost_requests += static_cast<double>(lost.size());
    down_until_s_ = std::max(down_until_s_, until);
    push(until, EventKind::recovery, 0, 0);
    for (const RequestId id : lost) {
      assign(id, now);
    }
  }

  void recover(double now) {
    if (now < down_until_s_) {
      return;  // another failure lasts longer
    }
    for (std::size_t rank = 0; rank < serving_.replicas; ++rank) {
      serving_.load[rank] = 0;
    }
    std::vector<Blocked> waiting;
    waiting.swap(limbo_);
    for (const auto& [id, since] : waiting) {
      record_.serving.waiting_integral += now - since;
      record_.series.add(SeriesRecorder::waiting, since, now, now - since);
      assign(id, now);
    }
    if (plan_.prefill) {
      send_blocked(now);
    }
  }

  void count_preemptions(Pool& pool, PoolTotals& totals) {
    for (Instance& instance : pool.instances) {
      for (std::size_t rank = 0; rank < instance.num_replicas(); ++rank) {
        totals.preemptions += instance.replica(rank).preemptions();
      }
    }
  }

  const Scenario& scenario_;
  ServingPlan& plan_;
  RequestStream& stream_;
  ServingRecord record_;
  Pool serving_;
  Pool prefill_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::uint64_t order_ = 0;
  std::vector<std::uint32_t> homes_;         ///< [requests] replica that has it
  std::vector<std::uint32_t> destinations_;  ///< [requests] decode replica of a transfer
  std::vector<std::uint32_t> touched_;
  struct Blocked {
    RequestId id = 0;
    double since = 0;
  };
  std::vector<Blocked> limbo_;  ///< nobody is up
  double down_until_s_ = 0;     ///< the first instance
  std::deque<Blocked> blocked_;
  struct Sent {
    double at = 0;
    std::uint32_t failures = 0;
  };
  std::optional<CacheTransfers> flows_;  ///< flow fidelity with a prefill pool
  std::unordered_map<RequestId, Sent> sent_;
  std::uint32_t flow_version_ = 0;
  StepEvents step_events_;
  std::uint32_t finishing_ = kNobody;
  std::uint32_t failures_ = 0;
  double bytes_per_token_ = 0;
  double latency_s_ = 0;
};

}  // namespace

ServingRecord run_serving(const Scenario& scenario, ServingPlan& plan, RequestStream& stream) {
  return ServingLoop(scenario, plan, stream).run();
}

}  // namespace moesim
