// SPDX-License-Identifier: GPL-3.0-or-later
// Page: how latencies spread over the requests of a serving run, against what was promised, and how
// queues and batch move over its time.
#pragma once

#include "gui/chart.h"
#include "gui/view.h"

class QComboBox;

namespace moesim::gui {

class LatencyView : public View {
  Q_OBJECT
 public:
  explicit LatencyView(Workbench& workbench, QWidget* parent = nullptr);

  void refresh() override;
  std::uint64_t shownNumber() const override { return shownNumber_; }
  void paintPicture(QPainter& painter, const QSizeF& size) override;
  Chart& chart() { return *chart_; }

 private:
  void showSamples(const std::vector<double>& now);
  void showSeries(const SimulationResult& result, const std::string& name);

  Chart* chart_;
  QComboBox* what_;
  std::uint64_t shownNumber_ = 0;
};

/// Points of the cumulative distribution of sorted `samples`: at most `most`, ends included.
ChartLine cdfLine(const std::vector<double>& samples, std::size_t most = 2000);

}  // namespace moesim::gui
