// SPDX-License-Identifier: GPL-3.0-or-later
// Page: what every stream and link does when, from the event run behind the answer or from a trace
// file in Chrome's format.
#pragma once

#include <memory>

#include "gui/timeline_canvas.h"

class QComboBox;
class QLineEdit;

namespace moesim::gui {

class TimelineView : public View {
  Q_OBJECT
 public:
  explicit TimelineView(Workbench& workbench, QWidget* parent = nullptr);

  void refresh() override;
  std::uint64_t shownNumber() const override { return shownNumber_; }
  TimelineCanvas& canvas() { return *canvas_; }
  /// Shows any timeline, a trace's for example, until the scenario changes.
  void showTimeline(const Timeline& timeline, const QString& note);
  QLineEdit* searchLine() const { return search_; }
  void step(int direction);

 private:
  void search();
  void describe(const SliceRef& slice);
  void describeArea(int firstLane, int lastLane, std::int64_t from, std::int64_t to);
  void fillTable();

  TimelineCanvas* canvas_;
  QLineEdit* search_;
  QComboBox* device_;
  QLabel* status_;
  std::shared_ptr<const EventRun> shownRun_;
  std::shared_ptr<const TimelineIndex> index_;
  std::vector<bool> matches_;
  std::uint64_t shownNumber_ = 0;
  bool isForeign_ = false;
};

/// A trace of complete events in Chrome's format as a timeline. Throws InputError.
Timeline readChromeTrace(const std::string& path);

}  // namespace moesim::gui
