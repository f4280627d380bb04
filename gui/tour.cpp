// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/tour.h"

#include <QHBoxLayout>
#include <QKeyEvent>
#include <QLabel>
#include <QPainter>
#include <QPainterPath>
#include <QPushButton>
#include <QTimer>
#include <QVBoxLayout>
#include <algorithm>

#include "gui/theme.h"

namespace moesim::gui {

Tour::Tour(std::vector<TourStep> steps, QWidget* window)
    : QWidget(window), steps_(std::move(steps)) {
  setGeometry(window->rect());
  setFocusPolicy(Qt::StrongFocus);
  // The part that the step points at stays usable: the tour only paints over the window.
  setAttribute(Qt::WA_TransparentForMouseEvents);
  window->installEventFilter(this);
  card_ = new QWidget(window);
  card_->setObjectName("tourCard");
  card_->setAutoFillBackground(true);
  card_->setStyleSheet(
      QStringLiteral("QWidget#tourCard { border: 2px solid %1; border-radius: 8px; }")
          .arg(theme().accent.name()));
  card_->setFixedWidth(360);
  card_->setAccessibleName(tr("Tour"));
  auto* layout = new QVBoxLayout(card_);
  title_ = new QLabel;
  title_->setObjectName("viewTitle");
  title_->setWordWrap(true);
  words_ = new QLabel;
  words_->setWordWrap(true);
  layout->addWidget(title_);
  layout->addWidget(words_);
  auto* row = new QHBoxLayout;
  count_ = new QLabel;
  count_->setObjectName("muted");
  act_ = new QPushButton;
  back_ = new QPushButton(tr("Back"));
  next_ = new QPushButton(tr("Next"));
  next_->setDefault(true);
  auto* end = new QPushButton(tr("End"));
  row->addWidget(count_, 1);
  row->addWidget(end);
  row->addWidget(back_);
  row->addWidget(next_);
  layout->addWidget(act_);
  layout->addLayout(row);
  connect(act_, &QPushButton::clicked, this, &Tour::act);
  connect(back_, &QPushButton::clicked, this, &Tour::back);
  connect(next_, &QPushButton::clicked, this, &Tour::next);
  connect(end, &QPushButton::clicked, this, [this] { show(static_cast<int>(steps_.size())); });
  QWidget::show();
  card_->show();
  show(0);
}

void Tour::show(int step) {
  if (step >= static_cast<int>(steps_.size())) {
    card_->deleteLater();
    deleteLater();
    hide();
    card_->hide();
    Q_EMIT finished();
    return;
  }
  step_ = step;
  const TourStep& now = steps_[static_cast<std::size_t>(step)];
  title_->setText(now.title);
  words_->setText(now.words);
  count_->setText(tr("%1 of %2").arg(step + 1).arg(steps_.size()));
  act_->setText(now.actionName);
  act_->setVisible(!now.actionName.isEmpty());
  back_->setEnabled(step > 0);
  next_->setText(step + 1 == static_cast<int>(steps_.size()) ? tr("Done") : tr("Next"));
  next_->setFocus();
  place();
  QTimer::singleShot(60, this, [this] { place(); });  // after a page has been laid out
}

void Tour::next() { show(step_ + 1); }

void Tour::back() { show(std::max(0, step_ - 1)); }

void Tour::act() {
  if (steps_[static_cast<std::size_t>(step_)].action) {
    steps_[static_cast<std::size_t>(step_)].action();
    QTimer::singleShot(60, this, [this] { place(); });
  }
}

void Tour::place() {
  QWidget* window = parentWidget();
  setGeometry(window->rect());
  card_->adjustSize();
  QWidget* target = steps_[static_cast<std::size_t>(step_)].target
                        ? steps_[static_cast<std::size_t>(step_)].target()
                        : nullptr;
  hole_ = target != nullptr
              ? QRect(target->mapTo(window, QPoint()), target->size()).adjusted(-4, -4, 4, 4)
              : QRect();
  // Beside the target where there is room: right, left, below, above.
  const QSize card = card_->size();
  QPoint at(window->width() / 2 - card.width() / 2, window->height() / 2 - card.height() / 2);
  if (target != nullptr) {
    const int y = std::clamp(hole_.center().y() - card.height() / 2, 8,
                             std::max(8, window->height() - card.height() - 8));
    if (hole_.right() + card.width() + 16 < window->width()) {
      at = {hole_.right() + 12, y};
    } else if (hole_.left() - card.width() - 16 > 0) {
      at = {hole_.left() - card.width() - 12, y};
    } else {
      const int x = std::clamp(hole_.center().x() - card.width() / 2, 8,
                               std::max(8, window->width() - card.width() - 8));
      const bool isBelow = hole_.bottom() + card.height() + 16 < window->height();
      at = {x, isBelow ? hole_.bottom() + 12 : std::max(8, hole_.top() + 40)};
    }
  }
  card_->move(at);
  raise();
  card_->raise();
  update();
}

void Tour::paintEvent(QPaintEvent*) {
  QPainter painter(this);
  painter.setRenderHint(QPainter::Antialiasing);
  QPainterPath cover;
  cover.addRect(rect());
  QPainterPath hole;
  hole.addRoundedRect(hole_, 8, 8);
  painter.fillPath(cover.subtracted(hole), QColor(0, 0, 0, theme().dark ? 120 : 90));
  if (!hole_.isEmpty()) {
    painter.setPen(QPen(theme().accent, 2));
    painter.drawRoundedRect(hole_, 8, 8);
  }
}

void Tour::keyPressEvent(QKeyEvent* event) {
  if (event->key() == Qt::Key_Escape) {
    show(static_cast<int>(steps_.size()));
  }
}

bool Tour::eventFilter(QObject* watched, QEvent* event) {
  if (watched == parentWidget() && event->type() == QEvent::Resize) {
    place();
  }
  return QWidget::eventFilter(watched, event);
}

}  // namespace moesim::gui
