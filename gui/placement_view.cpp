// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/placement_view.h"

#include <QFileDialog>
#include <QMessageBox>
#include <QPushButton>
#include <QSpinBox>
#include <algorithm>
#include <numeric>

#include "gui/text.h"

namespace moesim::gui {
namespace {

/// Longest first onto the GPU with the least load and a free slot; never two of one expert.
std::vector<int> longestFirst(const std::vector<int>& slots, const std::vector<double>& load,
                              int ranks) {
  const std::size_t perRank = slots.size() / static_cast<std::size_t>(ranks);
  std::vector<double> replicas(load.size(), 0);
  for (const int expert : slots) {
    replicas[static_cast<std::size_t>(expert)] += 1;
  }
  std::vector<int> order = slots;
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    const auto share = [&](int e) {
      return load[static_cast<std::size_t>(e)] / replicas[static_cast<std::size_t>(e)];
    };
    return share(a) > share(b);
  });
  std::vector<std::vector<int>> held(static_cast<std::size_t>(ranks));
  std::vector<double> sum(static_cast<std::size_t>(ranks), 0);
  for (const int expert : order) {
    std::size_t best = held.size();
    for (std::size_t r = 0; r < held.size(); ++r) {
      const bool isFree = held[r].size() < perRank &&
                          std::find(held[r].begin(), held[r].end(), expert) == held[r].end();
      if (isFree && (best == held.size() || sum[r] < sum[best])) {
        best = r;
      }
    }
    if (best == held.size()) {
      return slots;  // only replicas of one GPU are left: keep what was there
    }
    held[best].push_back(expert);
    sum[best] +=
        load[static_cast<std::size_t>(expert)] / replicas[static_cast<std::size_t>(expert)];
  }
  std::vector<int> placed;
  for (const std::vector<int>& gpu : held) {
    placed.insert(placed.end(), gpu.begin(), gpu.end());
  }
  return placed;
}

}  // namespace

PlacementView::PlacementView(Workbench& workbench, QWidget* parent)
    : View(workbench, tr("Placement"), tr("What if this expert lived on another GPU?"), parent) {
  board_ = new PlacementBoard;
  setPicture(board_);
  layer_ = new QSpinBox;
  layer_->setPrefix(tr("MoE layer "));
  layer_->setAccessibleName(tr("MoE layer that is edited"));
  balance_ = new QLabel;
  balance_->setAccessibleName(tr("Balance"));
  undo_ = new QPushButton(tr("As the scenario"));
  balanceAll_ = new QPushButton(tr("Longest first"));
  balanceAll_->setToolTip(tr("Place the heaviest experts first, each on the GPU with least load"));
  apply_ = new QPushButton(tr("Apply…"));
  apply_->setToolTip(tr("Write this placement to a file and make it the scenario's"));
  controls().addWidget(layer_);
  controls().addWidget(balance_, 1);
  controls().addWidget(balanceAll_);
  controls().addWidget(undo_);
  controls().addWidget(apply_);
  connect(layer_, &QSpinBox::valueChanged, this, [this](int layer) {
    showLayer();
    Selection selection = this->workbench().selection();
    selection.layer = layer;
    this->workbench().select(selection);
  });
  connect(board_, &PlacementBoard::moved, this, &PlacementView::changed);
  connect(board_, &PlacementBoard::picked, this, [this](int expert, int rank) {
    Selection selection = this->workbench().selection();
    selection.expert = expert;
    selection.gpu = rank;
    this->workbench().select(selection);
  });
  connect(undo_, &QPushButton::clicked, this, [this] {
    edited_ = experts_.slot_expert;
    showLayer();
  });
  connect(balanceAll_, &QPushButton::clicked, this, [this] {
    for (std::size_t row = 0; row < edited_.size(); ++row) {
      edited_[row] =
          longestFirst(edited_[row], experts_.expert_load[row], static_cast<int>(experts_.ranks));
    }
    showLayer();
  });
  connect(apply_, &QPushButton::clicked, this, [this] {
    const QString path =
        QFileDialog::getSaveFileName(this, tr("Write the placement"),
                                     QStringLiteral("placement.json"), tr("Placements (*.json)"));
    if (!path.isEmpty()) {
      try {
        applyTo(path.toStdString());
      } catch (const InputError& error) {
        QMessageBox::warning(this, tr("Placement"), text(error.what()));
      }
    }
  });
  connect(&workbench, &Workbench::picturesChanged, this, &View::refreshIfVisible);
  connect(&workbench, &Workbench::selectionChanged, this, [this] {
    board_->setMarkedExpert(this->workbench().selection().expert);
    const int layer = this->workbench().selection().layer;
    if (layer >= 0 && layer <= layer_->maximum() && layer != layer_->value()) {
      const QSignalBlocker block(layer_);
      layer_->setValue(layer);
      showLayer();
    }
  });
}

