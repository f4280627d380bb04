// SPDX-License-Identifier: GPL-3.0-or-later
// One page of the explorer: a title with the question that it answers, controls, a picture, the
// table twin of that picture, and its export as PNG, SVG, PDF or CSV.
//
// A page refreshes only while it is visible. While its data belong to an older state of the
// scenario than the newest it is dimmed, so that nothing stale passes for an answer.
#pragma once

#include <QHBoxLayout>
#include <QLabel>
#include <QPainter>
#include <QStackedWidget>
#include <QTableView>
#include <QToolButton>
#include <QWidget>

#include "gui/grid_model.h"
#include "gui/workbench.h"

namespace moesim::gui {

/// A widget that paints itself, on the screen and into files with the same code.
class Canvas : public QWidget {
  Q_OBJECT
 public:
  explicit Canvas(QWidget* parent = nullptr);
  virtual void draw(QPainter& painter, const QSizeF& size) = 0;

 protected:
  void paintEvent(QPaintEvent* event) override;
};

/// Covers a page while its data are older than the scenario.
class Veil : public QWidget {
  Q_OBJECT
 public:
  explicit Veil(QWidget* parent);
  void setText(const QString& text);

 protected:
  void paintEvent(QPaintEvent* event) override;
  bool eventFilter(QObject* watched, QEvent* event) override;

 private:
  QString text_;
};

class View : public QWidget {
  Q_OBJECT
 public:
  View(Workbench& workbench, QString title, QString question, QWidget* parent = nullptr);

  const QString& title() const { return title_; }
  GridModel& table() { return table_; }
  bool isTableShown() const;
  void setTableShown(bool shown);
  /// Writes the picture (png, svg, pdf by suffix) or the table (csv). Throws InputError.
  void exportTo(const QString& path);
  /// Paints the picture into `size`.
  virtual void paintPicture(QPainter& painter, const QSizeF& size);
  /// Brings picture and table up to date; called by the page itself.
  virtual void refresh() = 0;
  void refreshIfVisible();
  /// Paints what the page has anew, in the colours of the theme; a hidden page does when it is
  /// shown.
  void recolour();
  /// The state that the page shows; 0 when it shows none.
  virtual std::uint64_t shownNumber() const { return 0; }

 protected:
  Workbench& workbench() { return workbench_; }
  const Workbench& workbench() const { return workbench_; }
  QHBoxLayout& controls() { return *controls_; }
  void setPicture(QWidget* picture);
  QWidget* picture() { return picture_; }
  void setNote(const QString& note);
  QTableView& tableView() { return *tableView_; }
  void showEvent(QShowEvent* event) override;
  /// The same data in other colours; pages whose `refresh` starts something do less.
  virtual void redraw() { refresh(); }

 private:
  void updateVeil();

  Workbench& workbench_;
  QString title_;
  GridModel table_;
  QLabel* note_;
  QHBoxLayout* controls_;
  QStackedWidget* stack_;
  QTableView* tableView_;
  QToolButton* tableButton_;
  QWidget* picture_ = nullptr;
  Veil* veil_;
  QTimer* veilTimer_;
  bool isOutdated_ = true;
  bool isOffColour_ = false;
};

}  // namespace moesim::gui
