// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/experts_view.h"

#include <QComboBox>
#include <QVBoxLayout>
#include <algorithm>
#include <numeric>

#include "gui/text.h"

namespace moesim::gui {
namespace {

enum Mode { kExperts, kGpus };

}  // namespace

ExpertsView::ExpertsView(Workbench& workbench, QWidget* parent)
    : View(workbench, tr("Experts"), tr("Which experts are hot, and which GPUs do they burden?"),
           parent) {
  heatmap_ = new Heatmap;
  heatmap_->setAccessibleName(tr("Load of every expert by layer"));
  setPicture(heatmap_);
  mode_ = new QComboBox;
  mode_->addItem(tr("load of every expert"));
  mode_->addItem(tr("load of every GPU, after placement"));
  mode_->setAccessibleName(tr("What is shown"));
  order_ = new QComboBox;
  order_->addItem(tr("in the order of ids"));
  order_->addItem(tr("hottest first, on average"));
  order_->addItem(tr("hottest first, in the selected layer"));
  order_->setAccessibleName(tr("Order of the columns"));
  hottest_ = new QLabel;
  hottest_->setObjectName("muted");
  controls().addWidget(mode_);
  controls().addWidget(order_);
  controls().addWidget(hottest_, 1);
  connect(mode_, &QComboBox::currentIndexChanged, this, &View::refreshIfVisible);
  connect(order_, &QComboBox::currentIndexChanged, this, &View::refreshIfVisible);
  connect(&workbench, &Workbench::picturesChanged, this, &View::refreshIfVisible);
  connect(&workbench, &Workbench::selectionChanged, this, [this] {
    if (order_->currentIndex() == 2) {
      refreshIfVisible();
    } else {
      mark();
    }
  });
  connect(heatmap_, &Heatmap::picked, this, [this](int row, int column) {
    Selection selection = this->workbench().selection();
    selection.layer = row;
    const std::vector<int>& ids = heatmap_->cells().columnIds;
    const int id = column < 0 ? -1 : ids.empty() ? column : ids[static_cast<std::size_t>(column)];
    const Pictures* pictures = this->workbench().pictures();
    if (mode_->currentIndex() == kGpus) {
      selection.gpu = id;
      selection.expert = -1;
    } else {
      selection.expert = id;
      selection.gpu = -1;
      if (id >= 0 && pictures != nullptr && !pictures->experts.slot_expert.empty()) {
        const auto layer = std::min<std::size_t>(static_cast<std::size_t>(std::max(0, row)),
                                                 pictures->experts.slot_expert.size() - 1);
        const std::vector<int>& slots = pictures->experts.slot_expert[layer];
        const auto found = std::find(slots.begin(), slots.end(), id);
        if (found != slots.end()) {
          selection.gpu =
              pictures->experts.slot_rank[layer][static_cast<std::size_t>(found - slots.begin())];
        }
      }
    }
    this->workbench().select(selection);
  });
  heatmap_->setTip([this](int row, int column) {
    const HeatmapData& cells = heatmap_->cells();
    const int id =
        cells.columnIds.empty() ? column : cells.columnIds[static_cast<std::size_t>(column)];
    const double load = static_cast<double>(
        cells.values[static_cast<std::size_t>(row) * static_cast<std::size_t>(cells.columns) +
                     static_cast<std::size_t>(column)]);
    return tr("<b>%1 %2</b>, MoE layer %3<br>%4 times the mean load")
        .arg(mode_->currentIndex() == kGpus ? tr("GPU") : tr("Expert"))
        .arg(id)
        .arg(row)
        .arg(load, 0, 'f', 2);
  });
}

void ExpertsView::refresh() {
  const Pictures* pictures = workbench().pictures();
  if (pictures == nullptr || pictures->experts.expert_load.empty()) {
    heatmap_->setData({});
    table().setGrid({});
    shownNumber_ = pictures != nullptr ? pictures->number : 0;
    hottest_->clear();
    setNote(pictures == nullptr ? tr("Loads are being computed…")
                                : tr("A dense model has no experts.") + text(pictures->problem));
    return;
  }
  shownNumber_ = pictures->number;
  const ExpertPicture& experts = pictures->experts;
  const bool perGpu = mode_->currentIndex() == kGpus;
  const std::vector<std::vector<double>>& loads = perGpu ? experts.rank_load : experts.expert_load;
  const int columns = static_cast<int>(loads.front().size());
  std::vector<double> mean(static_cast<std::size_t>(columns), 0.0);
  for (const std::vector<double>& row : loads) {
    for (std::size_t c = 0; c < mean.size(); ++c) {
      mean[c] += row[c] / static_cast<double>(loads.size());
    }
  }
  std::vector<int> ids(static_cast<std::size_t>(columns));
  std::iota(ids.begin(), ids.end(), 0);
  if (order_->currentIndex() > 0) {
    const auto layer = static_cast<std::size_t>(
        std::clamp(workbench().selection().layer, 0, static_cast<int>(loads.size()) - 1));
    const std::vector<double>& key = order_->currentIndex() == 2 ? loads[layer] : mean;
    std::stable_sort(ids.begin(), ids.end(), [&key](int a, int b) {
      return key[static_cast<std::size_t>(a)] > key[static_cast<std::size_t>(b)];
    });
  }
  HeatmapData cells;
  cells.columns = columns;
  cells.rows = static_cast<int>(loads.size());
  double most = 0;
  int hotLayer = 0;
  int hotId = 0;
  cells.values.reserve(static_cast<std::size_t>(cells.rows) * static_cast<std::size_t>(columns));
  for (std::size_t r = 0; r < loads.size(); ++r) {
    for (const int id : ids) {
      const double load = loads[r][static_cast<std::size_t>(id)];
      cells.values.push_back(static_cast<float>(load));
      if (load > most) {
        most = load;
        hotLayer = static_cast<int>(r);
        hotId = id;
      }
    }
  }
  cells.low = 0;
  cells.exponent = 0.5;
  cells.high = std::max(2.0, most);
  cells.lowText = QStringLiteral("0");
  cells.highText = QStringLiteral("%1×").arg(cells.high, 0, 'f', 1);
  cells.rowTitle = tr("MoE layer");
  cells.columnTitle = perGpu ? tr("GPU that holds experts") : tr("Expert");
  cells.columnIds = order_->currentIndex() > 0 ? ids : std::vector<int>();
  if (!perGpu && order_->currentIndex() == 0 && experts.ranks > 0 &&
      experts.experts % experts.ranks == 0) {
    cells.columnGroup = static_cast<int>(experts.experts / experts.ranks);
  }
  heatmap_->setData(std::move(cells));
  mark();
  hottest_->setText(tr("hottest: %1 %2 in layer %3, %4 × the mean")
                        .arg(perGpu ? tr("GPU") : tr("expert"))
                        .arg(hotId)
                        .arg(hotLayer)
                        .arg(most, 0, 'f', 2));
  setNote(experts.layers_are_alike
              ? tr("All %1 MoE layers are alike under this routing: one row stands for them.")
                    .arg(experts.num_moe_layers)
              : QString());
  Grid grid;
  grid.columns << tr("MoE layer");
  for (const int id : ids) {
    grid.columns << QStringLiteral("%1 %2").arg(perGpu ? tr("GPU") : tr("Expert")).arg(id);
  }
  grid.rows = static_cast<int>(loads.size());
  grid.cell = [loads, ids](int row, int column) -> QVariant {
    if (column == 0) {
      return row;
    }
    return loads[static_cast<std::size_t>(row)]
                [static_cast<std::size_t>(ids[static_cast<std::size_t>(column - 1)])];
  };
  table().setGrid(std::move(grid));
}

int ExpertsView::columnOf(int id) const {
  const std::vector<int>& ids = heatmap_->cells().columnIds;
  if (id < 0 || ids.empty()) {
    return id;
  }
  const auto found = std::find(ids.begin(), ids.end(), id);
  return found == ids.end() ? -1 : static_cast<int>(found - ids.begin());
}

void ExpertsView::mark() {
  const Selection& selection = workbench().selection();
  heatmap_->setMarked(selection.layer,
                      columnOf(mode_->currentIndex() == kGpus ? selection.gpu : selection.expert));
}

}  // namespace moesim::gui
