// SPDX-License-Identifier: GPL-3.0-or-later
// The cluster as a picture: servers as blocks of GPUs, switches above them, links in the colour of
// their load.
//
// Every GPU shows two halves: its links of the scale-up network and its way to the network between
// servers. Lines join switches and servers; what several GPUs of a server send to one switch is one
// line with the busiest of their loads. The picture is kept as an image and made anew only when
// data or size change.
#pragma once

#include <QPixmap>
#include <memory>
#include <vector>

#include "gui/view.h"

namespace moesim::gui {

class TopologyCanvas : public Canvas {
  Q_OBJECT
 public:
  explicit TopologyCanvas(QWidget* parent = nullptr);

  void setTraffic(std::shared_ptr<const LayerPictures> pictures);
  void setMarkedGpu(int gpu);
  void draw(QPainter& painter, const QSizeF& size) override;
  QSize sizeHint() const override { return {420, 420}; }
  int numGpus() const { return static_cast<int>(gpuBoxes_.size()); }
  /// Makes the kept picture anew at the next repaint.
  void invalidate() { kept_ = QPixmap(); }

 Q_SIGNALS:
  void picked(int gpu);

 protected:
  bool event(QEvent* event) override;
  void mousePressEvent(QMouseEvent* event) override;
  void keyPressEvent(QKeyEvent* event) override;

 private:
  struct Line {
    int from = 0;      ///< node
    int machine = -1;  ///< server, or
    int to = -1;       ///< node
    double utilisation = 0;
    double capacity = 0;
  };
  void arrange();
  void layOut(const QSizeF& size);
  void drawScene(QPainter& painter, const QSizeF& size);
  int gpuAt(const QPointF& at) const;

  std::shared_ptr<const LayerPictures> pictures_;
  std::vector<int> gpuNodes_;               ///< node of each GPU
  std::vector<int> machineOf_;              ///< [GPUs] block
  std::vector<std::vector<int>> machines_;  ///< GPUs of each block
  std::vector<double> near_, far_;          ///< [GPUs] utilisation of its links
  std::vector<std::vector<int>> levels_;    ///< switches from the top: spines, leaves, others
  std::vector<Line> lines_;
  QSizeF laidOut_;
  std::vector<QRectF> gpuBoxes_;
  std::vector<QRectF> machineBoxes_;
  std::vector<QPointF> switchAt_;  ///< [nodes]
  QPixmap kept_;
  int marked_ = -1;
};

}  // namespace moesim::gui
