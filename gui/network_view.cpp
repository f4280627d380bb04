// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/network_view.h"

#include <QSpinBox>
#include <QSplitter>
#include <algorithm>

#include "gui/text.h"
#include "gui/theme.h"

namespace moesim::gui {

NetworkView::NetworkView(Workbench& workbench, QWidget* parent)
    : View(workbench, tr("Network"),
           tr("What does each GPU send to each other, and which links carry it?"), parent) {
  auto* splitter = new QSplitter;
  splitter->setHandleWidth(1);
  topology_ = new TopologyCanvas;
  matrix_ = new Heatmap;
  matrix_->setAccessibleName(tr("All-to-all traffic matrix, rows send, columns receive"));
  splitter->addWidget(topology_);
  splitter->addWidget(matrix_);
  splitter->setChildrenCollapsible(false);
  splitter->setStretchFactor(0, 1);
  splitter->setStretchFactor(1, 1);
  splitter->setSizes({500, 500});
  setPicture(splitter);
  layer_ = new QSpinBox;
  layer_->setAccessibleName(tr("MoE layer whose exchange is drawn"));
  layer_->setKeyboardTracking(false);
  layer_->setPrefix(tr("MoE layer "));
  controls().addWidget(layer_);
  total_ = new QLabel;
  total_->setObjectName("muted");
  total_->setWordWrap(true);
  controls().addWidget(total_, 1);
  connect(layer_, &QSpinBox::valueChanged, this, [this](int layer) {
    Selection selection = this->workbench().selection();
    selection.layer = layer;
    this->workbench().select(selection);
  });
  connect(topology_, &TopologyCanvas::picked, this, [this](int gpu) {
    Selection selection = this->workbench().selection();
    selection.gpu = gpu;
    this->workbench().select(selection);
  });
  connect(matrix_, &Heatmap::picked, this, [this](int row, int) {
    Selection selection = this->workbench().selection();
    selection.gpu = row;
    this->workbench().select(selection);
  });
  matrix_->setTip([this](int row, int column) {
    const Heatmap& map = *matrix_;
    const double bytes = static_cast<double>(
        map.cells()
            .values[static_cast<std::size_t>(row) * static_cast<std::size_t>(map.cells().columns) +
                    static_cast<std::size_t>(column)]);
    return tr("<b>GPU %1 to GPU %2</b><br>%3 in one dispatch")
        .arg(row)
        .arg(column)
        .arg(valueText(bytes, "bytes"));
  });
  connect(&workbench, &Workbench::layerPicturesChanged, this, &View::refreshIfVisible);
  connect(&workbench, &Workbench::picturesChanged, this, &View::refreshIfVisible);
  connect(&workbench, &Workbench::selectionChanged, this, &NetworkView::mark);
}

void NetworkView::refresh() {
  const Pictures* pictures = workbench().pictures();
  const LayerPictures* layers = workbench().layerPictures();
  if (pictures != nullptr) {
    const QSignalBlocker block(layer_);
    layer_->setRange(
        0, static_cast<int>(std::max<std::int64_t>(0, pictures->experts.num_moe_layers - 1)));
  }
  if (layers == nullptr) {
    topology_->setTraffic(nullptr);
    matrix_->setData({});
    table().setGrid({});
    shownNumber_ = 0;
    shown_ = nullptr;
    setNote(tr("The exchange is being drawn…"));
    return;
  }
  shownNumber_ = layers->number;
  if (layers == shown_ && isDark_ == theme().dark) {
    mark();
    return;
  }
  isDark_ = theme().dark;
  shown_ = layers;
  const auto kept = workbench().sharedLayerPictures();
  topology_->setTraffic(kept);
  const TrafficPicture& traffic = kept->traffic;
  {
    const QSignalBlocker block(layer_);
    layer_->setValue(static_cast<int>(traffic.moe_layer));
  }
  HeatmapData cells;
  cells.rows = traffic.gpus;
  cells.columns = traffic.gpus;
  cells.values = traffic.copies;
  double total = 0;
  double most = 0;
  for (float& value : cells.values) {
    value = static_cast<float>(static_cast<double>(value) * traffic.bytes_per_copy);
    total += static_cast<double>(value);
    most = std::max(most, static_cast<double>(value));
  }
  cells.high = std::max(1.0, most);
  cells.exponent = 0.5;
  cells.lowText = QStringLiteral("0");
  cells.highText = valueText(cells.high, "bytes");
  cells.rowTitle = tr("sending GPU");
  cells.columnTitle = tr("receiving GPU");
  matrix_->setData(std::move(cells));
  double busiest = 0;
  QString busiestName;
  for (const PictureLink& link : traffic.links) {
    if (link.utilisation > busiest) {
      busiest = link.utilisation;
      busiestName = text(traffic.nodes[static_cast<std::size_t>(link.a)].name + " – " +
                         traffic.nodes[static_cast<std::size_t>(link.b)].name);
    }
  }
  total_->setText(
      busiest > 0 ? tr("%1 in one dispatch; busiest link %2: %3 of its rate over the step")
                        .arg(valueText(total, "bytes"), busiestName, valueText(busiest, "fraction"))
                  : QString());
  setNote(text(traffic.note));
  mark();
  Grid grid;
  grid.columns = {tr("Link"),
                  tr("From kind"),
                  tr("To kind"),
                  tr("Rate (bytes/s)"),
                  tr("Bytes there"),
                  tr("Bytes back"),
                  tr("Utilisation (fraction)")};
  grid.rows = static_cast<int>(traffic.links.size());
  grid.cell = [kept](int row, int column) -> QVariant {
    const TrafficPicture& t = kept->traffic;
    const PictureLink& link = t.links[static_cast<std::size_t>(row)];
    const PictureNode& a = t.nodes[static_cast<std::size_t>(link.a)];
    const PictureNode& b = t.nodes[static_cast<std::size_t>(link.b)];
    switch (column) {
      case 0:
        return text(a.name + " – " + b.name);
      case 1:
        return text(a.kind);
      case 2:
        return text(b.kind);
      case 3:
        return link.capacity_bytes_per_s;
      case 4:
        return link.forward_bytes;
      case 5:
        return link.back_bytes;
      default:
        return link.utilisation;
    }
  };
  table().setGrid(std::move(grid));
}

void NetworkView::mark() {
  const int gpu = workbench().selection().gpu;
  topology_->setMarkedGpu(gpu);
  matrix_->setMarked(gpu, gpu);
}

void NetworkView::paintPicture(QPainter& painter, const QSizeF& size) {
  painter.fillRect(QRectF(QPointF(), size), theme().panel);
  const double half = size.width() / 2;
  topology_->draw(painter, QSizeF(half - 8, size.height()));
  painter.save();
  painter.translate(half, 0);
  matrix_->draw(painter, QSizeF(half, size.height()));
  painter.restore();
}

}  // namespace moesim::gui
