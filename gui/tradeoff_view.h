// SPDX-License-Identifier: GPL-3.0-or-later
// Page: any figure over one key, by a sweep in the background that follows the scenario.
#pragma once

#include <vector>

#include "gui/chart.h"
#include "gui/study_bar.h"
#include "gui/view.h"

class QComboBox;

namespace moesim::gui {

class TradeoffView : public View {
  Q_OBJECT
 public:
  explicit TradeoffView(Workbench& workbench, QWidget* parent = nullptr);

  void refresh() override;
  std::uint64_t shownNumber() const override { return shownNumber_; }
  void paintPicture(QPainter& painter, const QSizeF& size) override;
  Chart& chart() { return *chart_; }
  QComboBox* parameter() const { return parameter_; }
  bool isRunning() const { return study_->isRunning(); }

 protected:
  void redraw() override { draw(); }

 private:
  void start();
  void take(const std::shared_ptr<const StudyRow>& row);
  void draw();

  Chart* chart_;
  QComboBox* parameter_;
  QComboBox* metric_;
  StudyBar* study_;
  std::vector<std::shared_ptr<const StudyRow>> rows_;
  std::uint64_t shownNumber_ = 0;
  std::string pointer_;
};

}  // namespace moesim::gui
