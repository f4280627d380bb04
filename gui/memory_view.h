// SPDX-License-Identifier: GPL-3.0-or-later
// Page: what the fullest GPU holds, kind by kind, against the memory that may be planned for.
#pragma once

#include "gui/bars.h"

namespace moesim::gui {

class MemoryView : public View {
  Q_OBJECT
 public:
  explicit MemoryView(Workbench& workbench, QWidget* parent = nullptr);
  void refresh() override;
  std::uint64_t shownNumber() const override { return shownNumber_; }
  Bars& bars() { return *bars_; }

 private:
  Bars* bars_;
  QLabel* verdict_;
  std::uint64_t shownNumber_ = 0;
};

}  // namespace moesim::gui
