// SPDX-License-Identifier: GPL-3.0-or-later
// Page: tokens/s/GPU against tokens/s/user of many deployments around the scenario, with the front
// that none beats and the promises as lines; a click takes a point.
//
// Points come from a sweep over batch (or load) and layout, or from a sweep database or CSV file.
#pragma once

#include <vector>

#include "gui/chart.h"
#include "gui/study_bar.h"
#include "gui/view.h"

class QComboBox;

namespace moesim::gui {

struct ParetoPoint {
  double perGpu = 0;
  double perUser = 0;
  bool fits = true;
  QString name;
  std::vector<std::pair<std::string, Json>> changes;  ///< of the scenario
  std::string scenario;                               ///< whole, from a database
};

class ParetoView : public View {
  Q_OBJECT
 public:
  explicit ParetoView(Workbench& workbench, QWidget* parent = nullptr);

  void refresh() override;
  std::uint64_t shownNumber() const override { return isForeign_ ? 0 : shownNumber_; }
  void paintPicture(QPainter& painter, const QSizeF& size) override;
  /// Shows the points of a sweep database (SQLite). Throws InputError.
  void showDatabase(const QString& path);
  Chart& chart() { return *chart_; }
  const std::vector<ParetoPoint>& points() const { return points_; }
  bool isRunning() const { return study_->isRunning(); }

 protected:
  void redraw() override { draw(); }

 private:
  void start();
  void take(const std::shared_ptr<const StudyRow>& row);
  void draw();
  void load(int point);

  Chart* chart_;
  QComboBox* second_;
  StudyBar* study_;
  std::vector<ParetoPoint> points_;
  std::vector<std::vector<int>> drawn_;  ///< [lines][points] index into points_
  std::uint64_t shownNumber_ = 0;
  std::vector<std::string> pointers_;
  bool isForeign_ = false;
};

}  // namespace moesim::gui
