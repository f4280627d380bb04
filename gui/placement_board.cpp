// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/placement_board.h"

#include <QHelpEvent>
#include <QKeyEvent>
#include <QMouseEvent>
#include <QToolTip>
#include <algorithm>
#include <cmath>

#include "gui/text.h"
#include "gui/theme.h"
#include "sim/study/deployment_picture.h"

namespace moesim::gui {

PlacementBoard::PlacementBoard(QWidget* parent) : Canvas(parent) {
  setAccessibleName(tr("Experts of every GPU"));
  setAccessibleDescription(tr("Arrows choose a block, space takes it and places it"));
}

void PlacementBoard::setPlacement(std::vector<int> slotExpert, std::vector<double> load,
                                  int ranks) {
  slots_ = std::move(slotExpert);
  load_ = std::move(load);
  ranks_ = slots_.empty() ? 0 : ranks;
  perRank_ = ranks_ > 0 ? static_cast<int>(slots_.size()) / ranks_ : 0;
  held_ = -1;
  chosen_ = -1;
  measure();
  update();
}

void PlacementBoard::measure() {
  replicas_.assign(load_.size(), 0);
  for (const int expert : slots_) {
    replicas_[static_cast<std::size_t>(expert)] += 1;
  }
  rankLoads_ = ranks_ > 0 ? rank_loads_of(slots_, load_, ranks_) : std::vector<double>();
  most_ = 1;
  double total = 0;
  for (int slot = 0; slot < static_cast<int>(slots_.size()); ++slot) {
    total += slotLoad(slot);
  }
  for (const double one : rankLoads_) {
    most_ = std::max(most_, one * total / std::max(1, ranks_));
  }
}

double PlacementBoard::slotLoad(int slot) const {
  const auto expert = static_cast<std::size_t>(slots_[static_cast<std::size_t>(slot)]);
  return load_[expert] / std::max(1.0, replicas_[expert]);
}

double PlacementBoard::imbalance() const {
  return rankLoads_.empty() ? 1 : *std::max_element(rankLoads_.begin(), rankLoads_.end());
}

void PlacementBoard::setMarkedExpert(int expert) {
  marked_ = expert;
  update();
}

bool PlacementBoard::isAllowed(int a, int b) const {
  if (a < 0 || b < 0 || a / perRank_ == b / perRank_) {
    return false;
  }
  // Two replicas of an expert on one GPU would share nothing.
  const auto holds = [this](int rank, int expert, int except) {
    for (int slot = rank * perRank_; slot < (rank + 1) * perRank_; ++slot) {
      if (slot != except && slots_[static_cast<std::size_t>(slot)] == expert) {
        return true;
      }
    }
    return false;
  };
  return !holds(b / perRank_, slots_[static_cast<std::size_t>(a)], b) &&
         !holds(a / perRank_, slots_[static_cast<std::size_t>(b)], a);
}

void PlacementBoard::swapSlots(int a, int b) {
  if (isAllowed(a, b)) {
    std::swap(slots_[static_cast<std::size_t>(a)], slots_[static_cast<std::size_t>(b)]);
    measure();
    update();
    Q_EMIT moved();
  }
}

QRectF PlacementBoard::area(const QSizeF& size) const {
  const double line = QFontMetricsF(font()).height();
  return {46, line + 6, std::max(10.0, size.width() - 54),
          std::max(10.0, size.height() - 2 * line - 14)};
}

QRectF PlacementBoard::rectOf(int slot, const QSizeF& size) const {
  const QRectF box = area(size);
  const int rank = slot / perRank_;
  const double width = box.width() / ranks_;
  double below = 0;
  for (int other = rank * perRank_; other < slot; ++other) {
    below += slotLoad(other);
  }
  const double scale = box.height() / (most_ * 1.08);
  const double height = slotLoad(slot) * scale;
  const double gap = width > 8 ? 1.5 : 0.3;
  return {box.left() + rank * width + gap, box.bottom() - below * scale - height, width - 2 * gap,
          std::max(1.0, height - 1)};
}

QRectF PlacementBoard::slotRect(int slot) const { return rectOf(slot, size()); }

int PlacementBoard::rankAt(double x) const {
  const QRectF box = area(size());
  const int rank = static_cast<int>(std::floor((x - box.left()) / box.width() * ranks_));
  return rank >= 0 && rank < ranks_ ? rank : -1;
}

int PlacementBoard::slotAt(const QPointF& at) const {
  const int rank = rankAt(at.x());
  if (rank < 0) {
    return -1;
  }
  for (int slot = rank * perRank_; slot < (rank + 1) * perRank_; ++slot) {
    if (rectOf(slot, size()).adjusted(-1, -1, 1, 1).contains(at)) {
      return slot;
    }
  }
  return -1;
}

int PlacementBoard::lightestOf(int rank) const {
  int lightest = rank * perRank_;
  for (int slot = lightest; slot < (rank + 1) * perRank_; ++slot) {
    lightest = slotLoad(slot) < slotLoad(lightest) ? slot : lightest;
  }
  return lightest;
}

void PlacementBoard::draw(QPainter& painter, const QSizeF& size) {
  const Theme& t = theme();
  if (ranks_ == 0) {
    painter.setPen(t.muted);
    painter.drawText(QRectF(QPointF(), size), Qt::AlignCenter, tr("no experts to place"));
    return;
  }
  const QRectF box = area(size);
  const QFontMetricsF metrics(painter.font());
  const double width = box.width() / ranks_;
  const double scale = box.height() / (most_ * 1.08);
  double total = 0;
  for (int slot = 0; slot < static_cast<int>(slots_.size()); ++slot) {
    total += slotLoad(slot);
  }
  const double mean = total / ranks_;
  const double hottest = *std::max_element(load_.begin(), load_.end());
  painter.setRenderHint(QPainter::Antialiasing, false);
  for (int slot = 0; slot < static_cast<int>(slots_.size()); ++slot) {
    const QRectF rect = rectOf(slot, size);
    const int expert = slots_[static_cast<std::size_t>(slot)];
    QColor color(
        heatColor(0.1 + 0.85 * load_[static_cast<std::size_t>(expert)] / std::max(1e-9, hottest)));
    if (slot == held_) {
      color.setAlpha(90);
    }
    painter.fillRect(rect, color);
    const QString name = QString::number(expert);
    if (rect.width() > metrics.horizontalAdvance(name) + 2 &&
        rect.height() > metrics.height() - 2) {
      painter.setPen(inkOn(color));
      painter.drawText(rect, Qt::AlignCenter, name);
    }
    if (expert == marked_ || slot == chosen_) {
      painter.setBrush(Qt::NoBrush);
      painter.setPen(QPen(slot == chosen_ ? t.text : t.accent, 2));
      painter.drawRect(rect.adjusted(1, 1, -1, -1));
    }
  }
  painter.setPen(QPen(t.muted, 1, Qt::DashLine));
  const double y = box.bottom() - mean * scale;
  painter.drawLine(QPointF(box.left(), y), QPointF(box.right(), y));
  painter.setPen(t.muted);
  painter.drawText(QRectF(0, y - metrics.height() / 2, 42, metrics.height()), Qt::AlignRight,
                   tr("mean"));
  int step = 1;
  while (step * width < metrics.horizontalAdvance(QString::number(ranks_)) + 8) {
    step *= 2;
  }
  for (int rank = 0; rank < ranks_; rank += step) {
    painter.drawText(
        QRectF(box.left() + rank * width - 20, box.bottom() + 2, width + 40, metrics.height()),
        Qt::AlignCenter, QString::number(rank));
  }
  painter.drawText(QRectF(4, 2, size.width() - 8, metrics.height()), Qt::AlignLeft,
                   tr("GPUs, each with its experts; heights are loads"));
  if (held_ >= 0) {
    const QRectF rect = rectOf(held_, size);
    const QRectF floating(at_ - QPointF(std::max(14.0, rect.width()) / 2, rect.height() / 2),
                          QSizeF(std::max(14.0, rect.width()), std::max(8.0, rect.height())));
    painter.fillRect(floating, t.accent);
    painter.setPen(t.accentText);
    painter.drawText(floating.adjusted(-20, 0, 20, 0), Qt::AlignCenter,
                     QString::number(slots_[static_cast<std::size_t>(held_)]));
  }
}

bool PlacementBoard::event(QEvent* event) {
  if (event->type() == QEvent::ToolTip && ranks_ > 0) {
    const auto* help = static_cast<QHelpEvent*>(event);
    const int slot = slotAt(help->pos());
    if (slot >= 0) {
      const int expert = slots_[static_cast<std::size_t>(slot)];
      const int rank = slot / perRank_;
      QToolTip::showText(help->globalPos(),
                         tr("<b>Expert %1</b> on GPU %2<br>%3 × the mean expert, in %4 "
                            "slot(s)<br>its GPU: %5 × the mean GPU")
                             .arg(expert)
                             .arg(rank)
                             .arg(load_[static_cast<std::size_t>(expert)], 0, 'f', 2)
                             .arg(replicas_[static_cast<std::size_t>(expert)])
                             .arg(rankLoads_[static_cast<std::size_t>(rank)], 0, 'f', 2),
                         this);
    } else {
      QToolTip::hideText();
    }
    return true;
  }
  return Canvas::event(event);
}

void PlacementBoard::mousePressEvent(QMouseEvent* event) {
  if (event->button() != Qt::LeftButton || ranks_ == 0) {
    return;
  }
  at_ = event->position();
  held_ = slotAt(at_);
  chosen_ = held_;
  if (held_ >= 0) {
    Q_EMIT picked(slots_[static_cast<std::size_t>(held_)], held_ / perRank_);
  }
  update();
}

void PlacementBoard::mouseMoveEvent(QMouseEvent* event) {
  if (held_ >= 0) {
    at_ = event->position();
    update();
  }
}

void PlacementBoard::mouseReleaseEvent(QMouseEvent* event) {
  if (held_ < 0) {
    return;
  }
  const int from = held_;
  held_ = -1;
  const int rank = rankAt(event->position().x());
  if (rank >= 0 && rank != from / perRank_) {
    const int onto = slotAt(event->position());
    swapSlots(from, onto >= 0 ? onto : lightestOf(rank));
  }
  update();
}

void PlacementBoard::keyPressEvent(QKeyEvent* event) {
  if (ranks_ == 0) {
    Canvas::keyPressEvent(event);
    return;
  }
  const int last = static_cast<int>(slots_.size()) - 1;
  int next = std::max(0, chosen_);
  switch (event->key()) {
    case Qt::Key_Left:
      next -= perRank_;
      break;
    case Qt::Key_Right:
      next += perRank_;
      break;
    case Qt::Key_Up:
      ++next;
      break;
    case Qt::Key_Down:
      --next;
      break;
    case Qt::Key_Space:
      if (held_ < 0) {
        held_ = chosen_;
        at_ = held_ >= 0 ? rectOf(held_, size()).center() : QPointF();
      } else {
        const int from = held_;
        held_ = -1;
        swapSlots(from, chosen_);
      }
      update();
      return;
    case Qt::Key_Escape:
      held_ = -1;
      update();
      return;
    default:
      Canvas::keyPressEvent(event);
      return;
  }
  chosen_ = std::clamp(next, 0, last);
  if (held_ >= 0) {
    at_ = rectOf(chosen_, size()).center();
  }
  Q_EMIT picked(slots_[static_cast<std::size_t>(chosen_)], chosen_ / perRank_);
  update();
}

}  // namespace moesim::gui
