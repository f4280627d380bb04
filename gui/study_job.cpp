// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/study_job.h"

#include <cmath>
#include <utility>

#include "gui/text.h"
#include "sim/study/sweep.h"

namespace moesim::gui {

StudyJob::StudyJob(QObject* parent) : QObject(parent) {
  qRegisterMetaType<std::shared_ptr<const StudyRow>>();
  worker_ = std::jthread([this](std::stop_token stop) { work(std::move(stop)); });
}

StudyJob::~StudyJob() {
  cancel();
  worker_.request_stop();
  wake_.notify_all();
}

std::uint64_t StudyJob::start(const ScenarioSpec& base, const std::string& file,
                              std::shared_ptr<const CardLibrary> cards,
                              std::vector<std::string> varied) {
  const std::lock_guard lock(mutex_);
  stale_.request_stop();
  stale_ = std::stop_source();
  next_ = Study{++number_, base, file, std::move(cards), std::move(varied)};
  next_->base.fidelity = Fidelity::analytic;
  next_->base.faults.clear();
  wake_.notify_all();
  return number_;
}

void StudyJob::cancel() {
  const std::lock_guard lock(mutex_);
  stale_.request_stop();
  next_.reset();
  ++number_;
}

void StudyJob::work(std::stop_token stop) {
  while (!stop.stop_requested()) {
    std::optional<Study> study;
    std::stop_token stale;
    {
      std::unique_lock lock(mutex_);
      if (!wake_.wait(lock, stop, [this] { return next_.has_value(); })) {
        return;
      }
      study = std::exchange(next_, std::nullopt);
      stale = stale_.get_token();
    }
    try {
      runStudy(*study, stale);
    } catch (const InputError& error) {
      if (!stale.stop_requested()) {
        Q_EMIT failed(study->number, text(error.what()));
      }
    }
  }
}

void StudyJob::runStudy(const Study& study, const std::stop_token& stale) {
  const SweepSpace space(study.base, study.varied, SweepMode::cartesian);
  const PointEvaluator evaluator(space, *study.cards, study.file, false);
  for (std::uint64_t point = 0; point < space.num_points(); ++point) {
    if (stale.stop_requested()) {
      return;
    }
    const SweepChunk chunk = evaluator.evaluate({point, 1});
    auto row = std::make_shared<StudyRow>();
    row->study = study.number;
    row->point = point;
    row->points = space.num_points();
    row->values = space.values(point);
    row->isFeasible = chunk.rows.front().feasible;
    row->reasons = text(chunk.rows.front().reasons);
    for (std::size_t c = 0; c < chunk.columns.size() && c < chunk.rows.front().figures.size();
         ++c) {
      if (std::isfinite(chunk.rows.front().figures[c])) {
        row->figures[chunk.columns[c]] = chunk.rows.front().figures[c];
      }
    }
    Q_EMIT this->row(std::move(row));
  }
  Q_EMIT finished(study.number);
}

}  // namespace moesim::gui
