// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/study_bar.h"

#include <utility>

namespace moesim::gui {

StudyBar::StudyBar(QWidget* parent) : QProgressBar(parent) {
  setMaximumWidth(160);
  setTextVisible(false);
  setAccessibleName(tr("Progress of the sweep"));
  hide();
  connect(&job_, &StudyJob::row, this, [this](const std::shared_ptr<const StudyRow>& one) {
    if (one->study == study_) {
      setRange(0, static_cast<int>(one->points));
      setValue(static_cast<int>(one->point) + 1);
      Q_EMIT row(one);
    }
  });
  connect(&job_, &StudyJob::finished, this, [this](quint64 study) {
    if (end(study)) {
      Q_EMIT finished();
    }
  });
  connect(&job_, &StudyJob::failed, this, [this](quint64 study, const QString& why) {
    if (end(study)) {
      Q_EMIT failed(why);
    }
  });
}

void StudyBar::start(const ScenarioSpec& base, const std::string& file,
                     std::shared_ptr<const CardLibrary> cards, std::vector<std::string> varied) {
  study_ = job_.start(base, file, std::move(cards), std::move(varied));
  setRange(0, 0);
  show();
}

void StudyBar::cancel() {
  job_.cancel();
  end(study_);
}

bool StudyBar::end(quint64 study) {
  if (study != study_ || study_ == 0) {
    return false;
  }
  study_ = 0;
  hide();
  return true;
}

}  // namespace moesim::gui
