// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/chart.h"

#include <QHelpEvent>
#include <QMouseEvent>
#include <QPicture>
#include <QRegularExpression>
#include <QToolTip>
#include <QVBoxLayout>
#include <algorithm>
#include <cmath>

#include "gui/plot_library.h"
#include "gui/text.h"
#include "gui/theme.h"

namespace moesim::gui {
namespace {

constexpr double kReach = 12;  // pixels around a point that count as on it

/// "50.0 ms" -> "50 ms", "1.000" -> "1".
QString tickText(double tick, const std::string& unit) {
  if (std::abs(tick) < 1e-15) {
    return QStringLiteral("0");
  }
  static const QRegularExpression kZeros(QStringLiteral("(\\.\\d*?)0+(?!\\d)"));
  return valueText(tick, unit)
      .replace(kZeros, QStringLiteral("\\1"))
      .replace(QRegularExpression(QStringLiteral("\\.(?!\\d)")), QString());
}

/// Tick labels as people write them: "50 ms", "2,500".
template <class Ticker>
class ScaledTicker : public Ticker {
 public:
  explicit ScaledTicker(std::string unit) : unit_(std::move(unit)) {}

 protected:
  QString getTickLabel(double tick, const QLocale&, QChar, int) override {
    return tickText(tick, unit_);
  }

 private:
  std::string unit_;
};

/// A logarithmic axis with labels at 1, 2 and 5 where it is short.
class LogTicker : public QCPAxisTicker {
 public:
  explicit LogTicker(std::string unit) : unit_(std::move(unit)) {}

 protected:
  QVector<double> createTickVector(double, const QCPRange& range) override {
    QVector<double> ticks;
    const double low = std::max(range.lower, 1e-300);
    const double decades = std::log10(std::max(range.upper, low * 1.0001) / low);
    for (double power = std::floor(std::log10(low)); power <= std::ceil(std::log10(range.upper));
         power += 1) {
      for (const int factor : {1, 2, 5}) {
        const double tick = factor * std::pow(10, power);
        if ((factor == 1 || decades < 3.2) && tick >= low * 0.999 && tick <= range.upper * 1.001) {
          ticks << tick;
        }
      }
    }
    return ticks;
  }
  QVector<double> createSubTickVector(int, const QVector<double>&) override { return {}; }
  QString getTickLabel(double tick, const QLocale&, QChar, int) override {
    return tickText(tick, unit_);
  }

