// SPDX-License-Identifier: GPL-3.0-or-later
// What mouse and keys do to the timeline.
#include <QHelpEvent>
#include <QKeyEvent>
#include <QMouseEvent>
#include <QToolTip>
#include <QWheelEvent>
#include <algorithm>
#include <cmath>

#include "gui/timeline_canvas.h"

namespace moesim::gui {
namespace {

constexpr double kClickDistance = 4;
constexpr double kZoomStep = 0.7;
constexpr double kPanStep = 0.12;

}  // namespace

bool TimelineCanvas::event(QEvent* event) {
  if (event->type() == QEvent::ToolTip && index_ != nullptr) {
    const auto* help = static_cast<QHelpEvent*>(event);
    const SliceRef slice = sliceUnder(help->pos());
    if (slice.isValid()) {
      QToolTip::showText(help->globalPos(), tip(slice), this);
    } else {
      QToolTip::hideText();
    }
    return true;
  }
  return Canvas::event(event);
}

void TimelineCanvas::mousePressEvent(QMouseEvent* event) {
  pressed_ = event->position();
  isSelecting_ = event->button() == Qt::LeftButton && laneArea(size()).contains(pressed_);
  isPanning_ = event->button() == Qt::RightButton || event->button() == Qt::MiddleButton;
}

void TimelineCanvas::mouseMoveEvent(QMouseEvent* event) {
  const QRectF area = laneArea(size());
  if (isPanning_) {
    pan((pressed_.x() - event->position().x()) / area.width());
    const double lanes = (pressed_.y() - event->position().y()) / laneHeight(size());
    if (std::abs(lanes) >= 1) {
      firstLane_ += static_cast<int>(lanes);
      pressed_.setY(event->position().y());
    }
    pressed_.setX(event->position().x());
    return;
  }
  if (isSelecting_ && index_ != nullptr &&
      (event->position() - pressed_).manhattanLength() > kClickDistance) {
    hasArea_ = true;
    areaFrom_ = timeAt(std::min(pressed_.x(), event->position().x()), area);
    areaTo_ = timeAt(std::max(pressed_.x(), event->position().x()), area);
    const int last = static_cast<int>(shown_.size()) - 1;
    const auto rowAt = [&](double y) {
      return std::clamp(laneAt(y, size()), 0, std::max(0, last));
    };
    areaFirst_ = rowAt(std::min(pressed_.y(), event->position().y()));
    areaLast_ = rowAt(std::max(pressed_.y(), event->position().y()));
    update();
  }
}

void TimelineCanvas::mouseReleaseEvent(QMouseEvent* event) {
  const bool wasClick = (event->position() - pressed_).manhattanLength() <= kClickDistance;
  if (isSelecting_ && index_ != nullptr) {
    if (wasClick) {
      hasArea_ = false;
      Q_EMIT areaCleared();
      current_ = sliceUnder(event->position());
      update();
      Q_EMIT currentChanged(current_);
    } else if (hasArea_ && !shown_.empty()) {
      Q_EMIT areaSelected(shown_[static_cast<std::size_t>(areaFirst_)],
                          shown_[static_cast<std::size_t>(areaLast_)], areaFrom_, areaTo_);
    }
  }
  isSelecting_ = false;
  isPanning_ = false;
}

void TimelineCanvas::mouseDoubleClickEvent(QMouseEvent* event) {
  const SliceRef ref = sliceUnder(event->position());
  if (ref.isValid()) {
    const Slice& slice = index_->lanes()[static_cast<std::size_t>(ref.lane)]
                             .slices[static_cast<std::size_t>(ref.slice)];
    const std::int64_t margin = (slice.end - slice.start) / 4;
    from_ = slice.start - margin;
    to_ = slice.end + margin;
    clampWindow();
  }
}

void TimelineCanvas::wheelEvent(QWheelEvent* event) {
  const double steps = event->angleDelta().y() / 120.0;
  if (index_ == nullptr || steps == 0) {
    event->ignore();
    return;
  }
  if ((event->modifiers() & Qt::ShiftModifier) != 0) {
    firstLane_ -= static_cast<int>(std::lround(steps * 3));
    update();
  } else {
    zoom(std::pow(kZoomStep, steps), timeAt(event->position().x(), laneArea(size())));
  }
  event->accept();
}

void TimelineCanvas::keyPressEvent(QKeyEvent* event) {
  if (index_ == nullptr) {
    Canvas::keyPressEvent(event);
    return;
  }
  const std::int64_t middle = from_ + (to_ - from_) / 2;
  switch (event->key()) {
    case Qt::Key_W:
    case Qt::Key_Plus:
      zoom(kZoomStep, middle);
      break;
    case Qt::Key_S:
    case Qt::Key_Minus:
      zoom(1 / kZoomStep, middle);
      break;
    case Qt::Key_A:
    case Qt::Key_Left:
      pan(-kPanStep);
      break;
    case Qt::Key_D:
    case Qt::Key_Right:
      pan(kPanStep);
      break;
    case Qt::Key_Up:
      --firstLane_;
      update();
      break;
    case Qt::Key_Down:
      ++firstLane_;
      update();
      break;
    case Qt::Key_PageUp:
      firstLane_ -= 10;
      update();
      break;
    case Qt::Key_PageDown:
      firstLane_ += 10;
      update();
      break;
    case Qt::Key_F:
    case Qt::Key_Home:
      fitAll();
      break;
    case Qt::Key_Comma:
      goTo(index_->neighbour(current_, -1));
      break;
    case Qt::Key_Period:
      goTo(index_->neighbour(current_, 1));
      break;
    case Qt::Key_Escape:
      hasArea_ = false;
      Q_EMIT areaCleared();
      update();
      break;
    default:
      Canvas::keyPressEvent(event);
  }
}

}  // namespace moesim::gui
