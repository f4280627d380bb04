// SPDX-License-Identifier: GPL-3.0-or-later
// One minute with a real question: what does uneven routing do to a deployment, and what brings the
// throughput back? Each step points at a part of the window and can do its action itself.
#pragma once

#include <QWidget>
#include <functional>
#include <vector>

class QLabel;
class QPushButton;

namespace moesim::gui {

struct TourStep {
  QString title;
  QString words;
  std::function<QWidget*()> target;  ///< what the step points at
  QString actionName;                ///< "": nothing to do
  std::function<void()> action;
};

class Tour : public QWidget {
  Q_OBJECT
 public:
  Tour(std::vector<TourStep> steps, QWidget* window);
  int step() const { return step_; }
  void next();
  void back();
  void act();

 Q_SIGNALS:
  void finished();

 protected:
  void paintEvent(QPaintEvent* event) override;
  void keyPressEvent(QKeyEvent* event) override;
  bool eventFilter(QObject* watched, QEvent* event) override;

 private:
  void show(int step);
  void place();

  std::vector<TourStep> steps_;
  int step_ = -1;
  QWidget* card_;
  QLabel* title_;
  QLabel* words_;
  QLabel* count_;
  QPushButton* act_;
  QPushButton* back_;
  QPushButton* next_;
  QRect hole_;
};

}  // namespace moesim::gui
