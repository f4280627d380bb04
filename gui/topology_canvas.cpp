// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/topology_canvas.h"

#include <QHelpEvent>
#include <QKeyEvent>
#include <QMouseEvent>
#include <QToolTip>
#include <algorithm>
#include <cmath>
#include <map>

#include "gui/text.h"
#include "gui/theme.h"

namespace moesim::gui {

TopologyCanvas::TopologyCanvas(QWidget* parent) : Canvas(parent) {
  setAccessibleName(tr("Topology of the cluster with the load of its links"));
  setMinimumSize(240, 200);
}

void TopologyCanvas::setTraffic(std::shared_ptr<const LayerPictures> pictures) {
  pictures_ = std::move(pictures);
  arrange();
  laidOut_ = {};
  kept_ = QPixmap();
  update();
}

void TopologyCanvas::setMarkedGpu(int gpu) {
  if (gpu != marked_) {
    marked_ = gpu;
    update();
  }
}

void TopologyCanvas::arrange() {
  gpuNodes_.clear();
  machineOf_.clear();
  machines_.clear();
  near_.clear();
  far_.clear();
  levels_.assign(3, {});
  lines_.clear();
  if (pictures_ == nullptr) {
    return;
  }
  const std::vector<PictureNode>& nodes = pictures_->traffic.nodes;
  std::map<int, int> blockOf;
  std::vector<int> gpuOf(nodes.size(), -1);
  for (std::size_t n = 0; n < nodes.size(); ++n) {
    const PictureNode& node = nodes[n];
    if (node.kind == "gpu") {
      const int gpu = static_cast<int>(gpuNodes_.size());
      gpuOf[n] = gpu;
      gpuNodes_.push_back(static_cast<int>(n));
      const int machine = node.machine >= 0 ? node.machine : gpu / 8;
      const auto [block, isNew] = blockOf.try_emplace(machine, static_cast<int>(machines_.size()));
      if (isNew) {
        machines_.emplace_back();
      }
      machines_[static_cast<std::size_t>(block->second)].push_back(gpu);
      machineOf_.push_back(block->second);
    } else if (node.kind == "spine") {
      levels_[0].push_back(static_cast<int>(n));
    } else if (node.kind == "leaf") {
      levels_[1].push_back(static_cast<int>(n));
    }
  }
  // A switch that joins the GPUs of one server is that server; one that joins several is drawn.
  std::vector<int> serverOf(nodes.size(), -1);
  std::vector<bool> joinsServers(nodes.size(), false);
  for (const PictureLink& link : pictures_->traffic.links) {
    const int ends[] = {link.a, link.b};
    for (int side = 0; side < 2; ++side) {
      const auto hub = static_cast<std::size_t>(ends[side]);
      const int gpu = gpuOf[static_cast<std::size_t>(ends[1 - side])];
      if (nodes[hub].kind == "gpu_switch" && gpu >= 0) {
        const int server = machineOf_[static_cast<std::size_t>(gpu)];
        joinsServers[hub] = joinsServers[hub] || (serverOf[hub] >= 0 && serverOf[hub] != server);
        serverOf[hub] = server;
      }
    }
  }
  for (std::size_t n = 0; n < nodes.size(); ++n) {
    if (joinsServers[n]) {
      levels_[2].push_back(static_cast<int>(n));
    }
  }
  near_.assign(gpuNodes_.size(), 0);
  far_.assign(gpuNodes_.size(), 0);
  const auto isDrawn = [&](int n) {
    const PictureNode& node = nodes[static_cast<std::size_t>(n)];
    return node.kind == "spine" || node.kind == "leaf" || joinsServers[static_cast<std::size_t>(n)];
  };
  std::map<std::pair<int, int>, std::size_t> lineOf;
  for (const PictureLink& link : pictures_->traffic.links) {
    const int gpuA = gpuOf[static_cast<std::size_t>(link.a)];
    const int gpuB = gpuOf[static_cast<std::size_t>(link.b)];
    const int gpu = gpuA >= 0 ? gpuA : gpuB;
    const int other = gpuA >= 0 ? link.b : link.a;
    const std::string& kind = nodes[static_cast<std::size_t>(other)].kind;
    if (gpu >= 0) {
      const bool isFar = kind == "leaf" || kind == "nic" || kind == "spine";
      std::vector<double>& loads = isFar ? far_ : near_;
      double& load = loads[static_cast<std::size_t>(gpu)];
      load = std::max(load, link.utilisation);
      if (gpuA >= 0 && gpuB >= 0) {
        double& peer = near_[static_cast<std::size_t>(gpuB)];
        peer = std::max(peer, link.utilisation);
      }
    }
    const int machineA = gpuA >= 0 ? machineOf_[static_cast<std::size_t>(gpuA)]
                                   : nodes[static_cast<std::size_t>(link.a)].machine;
    const int machineB = gpuB >= 0 ? machineOf_[static_cast<std::size_t>(gpuB)]
                                   : nodes[static_cast<std::size_t>(link.b)].machine;
    Line line;
    std::pair<int, int> key;
    if (isDrawn(link.a) && isDrawn(link.b)) {
      line.from = link.a;
      line.to = link.b;
      key = {link.a, 1000000 + link.b};
    } else if (isDrawn(link.a) != isDrawn(link.b)) {
      line.from = isDrawn(link.a) ? link.a : link.b;
      line.machine = isDrawn(link.a) ? machineB : machineA;
      if (line.machine < 0 || line.machine >= static_cast<int>(machines_.size())) {
        continue;
      }
      key = {line.from, line.machine};
    } else {
      continue;
    }
    const auto [entry, isNew] = lineOf.try_emplace(key, lines_.size());
    if (isNew) {
      lines_.push_back(line);
    }
    Line& kept = lines_[entry->second];
    kept.utilisation = std::max(kept.utilisation, link.utilisation);
    kept.capacity += link.capacity_bytes_per_s;
  }
  // Busy lines are drawn over quiet ones.
  std::stable_sort(lines_.begin(), lines_.end(),
                   [](const Line& a, const Line& b) { return a.utilisation < b.utilisation; });
}

void TopologyCanvas::layOut(const QSizeF& size) {
  laidOut_ = size;
  gpuBoxes_.assign(gpuNodes_.size(), {});
  machineBoxes_.assign(machines_.size(), {});
  switchAt_.assign(pictures_ != nullptr ? pictures_->traffic.nodes.size() : 0, {});
  if (machines_.empty()) {
    return;
  }
  const double line = QFontMetricsF(font()).height();
  double top = line + 10;
  for (const std::vector<int>& level : levels_) {
    if (level.empty()) {
      continue;
    }
    for (std::size_t i = 0; i < level.size(); ++i) {
      switchAt_[static_cast<std::size_t>(level[i])] = {
          size.width() * (static_cast<double>(i) + 0.5) / static_cast<double>(level.size()),
          top + 8};
    }
    top += 52;
  }
  const double room = std::max(60.0, size.height() - top - line - 14);
  // Blocks about as wide as high.
  const double count = static_cast<double>(machines_.size());
  auto columns = static_cast<int>(std::ceil(std::sqrt(count * size.width() / room / 1.2)));
  columns = std::clamp(columns, 1, static_cast<int>(machines_.size()));
  const int rows = (static_cast<int>(machines_.size()) + columns - 1) / columns;
  const double width = size.width() / columns;
  const double height = room / rows;
  const double gap = std::min({6.0, width * 0.12, height * 0.12});
  for (std::size_t m = 0; m < machines_.size(); ++m) {
    const int row = static_cast<int>(m) / columns;
    const int column = static_cast<int>(m) % columns;
    const QRectF box(column * width + gap, top + row * height + gap, width - 2 * gap,
                     std::min(height - 2 * gap, std::max(60.0, width * 0.8)));
    machineBoxes_[m] = box;
    const std::vector<int>& gpus = machines_[m];
    const bool hasName = box.height() > line * 2.2 && box.width() > 46;
    const QRectF inside = box.adjusted(2, hasName ? line + 1 : 2, -2, -2);
    auto across = static_cast<int>(std::ceil(std::sqrt(
        static_cast<double>(gpus.size()) * inside.width() / std::max(1.0, inside.height()))));
    across = std::clamp(across, 1, static_cast<int>(gpus.size()));
    const int down = (static_cast<int>(gpus.size()) + across - 1) / across;
    const double cellWidth = inside.width() / across;
    const double cellHeight = inside.height() / down;
    for (std::size_t g = 0; g < gpus.size(); ++g) {
      const double x =
          inside.left() + static_cast<double>(static_cast<int>(g) % across) * cellWidth;
      const double y =
          inside.top() + static_cast<double>(static_cast<int>(g) / across) * cellHeight;
      const double pad = cellWidth > 6 ? 1 : 0.2;
      gpuBoxes_[static_cast<std::size_t>(gpus[g])] =
          QRectF(x + pad, y + pad, cellWidth - 2 * pad, cellHeight - 2 * pad);
    }
  }
}

void TopologyCanvas::drawScene(QPainter& painter, const QSizeF& size) {
  const Theme& t = theme();
  const QFontMetricsF metrics(font());
  const std::vector<PictureNode>& nodes = pictures_->traffic.nodes;
  painter.setRenderHint(QPainter::Antialiasing, lines_.size() < 4000);
  for (const Line& line : lines_) {
    const QPointF from = switchAt_[static_cast<std::size_t>(line.from)];
    const QPointF to =
        line.to >= 0 ? switchAt_[static_cast<std::size_t>(line.to)]
                     : QPointF(machineBoxes_[static_cast<std::size_t>(line.machine)].center().x(),
                               machineBoxes_[static_cast<std::size_t>(line.machine)].top());
    QColor color = loadColor(line.utilisation);
    color.setAlpha(lines_.size() > 300 ? 90 : 200);
    painter.setPen(QPen(color, line.utilisation > 0.5 ? 2 : 1));
    painter.drawLine(from, to);
  }
  painter.setRenderHint(QPainter::Antialiasing, true);
  for (std::size_t level = 0; level < levels_.size(); ++level) {
    for (const int n : levels_[level]) {
      const double fair = size.width() / static_cast<double>(levels_[level].size()) - 4;
      const QString name = text(nodes[static_cast<std::size_t>(n)].name).section('/', -1);
      const double width =
          std::clamp(metrics.horizontalAdvance(name) + 12, 6.0, std::max(6.0, fair));
      const QRectF box(switchAt_[static_cast<std::size_t>(n)].x() - width / 2,
                       switchAt_[static_cast<std::size_t>(n)].y() - 10, width, 20);
      painter.setPen(QPen(t.border, 1));
      painter.setBrush(t.card);
      painter.drawRoundedRect(box, 4, 4);
      if (width >= metrics.horizontalAdvance(name) + 6) {
        painter.setPen(t.text);
        painter.drawText(box, Qt::AlignCenter, name);
      }
    }
  }
  painter.setRenderHint(QPainter::Antialiasing, false);
  for (std::size_t m = 0; m < machines_.size(); ++m) {
    const QRectF& box = machineBoxes_[m];
    painter.fillRect(box, t.card);
    painter.setPen(t.border);
    painter.setBrush(Qt::NoBrush);
    painter.drawRect(box);
    if (box.height() > metrics.height() * 2.2 && box.width() > 46) {
      painter.setPen(t.muted);
      painter.drawText(QRectF(box.left() + 4, box.top() + 1, box.width() - 8, metrics.height()),
                       Qt::AlignLeft | Qt::AlignVCenter,
                       painter.fontMetrics().elidedText(tr("node %1").arg(m), Qt::ElideRight,
                                                        static_cast<int>(box.width() - 6)));
    }
  }
  QFont small = font();
  small.setPointSizeF(std::max(6.5, small.pointSizeF() - 1.5));
  painter.setFont(small);
  const QFontMetricsF numbers(small);
  const double widest = numbers.horizontalAdvance(QString::number(gpuBoxes_.size() - 1)) + 2;
  for (std::size_t g = 0; g < gpuBoxes_.size(); ++g) {
    const QRectF& box = gpuBoxes_[g];
    painter.fillRect(QRectF(box.left(), box.top(), box.width() / 2, box.height()),
                     loadColor(near_[g]));
    painter.fillRect(QRectF(box.center().x(), box.top(), box.width() / 2, box.height()),
                     loadColor(far_[g]));
    const QString number = QString::number(g);
    if (box.width() > widest && box.height() > numbers.height()) {
      painter.setPen(inkOn(loadColor(std::max(near_[g], far_[g]))));
      painter.drawText(box, Qt::AlignCenter, number);
    }
  }
  painter.setFont(font());
  // Legend: the scale of loads.
  const double y = size.height() - metrics.height() - 6;
  painter.setPen(t.muted);
  const QString legend = tr("left: NVLink, right: network; share of rate");
  painter.drawText(QRectF(4, y, size.width() - 190, metrics.height()),
                   Qt::AlignLeft | Qt::AlignVCenter,
                   painter.fontMetrics().elidedText(legend, Qt::ElideRight,
                                                    static_cast<int>(size.width() - 190)));
  const QRectF bar(size.width() - 150, y + 3, 96, metrics.height() - 6);
  for (int i = 0; i < static_cast<int>(bar.width()); ++i) {
    painter.fillRect(QRectF(bar.left() + i, bar.top(), 1.5, bar.height()),
                     loadColor(std::max(0.001, i / bar.width())));
  }
  painter.drawText(QRectF(bar.left() - 30, y, 26, metrics.height()), Qt::AlignRight, "0%");
  painter.drawText(QRectF(bar.right() + 4, y, 46, metrics.height()), Qt::AlignLeft, "100%");
}

void TopologyCanvas::draw(QPainter& painter, const QSizeF& size) {
  const Theme& t = theme();
  if (pictures_ == nullptr || gpuNodes_.empty()) {
    painter.setPen(t.muted);
    painter.drawText(
        QRectF(QPointF(), size).adjusted(20, 20, -20, -20), Qt::AlignCenter | Qt::TextWordWrap,
        pictures_ == nullptr || pictures_->traffic.note.empty() ? tr("no topology")
                                                                : text(pictures_->traffic.note));
    return;
  }
  if (laidOut_ != size) {
    layOut(size);
    kept_ = QPixmap();
  }
  const bool isScreen = painter.device() == static_cast<QPaintDevice*>(this);
  if (isScreen) {
    const double ratio = devicePixelRatioF();
    if (kept_.isNull()) {
      kept_ = QPixmap((size * ratio).toSize());
      kept_.setDevicePixelRatio(ratio);
      kept_.fill(t.panel);
      QPainter scene(&kept_);
      scene.setFont(font());
      drawScene(scene, size);
    }
    painter.drawPixmap(0, 0, kept_);
  } else {
    drawScene(painter, size);
  }
  if (marked_ >= 0 && marked_ < numGpus()) {
    const QRectF box = gpuBoxes_[static_cast<std::size_t>(marked_)].adjusted(-2, -2, 2, 2);
    painter.setBrush(Qt::NoBrush);
    painter.setPen(QPen(t.panel, 4));
    painter.drawRect(box);
    painter.setPen(QPen(t.accent, 2));
    painter.drawRect(box);
  }
}

int TopologyCanvas::gpuAt(const QPointF& at) const {
  for (std::size_t g = 0; g < gpuBoxes_.size(); ++g) {
    if (gpuBoxes_[g].contains(at)) {
      return static_cast<int>(g);
    }
  }
  return -1;
}

bool TopologyCanvas::event(QEvent* event) {
  if (event->type() == QEvent::ToolTip && pictures_ != nullptr) {
    const auto* help = static_cast<QHelpEvent*>(event);
    const int gpu = gpuAt(help->pos());
    if (gpu >= 0) {
      const auto g = static_cast<std::size_t>(gpu);
      QToolTip::showText(
          help->globalPos(),
          tr("<b>GPU %1</b> (%2)<br>scale-up links: %3 of their rate<br>network: %4 of its rate")
              .arg(gpu)
              .arg(text(pictures_->traffic.nodes[static_cast<std::size_t>(gpuNodes_[g])].name),
                   valueText(near_[g], "fraction"), valueText(far_[g], "fraction")),
          this);
    } else {
      QToolTip::hideText();
    }
    return true;
  }
  return Canvas::event(event);
}

void TopologyCanvas::mousePressEvent(QMouseEvent* event) {
  if (event->button() == Qt::LeftButton) {
    Q_EMIT picked(gpuAt(event->position()));
  }
}

void TopologyCanvas::keyPressEvent(QKeyEvent* event) {
  const int last = numGpus() - 1;
  if (last >= 0 && (event->key() == Qt::Key_Right || event->key() == Qt::Key_Down)) {
    Q_EMIT picked(std::min(last, marked_ + 1));
  } else if (last >= 0 && (event->key() == Qt::Key_Left || event->key() == Qt::Key_Up)) {
    Q_EMIT picked(std::max(0, marked_ - 1));
  } else if (event->key() == Qt::Key_Escape) {
    Q_EMIT picked(-1);
  } else {
    Canvas::keyPressEvent(event);
  }
}

}  // namespace moesim::gui
