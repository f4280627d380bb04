// SPDX-License-Identifier: GPL-3.0-or-later
// The sweep behind a page, and how far it is: a progress bar that shows while one runs. Only rows
// of the sweep that was started last come out.
#pragma once

#include <QProgressBar>

#include "gui/study_job.h"

namespace moesim::gui {

class StudyBar : public QProgressBar {
  Q_OBJECT
 public:
  explicit StudyBar(QWidget* parent = nullptr);

  /// As StudyJob::start; a sweep that runs is given up.
  void start(const ScenarioSpec& base, const std::string& file,
             std::shared_ptr<const CardLibrary> cards, std::vector<std::string> varied);
  void cancel();
  bool isRunning() const { return study_ != 0; }

 Q_SIGNALS:
  void row(std::shared_ptr<const moesim::gui::StudyRow> row);
  /// The sweep no longer runs: all rows came, or `why` says what stopped it.
  void finished();
  void failed(QString why);

 private:
  bool end(quint64 study);

  StudyJob job_;
  std::uint64_t study_ = 0;  ///< 0: none runs
};

}  // namespace moesim::gui
