// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/timeline_canvas.h"

#include <QHelpEvent>
#include <QKeyEvent>
#include <QMouseEvent>
#include <QToolTip>
#include <QWheelEvent>
#include <algorithm>
#include <cmath>
#include <cstring>

#include "gui/text.h"
#include "gui/theme.h"

namespace moesim::gui {
namespace {

constexpr double kRuler = 24;
constexpr double kNames = 150;
constexpr double kLegendLine = 20;
constexpr std::int64_t kShortestWindow = 2000;  // ps

}  // namespace

TimelineCanvas::TimelineCanvas(QWidget* parent) : Canvas(parent) {
  setAccessibleName(tr("Timeline"));
  setAccessibleDescription(
      tr("W and S zoom, A and D move, comma and full stop step through slices, F fits all"));
}

void TimelineCanvas::setIndex(std::shared_ptr<const TimelineIndex> index) {
  index_ = std::move(index);
  current_ = {};
  hasArea_ = false;
  matches_.clear();
  hasMatches_ = false;
  setDevice(device_);
  fitAll();
}

void TimelineCanvas::setMatches(std::vector<bool> matches) {
  matches_ = std::move(matches);
  hasMatches_ = std::find(matches_.begin(), matches_.end(), true) != matches_.end();
  update();
}

void TimelineCanvas::setDevice(int device) {
  device_ = device;
  shown_.clear();
  if (index_ != nullptr) {
    for (int lane = 0; lane < static_cast<int>(index_->lanes().size()); ++lane) {
      const int owner = index_->lanes()[static_cast<std::size_t>(lane)].device;
      if (device < 0 || owner == device || owner < 0) {
        shown_.push_back(lane);
      }
    }
  }
  firstLane_ = 0;
  update();
}

void TimelineCanvas::setMarkedDevice(int device) {
  if (device == markedDevice_) {
    return;
  }
  markedDevice_ = device;
  for (std::size_t row = 0; row < shown_.size() && index_ != nullptr && device >= 0; ++row) {
    if (index_->lanes()[static_cast<std::size_t>(shown_[row])].device == device) {
      const int rows =
          std::max(1, static_cast<int>(laneArea(size()).height() / laneHeight(size())));
      const int at = static_cast<int>(row);
      if (at < firstLane_ || at + 1 >= firstLane_ + rows) {
        firstLane_ = std::max(0, at - rows / 2);
      }
      break;
    }
  }
  update();
}

void TimelineCanvas::fitAll() {
  if (index_ != nullptr) {
    from_ = index_->begin();
    to_ = index_->end();
  }
  update();
}

double TimelineCanvas::laneHeight(const QSizeF& size) const {
  const double room = std::max(1.0, size.height() - kRuler - legendHeight(size.width()));
  const double fair = room / std::max<std::size_t>(1, shown_.size());
  return std::clamp(fair, 16.0, 34.0);
}

QRectF TimelineCanvas::laneArea(const QSizeF& size) const {
  return {kNames, kRuler, std::max(1.0, size.width() - kNames - 8),
          std::max(1.0, size.height() - kRuler - legendHeight(size.width()))};
}

double TimelineCanvas::xOf(std::int64_t time, const QRectF& area) const {
  return area.left() +
         static_cast<double>(time - from_) / static_cast<double>(to_ - from_) * area.width();
}

std::int64_t TimelineCanvas::timeAt(double x, const QRectF& area) const {
  return from_ + static_cast<std::int64_t>((x - area.left()) / area.width() *
                                           static_cast<double>(to_ - from_));
}

int TimelineCanvas::laneAt(double y, const QSizeF& size) const {
  return firstLane_ + static_cast<int>(std::floor((y - kRuler) / laneHeight(size)));
}

void TimelineCanvas::clampWindow() {
  if (index_ == nullptr) {
    return;
  }
  const std::int64_t whole = index_->end() - index_->begin();
  std::int64_t width = std::clamp(to_ - from_, std::min(kShortestWindow, whole), whole);
  from_ = std::clamp(from_, index_->begin(), index_->end() - width);
  to_ = from_ + width;
  update();
}

void TimelineCanvas::zoom(double factor, std::int64_t about) {
  const double before = static_cast<double>(to_ - from_);
  const double share = static_cast<double>(about - from_) / before;
  const double after = std::max(static_cast<double>(kShortestWindow), before * factor);
  from_ = about - static_cast<std::int64_t>(share * after);
  to_ = from_ + static_cast<std::int64_t>(after);
  clampWindow();
}

void TimelineCanvas::pan(double share) {
  const auto by = static_cast<std::int64_t>(share * static_cast<double>(to_ - from_));
  from_ += by;
  to_ += by;
  clampWindow();
}

void TimelineCanvas::goTo(const SliceRef& slice) {
  if (index_ == nullptr || !slice.isValid()) {
    return;
  }
  current_ = slice;
  const Slice& at = index_->lanes()[static_cast<std::size_t>(slice.lane)]
                        .slices[static_cast<std::size_t>(slice.slice)];
  const std::int64_t width = to_ - from_;
  if (at.start < from_ || at.end > to_) {
    from_ = (at.start + at.end) / 2 - width / 2;
    to_ = from_ + width;
    clampWindow();
  }
  const auto place = std::find(shown_.begin(), shown_.end(), slice.lane);
  if (place != shown_.end()) {
    const int row = static_cast<int>(place - shown_.begin());
    const int rows = std::max(1, static_cast<int>(laneArea(size()).height() / laneHeight(size())));
    firstLane_ = row < firstLane_ ? row : row >= firstLane_ + rows ? row - rows + 1 : firstLane_;
  }
  update();
  Q_EMIT currentChanged(slice);
}

void TimelineCanvas::paintLane(QImage& image, int lane, int top, int bottom, double ratio) const {
  const Lane& row = index_->lanes()[static_cast<std::size_t>(lane)];
  const int width = image.width();
  const double perPixel = static_cast<double>(to_ - from_) / width;
  const QRgb fade = theme().panel.rgb();
  auto* line = reinterpret_cast<QRgb*>(image.scanLine(top));
  const bool isLink = row.device < 0;
  auto i = static_cast<std::size_t>(index_->firstEndingAfter(lane, from_));
  int painted = 0;  // pixels before this one are done
  while (i < row.slices.size() && row.slices[i].start < to_) {
    const Slice& slice = row.slices[i];
    const int first =
        std::max(painted, static_cast<int>(static_cast<double>(slice.start - from_) / perPixel));
    const int last = std::min(
        width, static_cast<int>(std::ceil(static_cast<double>(slice.end - from_) / perPixel)));
    QRgb color =
        isLink ? loadColor(static_cast<double>(slice.utilisation)).rgb() : kindColors_[slice.kind];
    if (hasMatches_ && !matches_[slice.label]) {
      // A quarter of the colour, three of the background.
      color = qRgb((qRed(color) + 3 * qRed(fade)) / 4, (qGreen(color) + 3 * qGreen(fade)) / 4,
                   (qBlue(color) + 3 * qBlue(fade)) / 4);
    }
    const int stop = std::max(last, std::min(first + 1, width));
    for (int x = first; x < stop; ++x) {
      line[x] = color;
    }
    // A thin gap parts neighbours that are wide enough to be told apart.
    if (stop - first > 4 * ratio) {
      line[stop - 1] = fade;
    }
    painted = std::max(painted, stop);
    if (last - first <= 1) {
      // Everything else that lies within this pixel could not be seen: jump to the next.
      const auto next = from_ + static_cast<std::int64_t>(std::ceil(painted * perPixel));
      i = std::max(i + 1, static_cast<std::size_t>(
                              index_->firstEndingAfter(lane, next - 1, static_cast<int>(i))));
    } else {
      ++i;
    }
  }
  for (int y = top + 1; y < bottom; ++y) {
    std::memcpy(image.scanLine(y), line, static_cast<std::size_t>(width) * sizeof(QRgb));
  }
}

void TimelineCanvas::drawLabels(QPainter& painter, int lane, const QRectF& box,
                                const QRectF& area) const {
  const Lane& row = index_->lanes()[static_cast<std::size_t>(lane)];
  const double perPixel = static_cast<double>(to_ - from_) / area.width();
  const auto least = static_cast<std::int64_t>(36 * perPixel);
  // Only slices of 36 pixels or more can hold a label, so there are few; the jump below skips
  // crowds of shorter ones.
  auto i = static_cast<std::size_t>(index_->firstEndingAfter(lane, from_));
  int looked = 0;
  while (i < row.slices.size() && row.slices[i].start < to_ && looked < 400) {
    const Slice& slice = row.slices[i];
    ++looked;
    if (slice.end - slice.start >= least) {
      const double left = std::max(area.left(), xOf(slice.start, area));
      const double right = std::min(area.right(), xOf(slice.end, area));
      painter.setPen(
          inkOn(QColor(row.device < 0 ? loadColor(static_cast<double>(slice.utilisation)).rgb()
                                      : kindColors_[slice.kind])));
      const QRectF inside(left + 3, box.top(), right - left - 6, box.height());
      painter.drawText(inside, Qt::AlignLeft | Qt::AlignVCenter,
                       painter.fontMetrics().elidedText(index_->label(slice), Qt::ElideRight,
                                                        static_cast<int>(inside.width())));
      ++i;
    } else {
      i = std::max(i + 1, static_cast<std::size_t>(index_->firstEndingAfter(
                              lane, slice.start + least / 2, static_cast<int>(i))));
    }
  }
}

void TimelineCanvas::drawRuler(QPainter& painter, const QRectF& area, bool withLabels) const {
  const Theme& t = theme();
  const double span = static_cast<double>(to_ - from_) * 1e-12;
  const double rough = span / std::max(1.0, area.width() / 110);
  const double power = std::pow(10, std::floor(std::log10(rough)));
  const double step = rough / power <= 2 ? 2 * power : rough / power <= 5 ? 5 * power : 10 * power;
  const double start = static_cast<double>(from_ - index_->begin()) * 1e-12;
  for (double tick = std::ceil(start / step) * step; tick <= start + span; tick += step) {
    const double x = area.left() + (tick - start) / span * area.width();
    if (!withLabels) {
      painter.setPen(t.grid);
      painter.drawLine(QPointF(x, area.top()), QPointF(x, area.bottom()));
      continue;
    }
    painter.setPen(t.muted);
    const QRectF label(x - 60, 2, 120, kRuler - 4);
    if (label.left() >= area.left() - 60 && label.right() < area.right() + 60) {
      painter.drawText(label, Qt::AlignCenter,
                       tick == 0 ? QStringLiteral("0") : valueText(tick, "s"));
    }
  }
}

QFont TimelineCanvas::smallFont() const {
  QFont small = font();
  small.setPointSizeF(std::max(7.0, font().pointSizeF() - 1));
  return small;
}

std::vector<TimelineCanvas::LegendEntry> TimelineCanvas::legend(double width) const {
  std::vector<LegendEntry> entries;
  const QFontMetricsF metrics(smallFont());
  double x = 6;
  int line = 0;
  for (std::size_t k = 0; index_ != nullptr && k < index_->kinds().size(); ++k) {
    if (!index_->hasKind(k) || index_->kinds()[k] == "link") {
      continue;
    }
    const QString name = wordsOf(index_->kinds()[k].toStdString());
    const double room = metrics.horizontalAdvance(name) + 30;
    if (x + room > width && x > 6) {
      x = 6;
      ++line;
    }
    entries.push_back({k, name, QRectF(x, line * kLegendLine, room, kLegendLine)});
    x += room;
  }
  return entries;
}

double TimelineCanvas::legendHeight(double width) const {
  const std::vector<LegendEntry> entries = legend(width);
  return entries.empty() ? kLegendLine : entries.back().box.bottom();
}

void TimelineCanvas::drawLegend(QPainter& painter, const QSizeF& size) const {
  const std::vector<LegendEntry> entries = legend(size.width());
  painter.setPen(theme().muted);
  for (const LegendEntry& entry : entries) {
    const QRectF box = entry.box.translated(0, size.height() - entries.back().box.bottom());
    painter.fillRect(QRectF(box.left(), box.top() + 5, 11, 11), QColor(kindColors_[entry.kind]));
    painter.drawText(box.adjusted(16, 0, 0, 0), Qt::AlignVCenter | Qt::AlignLeft, entry.name);
  }
}

void TimelineCanvas::draw(QPainter& painter, const QSizeF& size) {
  const Theme& t = theme();
  if (index_ == nullptr || index_->numSlices() == 0) {
    return;
  }
  kindColors_.resize(index_->kinds().size());
  for (std::size_t k = 0; k < kindColors_.size(); ++k) {
    kindColors_[k] = kindColor(index_->kinds()[k]).rgb();
  }
  const QRectF area = laneArea(size);
  const double height = laneHeight(size);
  const int rows = std::max(1, static_cast<int>(area.height() / height));
  firstLane_ = std::clamp(firstLane_, 0, std::max(0, static_cast<int>(shown_.size()) - rows));
  painter.setRenderHint(QPainter::Antialiasing, false);
  drawRuler(painter, area, true);
  const double ratio = painter.device() != nullptr ? painter.device()->devicePixelRatioF() : 1;
  const int visible = std::min(rows, static_cast<int>(shown_.size()) - firstLane_);
  // Kept from frame to frame: its memory costs more than what is drawn into it.
  const QSize pixels(std::max(1, static_cast<int>(area.width() * ratio)),
                     std::max(1, static_cast<int>(area.height() * ratio)));
  if (frame_.size() != pixels) {
    frame_ = QImage(pixels, QImage::Format_RGB32);
  }
  QImage& image = frame_;
  image.setDevicePixelRatio(ratio);
  image.fill(t.panel);
  {
    QPainter grid(&image);
    grid.translate(-area.topLeft());
    drawRuler(grid, area, false);
  }
  for (int row = 0; row < visible; ++row) {
    const int lane = shown_[static_cast<std::size_t>(firstLane_ + row)];
    const int top = static_cast<int>((row * height + 1.5) * ratio);
    const int bottom = std::min(image.height(), static_cast<int>(((row + 1) * height - 1) * ratio));
    if (top < bottom) {
      paintLane(image, lane, top, bottom, ratio);
    }
  }
  painter.drawImage(area.topLeft(), image);
  painter.setFont(smallFont());
  drawLegend(painter, size);
  for (int row = 0; row < visible; ++row) {
    const int lane = shown_[static_cast<std::size_t>(firstLane_ + row)];
    const QRectF box(area.left(), area.top() + row * height, area.width(), height);
    const bool isMarked = markedDevice_ >= 0 &&
                          index_->lanes()[static_cast<std::size_t>(lane)].device == markedDevice_;
    if (isMarked) {
      QColor cover = t.accent;
      cover.setAlpha(40);
      painter.fillRect(QRectF(0, box.top(), kNames, height), cover);
    }
    painter.setPen(isMarked ? t.accent : t.text);
    painter.drawText(
        QRectF(6, box.top(), kNames - 12, height), Qt::AlignVCenter | Qt::AlignLeft,
        painter.fontMetrics().elidedText(index_->lanes()[static_cast<std::size_t>(lane)].name,
                                         Qt::ElideMiddle, static_cast<int>(kNames - 12)));
    painter.setClipRect(area);
    drawLabels(painter, lane, box, area);
    painter.setClipping(false);
    if (current_.lane == lane) {
      const Slice& slice = index_->lanes()[static_cast<std::size_t>(lane)]
                               .slices[static_cast<std::size_t>(current_.slice)];
      const double left = std::max(area.left(), xOf(slice.start, area));
      const double right = std::min(area.right(), xOf(slice.end, area));
      if (right >= left) {
        painter.setBrush(Qt::NoBrush);
        painter.setPen(QPen(t.text, 2));
        painter.drawRect(QRectF(left, box.top() + 1, std::max(2.0, right - left), height - 2));
      }
    }
  }
  if (hasArea_) {
    QColor cover = t.accent;
    cover.setAlpha(50);
    const double top = area.top() + (areaFirst_ - firstLane_) * height;
    const double bottom = area.top() + (areaLast_ + 1 - firstLane_) * height;
    const QRectF box =
        QRectF(QPointF(xOf(areaFrom_, area), top), QPointF(xOf(areaTo_, area), bottom)) & area;
    painter.fillRect(box, cover);
    painter.setPen(t.accent);
    painter.setBrush(Qt::NoBrush);
    painter.drawRect(box);
  }
  if (static_cast<int>(shown_.size()) > rows) {
    const double all = static_cast<double>(shown_.size());
    const QRectF bar(size.width() - 6, area.top() + firstLane_ / all * area.height(), 4,
                     rows / all * area.height());
    painter.fillRect(bar, t.muted);
  }
}

SliceRef TimelineCanvas::sliceUnder(const QPointF& at) const {
  const QRectF area = laneArea(size());
  const int row = laneAt(at.y(), size());
  if (index_ == nullptr || !area.contains(at) || row < 0 ||
      row >= static_cast<int>(shown_.size())) {
    return {};
  }
  const int lane = shown_[static_cast<std::size_t>(row)];
  const int slice = index_->sliceAt(lane, timeAt(at.x(), area));
  return slice >= 0 ? SliceRef{lane, slice} : SliceRef{};
}

QString TimelineCanvas::tip(const SliceRef& ref) const {
  const Lane& lane = index_->lanes()[static_cast<std::size_t>(ref.lane)];
  const Slice& slice = lane.slices[static_cast<std::size_t>(ref.slice)];
  QString tip = QStringLiteral("<b>%1</b><br>%2, %3<br>from %4, %5 long")
                    .arg(index_->label(slice).toHtmlEscaped(), lane.name.toHtmlEscaped(),
                         wordsOf(index_->kinds()[slice.kind].toStdString()),
                         valueText(static_cast<double>(slice.start - index_->begin()) * 1e-12, "s"),
                         valueText(static_cast<double>(slice.end - slice.start) * 1e-12, "s"));
  if (lane.device < 0) {
    tip +=
        tr("<br>%1 of its rate").arg(valueText(static_cast<double>(slice.utilisation), "fraction"));
  }
  return tip;
}

}  // namespace moesim::gui
