// SPDX-License-Identifier: GPL-3.0-or-later
// The timeline as a picture: lanes of slices in colours of their kinds, with pan, zoom, selection
// of slices and areas.
//
// W and S zoom, A and D move, the wheel zooms at the pointer, shift and wheel scroll lanes,
// dragging selects an area, dragging with the right button moves; comma and full stop go to the
// slice before and after; F fits everything. Slices are written into an image pixel by pixel,
// labels over it where they fit.
#pragma once

#include <QImage>
#include <memory>

#include "gui/timeline_index.h"
#include "gui/view.h"

namespace moesim::gui {

class TimelineCanvas : public Canvas {
  Q_OBJECT
 public:
  explicit TimelineCanvas(QWidget* parent = nullptr);

  void setIndex(std::shared_ptr<const TimelineIndex> index);
  const TimelineIndex* index() const { return index_.get(); }
  /// Marks matching slices; others fade. Empty: none.
  void setMatches(std::vector<bool> matches);
  /// Shows these lanes only where it is >= 0: lanes of one GPU.
  void setDevice(int device);
  /// Marks the lanes of a GPU and scrolls to them; -1: none.
  void setMarkedDevice(int device);
  void fitAll();
  void goTo(const SliceRef& slice);
  SliceRef current() const { return current_; }
  std::int64_t windowBegin() const { return from_; }
  std::int64_t windowEnd() const { return to_; }

  void draw(QPainter& painter, const QSizeF& size) override;
  QSize sizeHint() const override { return {700, 420}; }

 Q_SIGNALS:
  void currentChanged(moesim::gui::SliceRef slice);
  void areaSelected(int firstLane, int lastLane, qint64 from, qint64 to);
  void areaCleared();

 protected:
  bool event(QEvent* event) override;
  void mousePressEvent(QMouseEvent* event) override;
  void mouseMoveEvent(QMouseEvent* event) override;
  void mouseReleaseEvent(QMouseEvent* event) override;
  void mouseDoubleClickEvent(QMouseEvent* event) override;
  void wheelEvent(QWheelEvent* event) override;
  void keyPressEvent(QKeyEvent* event) override;

 private:
  double laneHeight(const QSizeF& size) const;
  QRectF laneArea(const QSizeF& size) const;
  double xOf(std::int64_t time, const QRectF& area) const;
  std::int64_t timeAt(double x, const QRectF& area) const;
  int laneAt(double y, const QSizeF& size) const;
  void zoom(double factor, std::int64_t about);
  void pan(double share);
  void clampWindow();
  void drawRuler(QPainter& painter, const QRectF& area, bool withLabels) const;
  struct LegendEntry {
    std::size_t kind = 0;
    QString name;
    QRectF box;  ///< from the legend's upper left corner
  };
  QFont smallFont() const;
  /// The kinds that occur, in as many lines as a picture of this width [px] needs.
  std::vector<LegendEntry> legend(double width) const;
  double legendHeight(double width) const;
  void drawLegend(QPainter& painter, const QSizeF& size) const;
  void paintLane(QImage& image, int lane, int top, int bottom, double ratio) const;
  void drawLabels(QPainter& painter, int lane, const QRectF& box, const QRectF& area) const;
  SliceRef sliceUnder(const QPointF& at) const;
  QString tip(const SliceRef& slice) const;

  std::shared_ptr<const TimelineIndex> index_;
  std::vector<int> shown_;  ///< lanes, in order
  std::vector<bool> matches_;
  std::vector<QRgb> kindColors_;
  QImage frame_;
  bool hasMatches_ = false;
  int device_ = -1;
  int markedDevice_ = -1;
  std::int64_t from_ = 0;
  std::int64_t to_ = 1;
  int firstLane_ = 0;
  SliceRef current_;
  QPointF pressed_;
  bool isSelecting_ = false;
  bool isPanning_ = false;
  bool hasArea_ = false;
  int areaFirst_ = 0, areaLast_ = 0;
  std::int64_t areaFrom_ = 0, areaTo_ = 0;
};

}  // namespace moesim::gui
