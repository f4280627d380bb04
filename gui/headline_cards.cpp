// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/headline_cards.h"

#include <QHelpEvent>
#include <QTimer>
#include <QToolTip>

#include "gui/text.h"
#include "gui/theme.h"

namespace moesim::gui {
namespace {

constexpr int kCards = 7;
constexpr double kGap = 8;
constexpr int kDimDelayMs = 200;

/// Largest point size up to `most` at which `text` is no wider than `width`.
QFont fitted(QFont font, const QString& text, double width, double most) {
  for (double size = most; size > 7; size -= 0.5) {
    font.setPointSizeF(size);
    if (QFontMetricsF(font).horizontalAdvance(text) <= width) {
      return font;
    }
  }
  return font;
}

}  // namespace

HeadlineCards::HeadlineCards(Workbench& workbench, HeadlineModel& model, QWidget* parent)
    : Canvas(parent), workbench_(workbench), model_(model) {
  setSizePolicy(QSizePolicy::Expanding, QSizePolicy::Fixed);
  setAccessibleName(tr("Headline figures"));
  dimTimer_ = new QTimer(this);
  dimTimer_->setSingleShot(true);
  dimTimer_->setInterval(kDimDelayMs);
  connect(dimTimer_, &QTimer::timeout, this, [this] {
    isDimmed_ = true;
    update();
  });
  connect(&workbench_, &Workbench::specChanged, this, [this] {
    if (!dimTimer_->isActive() && !isDimmed_) {
      dimTimer_->start();
    }
  });
  connect(&model_, &QAbstractItemModel::modelReset, this, [this] {
    if (model_.shownNumber() == workbench_.number()) {
      dimTimer_->stop();
      isDimmed_ = false;
    }
    speak();
    update();
  });
}

QSize HeadlineCards::sizeHint() const { return {960, QFontMetrics(font()).height() * 5 + 24}; }

QRectF HeadlineCards::cardRect(int index, const QSizeF& size) const {
  const double width = (size.width() - kGap * (kCards + 1)) / kCards;
  return {kGap + index * (width + kGap), 6, width, size.height() - 12};
}

void HeadlineCards::speak() {
  QStringList parts;
  for (const Headline& card : model_.headlines()) {
    parts << card.title + " " + valueText(card.value, card.unit);
  }
  setAccessibleDescription(parts.join("; "));
}

void HeadlineCards::draw(QPainter& painter, const QSizeF& size) {
  const Theme& t = theme();
  painter.setRenderHint(QPainter::Antialiasing);
  painter.fillRect(QRectF(QPointF(), size), t.window);
  const std::vector<Headline>& cards = model_.headlines();
  for (int i = 0; i < kCards; ++i) {
    const QRectF box = cardRect(i, size);
    painter.setOpacity(1);
    painter.setPen(QPen(t.border, 1));
    painter.setBrush(t.card);
    painter.drawRoundedRect(box, 8, 8);
    if (static_cast<std::size_t>(i) >= cards.size()) {
      continue;
    }
    const Headline& card = cards[static_cast<std::size_t>(i)];
    const bool applies = !card.metric.empty() || card.detail == "nothing is dropped";
    const QRectF inside = box.adjusted(10, 7, -10, -7);
    const double line = QFontMetricsF(font()).height();
    painter.setPen(t.muted);
    painter.setFont(fitted(font(), card.title, inside.width(), font().pointSizeF()));
    painter.drawText(QRectF(inside.left(), inside.top(), inside.width(), line), Qt::AlignLeft,
                     card.title);
    painter.setOpacity(isDimmed_ ? 0.35 : 1);
    const QString value = applies ? valueText(card.value, card.unit) : QStringLiteral("–");
    QFont large = font();
    large.setWeight(QFont::DemiBold);
    const QString marked = value + (card.isExtrapolated ? QStringLiteral(" ⚠") : QString());
    painter.setFont(fitted(large, marked, inside.width(), font().pointSizeF() * 1.9));
    painter.setPen(card.isOutOfBounds ? t.bad : t.text);
    painter.drawText(QRectF(inside.left(), inside.top() + line, inside.width(), line * 2),
                     Qt::AlignLeft | Qt::AlignVCenter, value);
    if (card.isExtrapolated) {
      const double offset = QFontMetricsF(painter.font()).horizontalAdvance(value);
      painter.setPen(t.warn);
      painter.drawText(
          QRectF(inside.left() + offset, inside.top() + line, inside.width() - offset, line * 2),
          Qt::AlignLeft | Qt::AlignVCenter, QStringLiteral(" ⚠"));
    }
    QString band = card.detail;
    if (card.low && card.high) {
      band = QStringLiteral("%1 – %2").arg(valueText(*card.low, card.unit),
                                           valueText(*card.high, card.unit));
    }
    painter.setPen(t.muted);
    painter.setFont(fitted(font(), band, inside.width(), font().pointSizeF() - 0.5));
    painter.drawText(QRectF(inside.left(), inside.top() + line * 3, inside.width(), line),
                     Qt::AlignLeft | Qt::AlignVCenter, band);
    const QString change = applies ? changeText(card.value, card.pinned) : QString();
    if (!change.isEmpty()) {
      const bool isBetter = (card.value > *card.pinned) == card.moreIsBetter;
      const bool isSame = change == QStringLiteral("±0%");
      painter.setPen(isSame ? t.muted : isBetter ? t.good : t.bad);
      QFont bold = font();
      bold.setBold(true);
      const QString line4 =
          QStringLiteral("%1 vs %2").arg(change, valueText(*card.pinned, card.unit));
      painter.setFont(fitted(bold, line4, inside.width(), font().pointSizeF()));
      painter.drawText(QRectF(inside.left(), inside.top() + line * 4, inside.width(), line),
                       Qt::AlignLeft | Qt::AlignVCenter, line4);
    }
  }
  painter.setOpacity(1);
}

QString HeadlineCards::tip(int index) const {
  const Headline& card = model_.headlines()[static_cast<std::size_t>(index)];
  const Answer* answer = workbench_.answer();
  QString tip = QStringLiteral("<b>%1</b>").arg(card.title);
  if (answer != nullptr && !card.metric.empty()) {
    const NamedMetric* metric = answer->result.find(card.metric);
    tip += QStringLiteral("<br>%1<br><i>%2</i>, basis: %3, fidelity: %4")
               .arg(metric != nullptr ? text(metric->doc).toHtmlEscaped() : QString(),
                    text(card.metric), card.basis, text(choice_name(answer->fidelity)));
  }
  if (card.low && card.high) {
    tip += tr("<br>80% band: what the costs may be off");
  }
  if (card.isExtrapolated) {
    tip += tr("<br>⚠ a tenth or more rests on shapes that no curve has seen");
  }
  return tip;
}

bool HeadlineCards::event(QEvent* event) {
  if (event->type() == QEvent::ToolTip) {
    const auto* help = static_cast<QHelpEvent*>(event);
    for (int i = 0; i < static_cast<int>(model_.headlines().size()); ++i) {
      if (cardRect(i, size()).contains(help->pos())) {
        QToolTip::showText(help->globalPos(), tip(i), this);
        return true;
      }
    }
    QToolTip::hideText();
  }
  return Canvas::event(event);
}

}  // namespace moesim::gui
