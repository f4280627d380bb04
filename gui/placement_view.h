// SPDX-License-Identifier: GPL-3.0-or-later
// Page: the placement editor. Starts from where the scenario puts the experts; moves change the
// balance at once, and become the scenario's placement as a file that moesim place also writes.
#pragma once

#include "gui/placement_board.h"

class QSpinBox;
class QPushButton;

namespace moesim::gui {

class PlacementView : public View {
  Q_OBJECT
 public:
  explicit PlacementView(Workbench& workbench, QWidget* parent = nullptr);
  void refresh() override;
  std::uint64_t shownNumber() const override { return shownNumber_; }
  PlacementBoard& board() { return *board_; }
  QString balance() const { return balance_->text(); }
  /// Writes the edited placement and makes it the scenario's. Throws InputError.
  void applyTo(const std::string& file);

 private:
  void showLayer();
  void changed();

  PlacementBoard* board_;
  QSpinBox* layer_;
  QLabel* balance_;
  QPushButton* undo_;
  QPushButton* balanceAll_;
  QPushButton* apply_;
  ExpertPicture experts_;
  std::vector<std::vector<int>> edited_;  ///< [rows][slots]
  std::uint64_t shownNumber_ = 0;
};

}  // namespace moesim::gui
