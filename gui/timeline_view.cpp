// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/timeline_view.h"

#include <QComboBox>
#include <QLineEdit>
#include <QShortcut>
#include <QVBoxLayout>
#include <algorithm>
#include <cmath>

#include "gui/text.h"
#include "gui/theme.h"

namespace moesim::gui {

TimelineView::TimelineView(Workbench& workbench, QWidget* parent)
    : View(workbench, tr("Timeline"), tr("What does every stream do when, and who waits for whom?"),
           parent) {
  auto* page = new QWidget;
  auto* layout = new QVBoxLayout(page);
  layout->setContentsMargins(0, 0, 0, 0);
  layout->setSpacing(4);
  canvas_ = new TimelineCanvas;
  layout->addWidget(canvas_, 1);
  status_ =
      new QLabel(tr("W/S zoom · A/D move · , . previous and next slice · drag an area to sum "
                    "it · F fits all"));
  status_->setObjectName("muted");
  status_->setWordWrap(true);
  status_->setTextInteractionFlags(Qt::TextSelectableByMouse);
  layout->addWidget(status_);
  setPicture(page);
  search_ = new QLineEdit;
  search_->setPlaceholderText(tr("Search slices, Enter for the next (/)"));
  search_->setClearButtonEnabled(true);
  search_->setAccessibleName(tr("Search slices"));
  search_->setMinimumWidth(270);
  search_->setMaximumWidth(320);
  controls().addWidget(search_);
  device_ = new QComboBox;
  device_->setAccessibleName(tr("GPU whose streams are shown"));
  device_->setMinimumWidth(120);
  controls().addWidget(new QLabel(tr("Show")));
  controls().addWidget(device_);
  const auto addButton = [this](const QString& text, const QString& tip, auto action) {
    auto* button = new QToolButton;
    button->setText(text);
    button->setToolTip(tip);
    button->setAccessibleName(tip);
    connect(button, &QToolButton::clicked, this, action);
    controls().addWidget(button);
  };
  addButton(tr("◀"), tr("Previous slice (,)"), [this] { step(-1); });
  addButton(tr("▶"), tr("Next slice (.)"), [this] { step(1); });
  addButton(tr("Fit"), tr("Fit everything (F)"), [this] { canvas_->fitAll(); });
  controls().addStretch(1);
  connect(search_, &QLineEdit::textChanged, this, &TimelineView::search);
  connect(search_, &QLineEdit::returnPressed, this, [this] { step(1); });
  connect(device_, &QComboBox::activated, this,
          [this](int) { canvas_->setDevice(device_->currentData().toInt()); });
  connect(canvas_, &TimelineCanvas::currentChanged, this, &TimelineView::describe);
  connect(canvas_, &TimelineCanvas::areaSelected, this, &TimelineView::describeArea);
  connect(&workbench, &Workbench::eventRunChanged, this, &View::refreshIfVisible);
  connect(&workbench, &Workbench::selectionChanged, this, &View::refreshIfVisible);
}

void TimelineView::step(int direction) {
  if (index_ == nullptr) {
    return;
  }
  const bool any = std::find(matches_.begin(), matches_.end(), true) != matches_.end();
  canvas_->goTo(any ? index_->nextMatch(matches_, canvas_->current(), direction)
                    : index_->neighbour(canvas_->current(), direction));
}

void TimelineView::search() {
  if (index_ != nullptr) {
    matches_ = index_->matching(search_->text().trimmed());
    canvas_->setMatches(matches_);
  }
}

void TimelineView::showTimeline(const Timeline& timeline, const QString& note) {
  index_ = std::make_shared<const TimelineIndex>(timeline);
  isForeign_ = true;
  device_->clear();
  device_->addItem(tr("all GPUs"), -1);
  int last = -1;
  for (const Lane& lane : index_->lanes()) {
    if (lane.device >= 0 && lane.device != last) {
      last = lane.device;
      device_->addItem(tr("GPU %1").arg(last), last);
    }
  }
  canvas_->setDevice(-1);
  canvas_->setIndex(index_);
  search();
  fillTable();
  setNote(note);
}

void TimelineView::refresh() {
  const std::shared_ptr<const EventRun>& run = workbench().eventRun();
  if (run != nullptr && run != shownRun_) {
    shownRun_ = run;
    shownNumber_ = run->number;
    const bool isServing = run->timeline.spans.empty();
    showTimeline(run->timeline,
                 isServing ? tr("A serving run records no spans: set the workload's kind to step.")
                           : tr("%1 slices by event fidelity, which takes %2 a step")
                                 .arg(numberText(static_cast<double>(run->timeline.spans.size())),
                                      valueText(figure(run->result, "step_s").value_or(NAN), "s")));
    isForeign_ = false;
  } else if (run == nullptr && !isForeign_) {
    shownRun_.reset();
    index_.reset();
    shownNumber_ = 0;
    canvas_->setIndex(nullptr);
    table().setGrid({});
    setNote(workbench().problems().empty() ? tr("Events are being run…")
                                           : tr("There is no answer to draw."));
  }
  canvas_->setMarkedDevice(workbench().selection().gpu);
}

void TimelineView::describe(const SliceRef& ref) {
  if (index_ == nullptr || !ref.isValid()) {
    status_->setText(tr("Nothing is selected."));
    return;
  }
  const Lane& lane = index_->lanes()[static_cast<std::size_t>(ref.lane)];
  const Slice& slice = lane.slices[static_cast<std::size_t>(ref.slice)];
  status_->setText(
      tr("%1 · %2 · %3 · starts at %4 · lasts %5")
          .arg(index_->label(slice), lane.name, wordsOf(index_->kinds()[slice.kind].toStdString()),
               valueText(static_cast<double>(slice.start - index_->begin()) * 1e-12, "s"),
               valueText(static_cast<double>(slice.end - slice.start) * 1e-12, "s")));
  if (lane.device >= 0) {
    Selection selection = workbench().selection();
    if (selection.gpu != lane.device) {
      selection.gpu = lane.device;
      workbench().select(selection);
    }
  }
}

void TimelineView::describeArea(int firstLane, int lastLane, std::int64_t from, std::int64_t to) {
  const WindowSum sum = index_->sum(firstLane, lastLane, from, to);
  std::vector<std::pair<std::int64_t, QString>> parts;
  for (std::size_t k = 0; k < sum.byKind.size(); ++k) {
    if (sum.byKind[k] > 0) {
      parts.emplace_back(sum.byKind[k], wordsOf(index_->kinds()[k].toStdString()));
    }
  }
  std::sort(parts.rbegin(), parts.rend());
  QStringList lines;
  const double all = static_cast<double>(to - from) * (lastLane - firstLane + 1);
  for (const auto& [time, kind] : parts) {
    lines << QStringLiteral("%1 %2%").arg(kind).arg(100.0 * static_cast<double>(time) / all, 0, 'f',
                                                    1);
  }
  status_->setText(tr("%1 over %2 lanes, %3 slices: %4")
                       .arg(valueText(static_cast<double>(to - from) * 1e-12, "s"))
                       .arg(lastLane - firstLane + 1)
                       .arg(sum.slices)
                       .arg(lines.join(", ")));
}

void TimelineView::fillTable() {
  Grid grid;
  grid.columns = {tr("Lane"), tr("Kind"), tr("Label"), tr("Start (s)"), tr("Duration (s)")};
  grid.rows = static_cast<int>(std::min<std::int64_t>(index_->numSlices(), INT32_MAX));
  grid.cell = [index = index_](int row, int column) -> QVariant {
    const SliceRef ref = index->at(row);
    const Lane& lane = index->lanes()[static_cast<std::size_t>(ref.lane)];
    const Slice& slice = lane.slices[static_cast<std::size_t>(ref.slice)];
    switch (column) {
      case 0:
        return lane.name;
      case 1:
        return index->kinds()[slice.kind];
      case 2:
        return index->label(slice);
      case 3:
        return static_cast<double>(slice.start) * 1e-12;
      default:
        return static_cast<double>(slice.end - slice.start) * 1e-12;
    }
  };
  table().setGrid(std::move(grid));
}

Timeline readChromeTrace(const std::string& path) {
  const Json json = load_json(path, {.max_bytes = std::size_t{1} << 30});
  const Json* events = json.is_array() ? &json : json.find("traceEvents");
  if (events == nullptr || !events->is_array()) {
    throw InputError(path, "", "holds no traceEvents", "open a Chrome or Perfetto JSON trace");
  }
  Timeline timeline;
  LabelTable kinds;
  for (const Json& event : events->items()) {
    const Json* phase = event.find("ph");
    const Json* start = event.find("ts");
    const Json* duration = event.find("dur");
    if (phase == nullptr || !phase->is_text() || phase->as_text() != "X" || start == nullptr ||
        duration == nullptr || !start->is_number() || !duration->is_number()) {
      continue;
    }
    Span span;
    const auto number = [&event](const char* key) {
      const Json* value = event.find(key);
      return value != nullptr && value->is_integer() ? value->as_integer() : 0;
    };
    const auto word = [&event](const char* key, const char* otherwise) {
      const Json* value = event.find(key);
      return value != nullptr && value->is_text() ? value->as_text() : std::string(otherwise);
    };
    span.start = SimTime(std::llround(start->as_number() * 1e6));
    span.end = SimTime(std::llround((start->as_number() + duration->as_number()) * 1e6));
    span.device = static_cast<std::uint32_t>(std::clamp<std::int64_t>(number("pid"), 0, 65535));
    span.stream = static_cast<std::uint8_t>(std::clamp<std::int64_t>(number("tid"), 0, 15));
    span.label = timeline.labels.intern(word("name", ""));
    span.kind = static_cast<std::uint16_t>(
        static_cast<std::uint32_t>(kinds.intern(word("cat", "op"))) & 0xFFFFU);
    timeline.spans.push_back(span);
  }
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    timeline.kinds.push_back(kinds.text(static_cast<LabelId>(i)));
  }
  for (int i = 0; i < 16; ++i) {
    timeline.streams.push_back("stream " + std::to_string(i));
  }
  if (timeline.spans.empty()) {
    throw InputError(path, "", "holds no complete events (\"ph\": \"X\")",
                     "write one with moesim run SCENARIO --fidelity event --trace FILE");
  }
  return timeline;
}

}  // namespace moesim::gui
