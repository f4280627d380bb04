// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/heatmap.h"

#include <QHelpEvent>
#include <QKeyEvent>
#include <QMouseEvent>
#include <QToolTip>
#include <algorithm>
#include <array>
#include <cmath>

#include "gui/text.h"
#include "gui/theme.h"

namespace moesim::gui {
namespace {

constexpr double kBarWidth = 14;

/// A step of 1, 2 or 5 times a power of ten that leaves `room` between labels.
int labelStep(int count, double length, double room) {
  const double least = room / std::max(1e-9, length / std::max(1, count));
  for (int power = 1;; power *= 10) {
    for (const int factor : {1, 2, 5}) {
      if (factor * power >= least) {
        return factor * power;
      }
    }
  }
}

}  // namespace

Heatmap::Heatmap(QWidget* parent) : Canvas(parent) {}

void Heatmap::setData(HeatmapData cells) {
  data_ = std::move(cells);
  reduced_ = QImage();
  image_ = QImage(std::max(1, data_.columns), std::max(1, data_.rows), QImage::Format_RGB32);
  image_.fill(theme().panel);
  // Colours come from a table: a lookup a cell.
  std::array<QRgb, 256> colours{};
  for (std::size_t i = 0; i < colours.size(); ++i) {
    colours[i] = heatColor(static_cast<double>(i) / 255);
  }
  for (int r = 0; r < data_.rows; ++r) {
    auto* line = reinterpret_cast<QRgb*>(image_.scanLine(r));
    const float* values = data_.values.data() + std::size_t(r) * std::size_t(data_.columns);
    for (int c = 0; c < data_.columns; ++c) {
      line[c] = colours[static_cast<std::size_t>(shareOf(values[c]) * 255)];
    }
  }
  update();
}

void Heatmap::setMarked(int row, int column) {
  if (row != markedRow_ || column != markedColumn_) {
    markedRow_ = row;
    markedColumn_ = column;
    update();
  }
}

QRectF Heatmap::cellArea(const QSizeF& size) const {
  const QFontMetricsF metrics(font());
  const double left = metrics.horizontalAdvance(QString::number(std::max(99, data_.rows * 10))) +
                      metrics.height() + 10;
  const double bottom = metrics.height() * 2 + 8;
  const double right = kBarWidth + 14 +
                       std::max({metrics.horizontalAdvance(data_.highText),
                                 metrics.horizontalAdvance(data_.lowText), 30.0});
  return {left, 8, std::max(10.0, size.width() - left - right),
          std::max(10.0, size.height() - 8 - bottom)};
}

double Heatmap::shareOf(float value) const {
  const double span = std::max(1e-12, data_.high - data_.low);
  const double share = std::clamp((static_cast<double>(value) - data_.low) / span, 0.0, 1.0);
  return data_.exponent == 0.5 ? std::sqrt(share) : share;
}

QImage Heatmap::reducedTo(int rows, int columns) const {
  QImage image(columns, rows, QImage::Format_RGB32);
  for (int y = 0; y < rows; ++y) {
    auto* line = reinterpret_cast<QRgb*>(image.scanLine(y));
    const int fromRow = y * data_.rows / rows;
    const int toRow = std::max(fromRow + 1, (y + 1) * data_.rows / rows);
    for (int x = 0; x < columns; ++x) {
      const int from = x * data_.columns / columns;
      const int to = std::max(from + 1, (x + 1) * data_.columns / columns);
      float most = -1e30F;
      for (int r = fromRow; r < toRow; ++r) {
        for (int c = from; c < to; ++c) {
          most = std::max(
              most, data_.values[std::size_t(r) * std::size_t(data_.columns) + std::size_t(c)]);
        }
      }
      line[x] = heatColor(shareOf(most));
    }
  }
  return image;
}

void Heatmap::draw(QPainter& painter, const QSizeF& size) {
  const QRectF area = cellArea(size);
  if (data_.rows == 0 || data_.columns == 0) {
    return;
  }
  const double ratio = painter.device() != nullptr ? painter.device()->devicePixelRatioF() : 1;
  const int columns = std::min(data_.columns, std::max(1, static_cast<int>(area.width() * ratio)));
  const int rows = std::min(data_.rows, std::max(1, static_cast<int>(area.height() * ratio)));
  const bool isReduced = columns < data_.columns || rows < data_.rows;
  if (isReduced && reduced_.size() != QSize(columns, rows)) {
    reduced_ = reducedTo(rows, columns);
  }
  painter.setRenderHint(QPainter::SmoothPixmapTransform, false);
  painter.drawImage(area, isReduced ? reduced_ : image_);
  drawAxes(painter, area);
  drawMarks(painter, area);
  drawBar(painter, area);
}

void Heatmap::drawAxes(QPainter& painter, const QRectF& area) const {
  const Theme& t = theme();
  const QFontMetricsF metrics(font());
  painter.setRenderHint(QPainter::Antialiasing, false);
  const double width = area.width() / data_.columns;
  const double height = area.height() / data_.rows;
  if (data_.columnGroup > 0 && width * data_.columnGroup >= 12) {
    QColor line = t.panel;
    line.setAlpha(110);
    painter.setPen(QPen(line, 1));
    for (int c = data_.columnGroup; c < data_.columns; c += data_.columnGroup) {
      const double x = area.left() + c * width;
      painter.drawLine(QPointF(x, area.top()), QPointF(x, area.bottom()));
    }
  }
  painter.setPen(t.muted);
  const auto idOf = [](const std::vector<int>& ids, int i) {
    return ids.empty() ? i : ids[static_cast<std::size_t>(i)];
  };
  const int rowStep = labelStep(data_.rows, area.height(), metrics.height() * 1.4);
  for (int r = 0; r < data_.rows; r += rowStep) {
    const double y = area.top() + (r + 0.5) * height;
    painter.drawText(QRectF(0, y - metrics.height() / 2, area.left() - 6, metrics.height()),
                     Qt::AlignRight | Qt::AlignVCenter, QString::number(idOf(data_.rowIds, r)));
  }
  const double room = metrics.horizontalAdvance(QString::number(data_.columns * 10)) + 12;
  const int columnStep = labelStep(data_.columns, area.width(), room);
  for (int c = 0; c < data_.columns; c += columnStep) {
    const double x = area.left() + (c + 0.5) * width;
    painter.drawText(QRectF(x - room, area.bottom() + 2, room * 2, metrics.height()),
                     Qt::AlignCenter, QString::number(idOf(data_.columnIds, c)));
  }
  painter.setPen(t.text);
  painter.drawText(
      QRectF(area.left(), area.bottom() + metrics.height() + 3, area.width(), metrics.height()),
      Qt::AlignCenter, data_.columnTitle);
  painter.save();
  painter.translate(2, area.center().y());
  painter.rotate(-90);
  painter.drawText(QRectF(-area.height() / 2, 0, area.height(), metrics.height()), Qt::AlignCenter,
                   data_.rowTitle);
  painter.restore();
}

void Heatmap::drawMarks(QPainter& painter, const QRectF& area) const {
  const Theme& t = theme();
  const double width = area.width() / data_.columns;
  const double height = area.height() / data_.rows;
  painter.setBrush(Qt::NoBrush);
  const auto frame = [&](const QRectF& box) {
    painter.setPen(QPen(QColor(255, 255, 255, 130), 3));
    painter.drawRect(box);
    painter.setPen(QPen(t.accent, 1.5));
    painter.drawRect(box);
  };
  if (markedRow_ >= 0 && markedRow_ < data_.rows) {
    frame(QRectF(area.left(), area.top() + markedRow_ * height, area.width(), height));
  }
  if (markedColumn_ >= 0 && markedColumn_ < data_.columns) {
    frame(QRectF(area.left() + markedColumn_ * width, area.top(), width, area.height()));
  }
}

void Heatmap::drawBar(QPainter& painter, const QRectF& area) const {
  const Theme& t = theme();
  const QFontMetricsF metrics(font());
  const QRectF bar(area.right() + 10, area.top(), kBarWidth, area.height());
  for (int i = 0; i < static_cast<int>(bar.height()); ++i) {
    painter.fillRect(QRectF(bar.left(), bar.bottom() - i - 1, bar.width(), 1.5),
                     QColor(heatColor(i / bar.height())));
  }
  painter.setPen(t.muted);
  painter.drawText(QPointF(bar.right() + 4, bar.top() + metrics.ascent()), data_.highText);
  painter.drawText(QPointF(bar.right() + 4, bar.bottom()), data_.lowText);
}

bool Heatmap::cellAt(const QPointF& at, int& row, int& column) const {
  const QRectF area = cellArea(size());
  if (data_.rows == 0 || data_.columns == 0 || !area.contains(at)) {
    return false;
  }
  column = std::min(data_.columns - 1,
                    static_cast<int>((at.x() - area.left()) / area.width() * data_.columns));
  row = std::min(data_.rows - 1,
                 static_cast<int>((at.y() - area.top()) / area.height() * data_.rows));
  return true;
}

bool Heatmap::event(QEvent* event) {
  if (event->type() == QEvent::ToolTip) {
    const auto* help = static_cast<QHelpEvent*>(event);
    int row = 0;
    int column = 0;
    if (tip_ && cellAt(help->pos(), row, column)) {
      QToolTip::showText(help->globalPos(), tip_(row, column), this);
    } else {
      QToolTip::hideText();
    }
    return true;
  }
  return Canvas::event(event);
}

void Heatmap::mousePressEvent(QMouseEvent* event) {
  int row = 0;
  int column = 0;
  if (event->button() == Qt::LeftButton && cellAt(event->position(), row, column)) {
    Q_EMIT picked(row, column);
  } else if (event->button() == Qt::LeftButton) {
    Q_EMIT picked(-1, -1);
  }
}

void Heatmap::mouseMoveEvent(QMouseEvent* event) {
  int row = 0;
  int column = 0;
  if ((event->buttons() & Qt::LeftButton) != 0 && cellAt(event->position(), row, column)) {
    Q_EMIT picked(row, column);
  }
}

void Heatmap::keyPressEvent(QKeyEvent* event) {
  int row = std::max(0, markedRow_);
  int column = std::max(0, markedColumn_);
  switch (event->key()) {
    case Qt::Key_Left:
      --column;
      break;
    case Qt::Key_Right:
      ++column;
      break;
    case Qt::Key_Up:
      --row;
      break;
    case Qt::Key_Down:
      ++row;
      break;
    case Qt::Key_Escape:
      Q_EMIT picked(-1, -1);
      return;
    default:
      Canvas::keyPressEvent(event);
      return;
  }
  if (data_.rows > 0 && data_.columns > 0) {
    Q_EMIT picked(std::clamp(row, 0, data_.rows - 1), std::clamp(column, 0, data_.columns - 1));
  }
}

}  // namespace moesim::gui
