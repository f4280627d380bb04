// SPDX-License-Identifier: GPL-3.0-or-later
// A sweep around the scenario in the background, for trade-off curves and the Pareto plot: points
// come one by one, a new study replaces the one that runs.
#pragma once

#include <QObject>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "sim/input/scenario.h"

namespace moesim::gui {

struct StudyRow {
  std::uint64_t study = 0;
  std::uint64_t point = 0;
  std::uint64_t points = 0;  ///< of the study
  std::vector<Json> values;  ///< of the varied keys
  bool isFeasible = false;
  QString reasons;
  std::map<std::string, double> figures;
};

class StudyJob : public QObject {
  Q_OBJECT
 public:
  explicit StudyJob(QObject* parent = nullptr);
  ~StudyJob() override;

  /// `varied` as `moesim sweep --vary` takes them; all points of their product, in closed form.
  /// Returns the number of the study.
  std::uint64_t start(const ScenarioSpec& base, const std::string& file,
                      std::shared_ptr<const CardLibrary> cards, std::vector<std::string> varied);
  void cancel();
  std::uint64_t number() const { return number_; }

 Q_SIGNALS:
  void row(std::shared_ptr<const moesim::gui::StudyRow> row);
  void failed(quint64 study, QString why);
  void finished(quint64 study);

 private:
  struct Study {
    std::uint64_t number = 0;
    ScenarioSpec base;
    std::string file;
    std::shared_ptr<const CardLibrary> cards;
    std::vector<std::string> varied;
  };
  void work(std::stop_token stop);
  void runStudy(const Study& study, const std::stop_token& stale);

  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::optional<Study> next_;
  std::stop_source stale_;
  std::uint64_t number_ = 0;
  std::jthread worker_;
};

}  // namespace moesim::gui

Q_DECLARE_METATYPE(std::shared_ptr<const moesim::gui::StudyRow>)
