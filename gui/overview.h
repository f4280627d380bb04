// SPDX-License-Identifier: GPL-3.0-or-later
// Page: where the step's time goes, what would change the answer, what the program noticed; every
// figure of the result as its table.
#pragma once

#include "gui/bars.h"

class QTextBrowser;

namespace moesim::gui {

class Overview : public View {
  Q_OBJECT
 public:
  explicit Overview(Workbench& workbench, QWidget* parent = nullptr);

  void refresh() override;
  std::uint64_t shownNumber() const override { return shownNumber_; }
  void paintPicture(QPainter& painter, const QSizeF& size) override;
  Bars& breakdown() { return *breakdown_; }
  Bars& whatIfs() { return *whatIfs_; }

 private:
  void showBreakdown(const SimulationResult& result);
  void showWhatIfs(const SimulationResult& result);
  void showWords(const SimulationResult& result);

  Bars* breakdown_;
  Bars* whatIfs_;
  QTextBrowser* words_;
  std::vector<std::string> changes_;  ///< [bars of whatIfs_]
  std::uint64_t shownNumber_ = 0;
};

/// Every figure of a result as rows: name, value, band, pinned, basis.
Grid figuresGrid(const SimulationResult& result, const SimulationResult* pinned);

}  // namespace moesim::gui