void PlacementView::refresh() {
  const Pictures* pictures = workbench().pictures();
  const bool any = pictures != nullptr && !pictures->experts.slot_expert.empty() &&
                   pictures->experts.ranks > 0 &&
                   static_cast<std::int64_t>(pictures->experts.slot_expert.front().size()) %
                           pictures->experts.ranks ==
                       0;
  for (QWidget* widget : {static_cast<QWidget*>(layer_), static_cast<QWidget*>(undo_),
                          static_cast<QWidget*>(balanceAll_), static_cast<QWidget*>(apply_)}) {
    widget->setEnabled(any);
  }
  if (!any) {
    board_->setPlacement({}, {}, 0);
    balance_->clear();
    table().setGrid({});
    shownNumber_ = pictures != nullptr ? pictures->number : 0;
    return;
  }
  if (shownNumber_ != pictures->number) {
    shownNumber_ = pictures->number;
    experts_ = pictures->experts;
    edited_ = experts_.slot_expert;
    const QSignalBlocker block(layer_);
    layer_->setRange(0, static_cast<int>(edited_.size()) - 1);
    layer_->setValue(std::max(0, workbench().selection().layer));
  }
  showLayer();
}

void PlacementView::showLayer() {
  if (edited_.empty()) {
    return;
  }
  const auto row = static_cast<std::size_t>(
      std::clamp(layer_->value(), 0, static_cast<int>(edited_.size()) - 1));
  board_->setPlacement(edited_[row], experts_.expert_load[row], static_cast<int>(experts_.ranks));
  board_->setMarkedExpert(workbench().selection().expert);
  changed();
}

void PlacementView::changed() {
  if (edited_.empty() || board_->numRanks() == 0) {
    return;
  }
  const auto row = static_cast<std::size_t>(
      std::clamp(layer_->value(), 0, static_cast<int>(edited_.size()) - 1));
  edited_[row] = board_->slotExpert();
  const double before = [&] {
    const std::vector<double> loads =
        rank_loads_of(experts_.slot_expert[row], experts_.expert_load[row], experts_.ranks);
    return *std::max_element(loads.begin(), loads.end());
  }();
  balance_->setText(tr("busiest GPU <b>%1 ×</b> the mean; in the scenario %2 ×")
                        .arg(board_->imbalance(), 0, 'f', 2)
                        .arg(before, 0, 'f', 2));
  Grid grid;
  grid.columns = {tr("GPU"), tr("Load over mean"), tr("Experts")};
  grid.rows = board_->numRanks();
  const int perRank = static_cast<int>(edited_[row].size()) / std::max(1, board_->numRanks());
  grid.cell = [placed = edited_[row], loads = board_->rankLoads(), perRank](
                  int r, int column) -> QVariant {
    if (column == 0) {
      return r;
    }
    if (column == 1) {
      return loads[static_cast<std::size_t>(r)];
    }
    QStringList names;
    for (int slot = r * perRank; slot < (r + 1) * perRank; ++slot) {
      names << QString::number(placed[static_cast<std::size_t>(slot)]);
    }
    return names.join(' ');
  };
  table().setGrid(std::move(grid));
}

void PlacementView::applyTo(const std::string& file) {
  Json table = Json::array();
  for (std::int64_t layer = 0; layer < experts_.num_moe_layers; ++layer) {
    const std::vector<int>& slots =
        edited_[std::min<std::size_t>(static_cast<std::size_t>(layer), edited_.size() - 1)];
    Json row = Json::array();
    for (const int expert : slots) {
      row.push_back(Json(expert));
    }
    table.push_back(std::move(row));
  }
  Json json = Json::object();
  json.set("slot_to_expert", std::move(table));
  json.set("gpus", Json(experts_.ranks));
  write_text_file(file, json.dump() + "\n");
  ScenarioSpec next = workbench().spec();
  next.placement.policy = PlacementKind::file;
  next.placement.file = file;
  if (edited_.front().size() != static_cast<std::size_t>(experts_.experts)) {
    next.placement.slots = static_cast<std::int64_t>(edited_.front().size());
  }
  workbench().setSpec(next, tr("apply placement"));
}

}  // namespace moesim::gui
