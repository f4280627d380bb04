// SPDX-License-Identifier: GPL-3.0-or-later
// Page: what the answer hangs on - each parameter of the cost model 10% up and down - and what its
// band is made of.
#pragma once

#include "gui/bars.h"

class QComboBox;

namespace moesim::gui {

class SensitivityView : public View {
  Q_OBJECT
 public:
  explicit SensitivityView(Workbench& workbench, QWidget* parent = nullptr);
  void refresh() override;
  std::uint64_t shownNumber() const override { return shownNumber_; }
  Bars& bars() { return *bars_; }

 private:
  Bars* bars_;
  QComboBox* what_;
  std::uint64_t shownNumber_ = 0;
};

}  // namespace moesim::gui