 private:
  std::string unit_;
};

QVector<double> toVector(const std::vector<double>& values) {
  return QVector<double>(values.begin(), values.end());
}

void styleAxis(QCPAxis* axis, const QString& title, const std::string& unit, bool isLogarithmic,
               const QFont& font) {
  const Theme& t = theme();
  axis->setLabel(title);
  axis->setLabelFont(font);
  axis->setTickLabelFont(font);
  axis->setLabelColor(t.text);
  axis->setTickLabelColor(t.muted);
  axis->setBasePen(QPen(t.border));
  axis->setTickPen(QPen(t.border));
  axis->setSubTickPen(QPen(t.border));
  axis->setScaleType(isLogarithmic ? QCPAxis::stLogarithmic : QCPAxis::stLinear);
  if (isLogarithmic) {
    axis->setTicker(QSharedPointer<LogTicker>(new LogTicker(unit)));
  } else {
    axis->setTicker(
        QSharedPointer<ScaledTicker<QCPAxisTicker>>(new ScaledTicker<QCPAxisTicker>(unit)));
    axis->ticker()->setTickCount(6);
  }
  axis->setSubTicks(false);
  axis->grid()->setPen(QPen(t.grid, 1));
  axis->grid()->setZeroLinePen(QPen(t.border, 1));
}

}  // namespace

Chart::Chart(QWidget* parent) : QWidget(parent) {
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(0, 0, 0, 0);
  plot_ = new QCustomPlot;
  plot_->setMinimumSize(200, 140);
  plot_->setMouseTracking(true);
  plot_->setFocusPolicy(Qt::StrongFocus);
  plot_->installEventFilter(this);
  plot_->setAccessibleName(tr("Chart"));
  layout->addWidget(plot_);
}

void Chart::setSpec(ChartSpec spec) {
  spec_ = std::move(spec);
  rebuild();
}

void Chart::changeEvent(QEvent* event) {
  QWidget::changeEvent(event);
  if (event->type() == QEvent::PaletteChange) {
    rebuild();
  }
}

void Chart::rebuild() {
  const Theme& t = theme();
  plot_->clearPlottables();
  plot_->clearItems();
  plot_->setBackground(QBrush(t.panel));
  styleAxis(plot_->xAxis, spec_.xTitle, spec_.xUnit, spec_.isXLogarithmic, font());
  styleAxis(plot_->yAxis, spec_.yTitle, spec_.yUnit, spec_.isYLogarithmic, font());
  int named = 0;
  for (const ChartLine& line : spec_.lines) {
    if (!line.low.empty()) {
      QCPGraph* high = plot_->addGraph();
      QCPGraph* low = plot_->addGraph();
      high->setData(toVector(line.x), toVector(line.high), true);
      low->setData(toVector(line.x), toVector(line.low), true);
      QColor cover = line.color;
      cover.setAlpha(45);
      high->setPen(Qt::NoPen);
      low->setPen(Qt::NoPen);
      high->setBrush(cover);
      high->setChannelFillGraph(low);
      high->removeFromLegend();
      low->removeFromLegend();
    }
    auto* curve = new QCPCurve(plot_->xAxis, plot_->yAxis);
    QVector<double> order(static_cast<qsizetype>(line.x.size()));
    for (qsizetype i = 0; i < order.size(); ++i) {
      order[i] = static_cast<double>(i);
    }
    QVector<double> x;
    QVector<double> y;
    if (line.isStep) {
      for (std::size_t i = 0; i < line.x.size(); ++i) {
        if (i > 0) {
          x << line.x[i];
          y << line.y[i - 1];
        }
        x << line.x[i];
        y << line.y[i];
      }
      curve->setData(x, y);
    } else {
      curve->setData(order, toVector(line.x), toVector(line.y), true);
    }
    curve->setPen(line.hasLine ? QPen(line.color, 2, line.isDashed ? Qt::DashLine : Qt::SolidLine)
                               : QPen(Qt::NoPen));
    if (line.hasPoints) {
      curve->setScatterStyle(
          QCPScatterStyle(QCPScatterStyle::ssCircle, QPen(t.panel, 1), QBrush(line.color), 8));
    }
    curve->setName(line.name);
    if (line.name.isEmpty()) {
      curve->removeFromLegend();
    } else {
      ++named;
    }
  }
  plot_->rescaleAxes();
  QCPRange x = plot_->xAxis->range();
  QCPRange y = plot_->yAxis->range();
  for (const ChartMark& mark : spec_.marks) {
    (mark.isVertical ? x : y).expand(mark.at);
  }
  const auto widen = [](QCPRange range, bool isLogarithmic, bool fromZero, double share) {
    if (isLogarithmic) {
      range.lower = range.lower > 0 ? range.lower : range.upper / 1000;
      const double factor = std::pow(range.upper / range.lower, share) * 1.02;
      return QCPRange(range.lower / factor, range.upper * factor);
    }
    const double margin = std::max(range.size() * share, std::abs(range.upper) * 0.01 + 1e-12);
    return QCPRange(fromZero && range.lower >= 0 ? 0 : range.lower - margin, range.upper + margin);
  };
  plot_->xAxis->setRange(widen(x, spec_.isXLogarithmic, false, 0.05));
  plot_->yAxis->setRange(widen(y, spec_.isYLogarithmic, spec_.startsAtZero, 0.12));
  for (const ChartMark& mark : spec_.marks) {
    auto* line = new QCPItemStraightLine(plot_);
    line->point1->setCoords(mark.isVertical ? mark.at : plot_->xAxis->range().lower,
                            mark.isVertical ? plot_->yAxis->range().lower : mark.at);
    line->point2->setCoords(mark.isVertical ? mark.at : plot_->xAxis->range().upper,
                            mark.isVertical ? plot_->yAxis->range().upper : mark.at);
    line->setPen(QPen(mark.color, 1.5, Qt::DashLine));
    auto* label = new QCPItemText(plot_);
    label->setText(mark.text);
    label->setFont(font());
    label->setColor(mark.color);
    label->setPadding(QMargins(4, 2, 4, 2));
    const bool isLate = mark.isVertical && mark.at > plot_->xAxis->range().center();
    label->setPositionAlignment((isLate ? Qt::AlignRight : Qt::AlignLeft) | Qt::AlignBottom);
    if (mark.isVertical) {
      label->position->setTypeY(QCPItemPosition::ptAxisRectRatio);
      label->position->setCoords(mark.at, 1.0);
    } else {
      label->position->setTypeX(QCPItemPosition::ptAxisRectRatio);
      label->position->setCoords(0.0, mark.at);
    }
  }
  plot_->legend->setVisible(named > 1);
  plot_->legend->setFont(font());
  plot_->legend->setTextColor(t.text);
  QColor behind = t.card;
  behind.setAlpha(215);
  plot_->legend->setBrush(behind);
  plot_->legend->setBorderPen(QPen(t.border));
  plot_->axisRect()->insetLayout()->setInsetAlignment(0, Qt::AlignRight | Qt::AlignTop);
  plot_->replot(QCustomPlot::rpQueuedReplot);
}

void Chart::paintTo(QPainter& painter, const QSizeF& size) {
  // A device takes one painter at a time, so the chart's own draws into a recording first.
  QPicture recording;
  QCPPainter recorder;
  recorder.begin(&recording);
  recorder.setFont(font());
  plot_->toPainter(&recorder, static_cast<int>(size.width()), static_cast<int>(size.height()));
  recorder.end();
  painter.drawPicture(QPointF(), recording);
}

QPointF Chart::positionOf(int line, int point) const {
  const ChartLine& drawn = spec_.lines[static_cast<std::size_t>(line)];
  return {plot_->xAxis->coordToPixel(drawn.x[static_cast<std::size_t>(point)]),
          plot_->yAxis->coordToPixel(drawn.y[static_cast<std::size_t>(point)])};
}

bool Chart::nearest(const QPointF& at, int& line, int& point) const {
  double best = kReach * kReach;
  bool found = false;
  for (int l = 0; l < static_cast<int>(spec_.lines.size()); ++l) {
    const auto count = static_cast<int>(spec_.lines[static_cast<std::size_t>(l)].x.size());
    for (int p = 0; p < count; ++p) {
      const QPointF off = positionOf(l, p) - at;
      const double distance = QPointF::dotProduct(off, off);
      if (distance < best) {
        best = distance;
        line = l;
        point = p;
        found = true;
      }
    }
  }
  return found;
}

bool Chart::event(QEvent* event) { return QWidget::event(event); }

bool Chart::eventFilter(QObject* watched, QEvent* event) {
  int line = 0;
  int point = 0;
  if (event->type() == QEvent::ToolTip) {
    const auto* help = static_cast<QHelpEvent*>(event);
    if (nearest(help->pos(), line, point)) {
      const ChartLine& drawn = spec_.lines[static_cast<std::size_t>(line)];
      const auto p = static_cast<std::size_t>(point);
      QToolTip::showText(
          help->globalPos(),
          tip_ ? tip_(line, point)
               : tr("<b>%1</b><br>%2: %3<br>%4: %5")
                     .arg(drawn.name.toHtmlEscaped(), spec_.xTitle.toHtmlEscaped(),
                          valueText(drawn.x[p], spec_.xUnit), spec_.yTitle.toHtmlEscaped(),
                          valueText(drawn.y[p], spec_.yUnit)),
          plot_);
    } else {
      QToolTip::hideText();
    }
    return true;
  }
  if (event->type() == QEvent::MouseButtonPress) {
    pressed_ = static_cast<QMouseEvent*>(event)->position();
  } else if (event->type() == QEvent::MouseButtonRelease) {
    const QPointF at = static_cast<QMouseEvent*>(event)->position();
    if ((at - pressed_).manhattanLength() < 5 && nearest(at, line, point)) {
      Q_EMIT pointClicked(line, point);
    }
  }
  return QWidget::eventFilter(watched, event);
}

}  // namespace moesim::gui
