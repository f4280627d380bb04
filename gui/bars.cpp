// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/bars.h"

#include <QHelpEvent>
#include <QKeyEvent>
#include <QMouseEvent>
#include <QToolTip>
#include <algorithm>
#include <cmath>

#include "gui/theme.h"

namespace moesim::gui {

Bars::Bars(QWidget* parent) : Canvas(parent) {}

void Bars::setBars(std::vector<Bar> bars, const QString& emptyText) {
  bars_ = std::move(bars);
  emptyText_ = emptyText;
  marked_ = std::min(marked_, static_cast<int>(bars_.size()) - 1);
  updateGeometry();
  update();
}

void Bars::setLimit(double value, const QString& words) {
  limit_ = value;
  limitWords_ = words;
  update();
}

void Bars::setMarked(int row) {
  marked_ = row;
  update();
}

QSize Bars::sizeHint() const {
  return {560, static_cast<int>(bars_.size()) * (QFontMetrics(font()).height() + 12) + 40};
}

double Bars::rowHeight(const QSizeF& size) const {
  const double line = QFontMetricsF(font()).height();
  const double top = limitWords_.isEmpty() ? 6 : line + 8;
  const double fair = (size.height() - top - 6) / std::max<std::size_t>(1, bars_.size());
  return std::clamp(fair, line + 1, line + 16);
}

int Bars::rowAt(const QPointF& at) const {
  const double top = limitWords_.isEmpty() ? 6 : QFontMetricsF(font()).height() + 8;
  const int row = static_cast<int>(std::floor((at.y() - top) / rowHeight(size())));
  return row >= 0 && row < static_cast<int>(bars_.size()) ? row : -1;
}

void Bars::draw(QPainter& painter, const QSizeF& size) {
  const Theme& t = theme();
  const QFontMetricsF metrics(painter.font());
  painter.setRenderHint(QPainter::Antialiasing);
  if (bars_.empty()) {
    painter.setPen(t.muted);
    painter.drawText(QRectF(QPointF(), size).adjusted(20, 10, -20, -10),
                     Qt::AlignCenter | Qt::TextWordWrap, emptyText_);
    return;
  }
  double most = limit_;
  double least = 0;
  double names = 60;
  double texts = 20;
  for (const Bar& bar : bars_) {
    most = std::max({most, bar.value, bar.opposite, bar.hasPinned ? bar.pinned : 0.0});
    least = std::min({least, bar.value, bar.opposite});
    names = std::max(names, metrics.horizontalAdvance(bar.name) + 16);
    texts = std::max(texts, metrics.horizontalAdvance(bar.text) + 10);
  }
  names = std::min(names, size.width() * 0.42);
  texts = std::min(texts, size.width() * 0.3);
  const double line = metrics.height();
  const double top = limitWords_.isEmpty() ? 6 : line + 8;
  const double height = rowHeight(size);
  const QRectF area(names, top, std::max(20.0, size.width() - names - texts - 10),
                    height * static_cast<double>(bars_.size()));
  const double span = std::max(1e-300, most - least);
  const auto xOf = [&](double value) {
    return area.left() + (value - least) / span * area.width();
  };
  for (std::size_t i = 0; i < bars_.size(); ++i) {
    const Bar& bar = bars_[i];
    const double y = top + static_cast<double>(i) * height;
    if (y + height > size.height() + 1) {
      break;
    }
    if (static_cast<int>(i) == marked_) {
      QColor cover = t.accent;
      cover.setAlpha(30);
      painter.fillRect(QRectF(0, y, size.width(), height), cover);
    }
    painter.setPen(bar.isMuted ? t.muted : t.text);
    painter.drawText(
        QRectF(4, y, names - 10, height), Qt::AlignRight | Qt::AlignVCenter,
        painter.fontMetrics().elidedText(bar.name, Qt::ElideMiddle, static_cast<int>(names - 10)));
    const double thick = std::min(height - 4, 18.0);
    const auto strip = [&](double value, const QColor& color) {
      const double from = xOf(0);
      const double to = xOf(value);
      painter.setPen(Qt::NoPen);
      painter.setBrush(color);
      painter.drawRoundedRect(QRectF(std::min(from, to), y + (height - thick) / 2,
                                     std::max(1.0, std::abs(to - from)), thick),
                              3, 3);
    };
    strip(bar.value, bar.color);
    double right = xOf(std::max({0.0, bar.value, bar.opposite}));
    if (bar.opposite != 0) {
      QColor other = bar.color;
      other.setAlpha(120);
      strip(bar.opposite, other);
    }
    if (bar.hasPinned) {
      painter.setPen(QPen(t.pin, 3));
      painter.drawLine(QPointF(xOf(bar.pinned), y + 2), QPointF(xOf(bar.pinned), y + height - 2));
      right = std::max(right, xOf(bar.pinned));
    }
    painter.setPen(t.muted);
    painter.drawText(QRectF(right + 6, y, size.width() - right - 8, height),
                     Qt::AlignLeft | Qt::AlignVCenter, bar.text);
  }
  painter.setRenderHint(QPainter::Antialiasing, false);
  if (least < 0) {
    painter.setPen(QPen(t.border, 1));
    painter.drawLine(QPointF(xOf(0), area.top()), QPointF(xOf(0), area.bottom()));
  }
  if (!limitWords_.isEmpty()) {
    const double x = xOf(limit_);
    painter.setPen(QPen(t.bad, 2, Qt::DashLine));
    painter.drawLine(QPointF(x, line + 4), QPointF(x, area.bottom() + 2));
    painter.setPen(t.bad);
    const double width = metrics.horizontalAdvance(limitWords_) + 8;
    const double left = std::clamp(x - width / 2, 2.0, std::max(2.0, size.width() - width - 2));
    painter.drawText(QRectF(left, 2, width, line), Qt::AlignCenter, limitWords_);
  }
}

bool Bars::event(QEvent* event) {
  if (event->type() == QEvent::ToolTip) {
    const auto* help = static_cast<QHelpEvent*>(event);
    const int row = rowAt(help->pos());
    if (row >= 0 && !bars_[static_cast<std::size_t>(row)].tip.isEmpty()) {
      QToolTip::showText(help->globalPos(), bars_[static_cast<std::size_t>(row)].tip, this);
    } else {
      QToolTip::hideText();
    }
    return true;
  }
  return Canvas::event(event);
}

void Bars::mousePressEvent(QMouseEvent* event) {
  const int row = rowAt(event->position());
  setMarked(row);
  if (row >= 0) {
    Q_EMIT picked(row);
  }
}

void Bars::keyPressEvent(QKeyEvent* event) {
  const int last = static_cast<int>(bars_.size()) - 1;
  if (last >= 0 && event->key() == Qt::Key_Down) {
    setMarked(std::min(last, marked_ + 1));
  } else if (last >= 0 && event->key() == Qt::Key_Up) {
    setMarked(std::max(0, marked_ - 1));
  } else if ((event->key() == Qt::Key_Return || event->key() == Qt::Key_Enter) && marked_ >= 0) {
    Q_EMIT picked(marked_);
  } else {
    Canvas::keyPressEvent(event);
  }
}

}  // namespace moesim::gui
