// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/evaluator.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "sim/base/stop.h"
#include "sim/run/simulate.h"

namespace moesim::gui {
namespace {

constexpr int kCacheSteps = 160;  // of the picture of an expert cache
// Spans of one step that are kept; beyond them the timeline would take gigabytes.
constexpr std::int64_t kMostTimelineGpus = 2048;

// Of a first impression: what a slider can wait for.
constexpr std::int64_t kPreviewLayers = 3;

double secondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double stepOf(const SimulationResult& result) {
  for (const char* name : {"step_s", "tpot_s", "ttft_s"}) {
    if (const NamedMetric* metric = result.find(name)) {
      if (const Metric* plain = std::get_if<Metric>(&metric->value)) {
        return plain->value;
      }
      return std::get<Distribution>(metric->value).mean.value;
    }
  }
  return 0;
}

}  // namespace

Evaluator::Evaluator(QObject* parent) : QObject(parent) {
  qRegisterMetaType<std::shared_ptr<const Answer>>();
  qRegisterMetaType<std::shared_ptr<const Pictures>>();
  qRegisterMetaType<std::shared_ptr<const LayerPictures>>();
  qRegisterMetaType<std::shared_ptr<const EventRun>>();
  qRegisterMetaType<std::vector<Diagnostic>>();
  quick_ = std::jthread([this](std::stop_token stop) { answerQuickly(std::move(stop)); });
  events_ = std::jthread([this](std::stop_token stop) { answerSlowly(std::move(stop)); });
}

Evaluator::~Evaluator() {
  {
    const std::lock_guard lock(mutex_);
    stale_.request_stop();
  }
  quick_.request_stop();
  events_.request_stop();
  wake_.notify_all();
}

void Evaluator::ask(Question question) {
  const std::lock_guard lock(mutex_);
  stale_.request_stop();
  stale_ = std::stop_source();
  newest_ = question.number;
  openLanes_ = question.wantsEvents ? 2 : 1;
  fast_ = std::move(question);
  slow_.reset();
  layer_.reset();
  wake_.notify_all();
}

void Evaluator::askLayer(std::int64_t layer) {
  const std::lock_guard lock(mutex_);
  layer_ = layer;
  wake_.notify_all();
}

void Evaluator::laneDone(std::uint64_t number) {
  {
    const std::lock_guard lock(mutex_);
    if (number != newest_ || --openLanes_ > 0) {
      return;
    }
  }
  Q_EMIT finished(number);
}

void Evaluator::answerQuickly(std::stop_token stop) {
  while (!stop.stop_requested()) {
    std::optional<Question> question;
    std::optional<std::int64_t> layer;
    std::stop_token stale;
    {
      std::unique_lock lock(mutex_);
      if (!wake_.wait(lock, stop, [this] { return fast_.has_value() || layer_.has_value(); })) {
        return;
      }
      question = std::exchange(fast_, std::nullopt);
      layer = std::exchange(layer_, std::nullopt);
      stale = stale_.get_token();
    }
    if (question) {
      answerFast(*question, stale);
    }
    if (layer && picture_ != nullptr && !stale.stop_requested()) {
      auto pictures = std::make_shared<LayerPictures>();
      pictures->number = pictureNumber_;
      try {
        pictures->traffic = picture_->traffic(*layer, pictureStep_);
        pictures->cache = picture_->cache(*layer, kCacheSteps);
      } catch (const std::exception&) {
        continue;  // the answer itself has said what is wrong
      }
      Q_EMIT layerPictured(std::move(pictures));
    }
  }
}

void Evaluator::answerClosedForm(const Question& question, std::shared_ptr<const Scenario> scenario,
                                 const std::stop_token& stale, Answer& answer) {
  const auto start = std::chrono::steady_clock::now();
  answer.number = question.number;
  answer.scenario = scenario;
  Scenario quick = *scenario;
  quick.spec.fidelity = Fidelity::analytic;
  quick.spec.faults.clear();  // they need flows; the slow lane has them
  RunOptions options;
  options.what_ifs = false;
  options.stop = stale;
  if (closedFormSeconds_ > previewBeyondSeconds_ && !quick.spec.routing.distinct_layers &&
      quick.model->num_moe_layers() > kPreviewLayers) {
    auto preview = std::make_shared<Answer>(answer);
    quick.spec.routing.distinct_layers = kPreviewLayers;
    preview->result = simulate(quick, options);
    preview->previewLayers = kPreviewLayers;
    preview->seconds = secondsSince(start);
    Q_EMIT answered(std::move(preview));
    quick.spec.routing.distinct_layers.reset();
  }
  const auto whole = std::chrono::steady_clock::now();
  try {
    answer.result = simulate(quick, options);
  } catch (const Stopped&) {
    closedFormSeconds_ = std::max(closedFormSeconds_, secondsSince(whole));
    throw;
  }
  closedFormSeconds_ = secondsSince(whole);
  answer.seconds = secondsSince(start);
}

void Evaluator::answerFast(const Question& question, const std::stop_token& stale) {
  const auto start = std::chrono::steady_clock::now();
  const StopScope scope(stale);
  std::shared_ptr<const Scenario> scenario;
  try {
    scenario =
        std::make_shared<const Scenario>(resolve(question.spec, *question.cards, question.file));
    auto answer = std::make_shared<Answer>();
    answerClosedForm(question, scenario, stale, *answer);
    const double step = stepOf(answer->result);
    Q_EMIT answered(answer);
    if (stale.stop_requested()) {
      return;
    }
    if (question.wantsEvents) {
      const std::lock_guard lock(mutex_);
      if (question.number == newest_) {
        slow_ = Resolved{question, scenario, stale_};
        wake_.notify_all();
      }
    }
    if (question.spec.fidelity == Fidelity::analytic) {
      RunOptions options;
      options.stop = stale;
      auto full = std::make_shared<Answer>(*answer);
      full->result = simulate(*scenario, options);
      full->isFinal = true;
      full->seconds = secondsSince(start);
      Q_EMIT answered(std::move(full));
    }
    drawPictures(question, *scenario, step, stale);
    laneDone(question.number);
  } catch (const Stopped&) {
    return;
  } catch (const InputError& error) {
    if (!stale.stop_requested()) {
      Q_EMIT failed(question.number, error.diagnostics());
      Q_EMIT finished(question.number);
    }
  }
}

void Evaluator::drawPictures(const Question& question, const Scenario& scenario, double step,
                             const std::stop_token& stale) {
  const auto check = [&stale] {
    if (stale.stop_requested()) {
      throw Stopped();
    }
  };
  auto pictures = std::make_shared<Pictures>();
  pictures->number = question.number;
  try {
    check();
    picture_ = std::make_shared<const DeploymentPicture>(scenario);
    pictureNumber_ = question.number;
    pictureStep_ = step;
    pictures->experts = picture_->experts();
    check();
    pictures->details = deployment_details(scenario);
    check();
    pictures->available_bytes = picture_->available_bytes();
    pictures->usd_per_gpu_hour = picture_->usd_per_gpu_hour();
    pictures->gpus = picture_->num_gpus();
    pictures->explanation = explain(scenario);
  } catch (const InputError& error) {
    pictures->problem = error.what();
  }
  check();
  Q_EMIT pictured(pictures);
  auto layers = std::make_shared<LayerPictures>();
  layers->number = question.number;
  try {
    check();
    layers->traffic = picture_->traffic(question.layer, step);
    check();
    layers->cache = picture_->cache(question.layer, kCacheSteps);
  } catch (const InputError&) {
    return;
  }
  Q_EMIT layerPictured(std::move(layers));
}

void Evaluator::answerSlowly(std::stop_token stop) {
  while (!stop.stop_requested()) {
    std::optional<Resolved> work;
    {
      std::unique_lock lock(mutex_);
      if (!wake_.wait(lock, stop, [this] { return slow_.has_value(); })) {
        return;
      }
      const std::uint64_t number = slow_->question.number;
      // The user may still be dragging: wait until nothing newer comes for a while.
      wake_.wait_for(lock, stop, std::chrono::milliseconds(eventDelayMs_),
                     [this, number] { return newest_ != number; });
      if (!slow_ || slow_->question.number != newest_) {
        continue;
      }
      work = std::exchange(slow_, std::nullopt);
    }
    answerWithEvents(work->question, work->scenario, work->stale.get_token());
  }
}

void Evaluator::answerWithEvents(const Question& question, std::shared_ptr<const Scenario> scenario,
                                 const std::stop_token& stale) {
  const auto start = std::chrono::steady_clock::now();
  auto run = std::make_shared<EventRun>();
  run->number = question.number;
  Scenario asked = *scenario;
  const bool isOwn = asked.spec.fidelity != Fidelity::analytic;
  if (!isOwn) {
    asked.spec.fidelity = Fidelity::event;
  }
  RunOptions options;
  options.stop = stale;
  options.what_ifs = isOwn;
  const bool isStep = asked.spec.workload.kind == WorkloadKind::step;
  if (isStep && asked.ways.gpus <= kMostTimelineGpus) {
    options.timeline = &run->timeline;
  }
  options.recorded = [&run, &asked](const ServingRecord& record) {
    run->latencies = latency_samples(record, asked.spec.workload.warmup_requests);
  };
  try {
    run->result = simulate(asked, options);
    if (stale.stop_requested()) {
      return;
    }
    if (isOwn) {
      auto answer = std::make_shared<Answer>();
      answer->number = question.number;
      answer->scenario = scenario;
      answer->result = run->result;
      answer->fidelity = asked.spec.fidelity;
      answer->isFinal = true;
      answer->seconds = secondsSince(start);
      Q_EMIT answered(std::move(answer));
    }
    Q_EMIT ran(std::move(run));
    laneDone(question.number);
  } catch (const Stopped&) {
    return;
  } catch (const InputError& error) {
    if (stale.stop_requested()) {
      return;
    }
    if (isOwn) {
      Q_EMIT failed(question.number, error.diagnostics());
    }
    laneDone(question.number);
  }
}

}  // namespace moesim::gui
