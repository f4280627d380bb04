// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/swap_view.h"

#include <QVBoxLayout>

#include "gui/text.h"

namespace moesim::gui {

SwapView::SwapView(Workbench& workbench, QWidget* parent)
    : View(workbench, tr("Hot swap"), tr("Which experts are on the GPU when they are needed?"),
           parent) {
  map_ = new Heatmap;
  map_->setAccessibleName(tr("Content of a GPU's expert cache, step by step"));
  setPicture(map_);
  words_ = new QLabel;
  words_->setWordWrap(true);
  controls().addWidget(words_, 1);
  connect(&workbench, &Workbench::layerPicturesChanged, this, &View::refreshIfVisible);
  connect(&workbench, &Workbench::answerChanged, this, &View::refreshIfVisible);
  map_->setTip([this](int row, int column) {
    const LayerPictures* layers = this->workbench().layerPictures();
    if (layers == nullptr) {
      return QString();
    }
    const CachePicture& cache = layers->cache;
    const int state = cache.states[static_cast<std::size_t>(column)][static_cast<std::size_t>(row)];
    const QString word = state == 0   ? tr("in host memory")
                         : state == 1 ? tr("on the GPU, not used")
                         : state == 2 ? tr("used, was on the GPU")
                                      : tr("missed: copied over the host link");
    return tr("<b>Expert %1</b>, step %2<br>%3")
        .arg(cache.experts[static_cast<std::size_t>(row)])
        .arg(column)
        .arg(word);
  });
}

void SwapView::refresh() {
  const LayerPictures* layers = workbench().layerPictures();
  const Answer* answer = workbench().answer();
  if (layers == nullptr || layers->cache.states.empty()) {
    map_->setData({});
    table().setGrid({});
    words_->clear();
    shownNumber_ = layers != nullptr ? layers->number : 0;
    setNote(workbench().spec().offload.experts == ExpertHome::gpu
                ? tr("Every expert stays on the GPU. Set /offload/experts to host or nvme, or open "
                     "mixtral_8x7b_4090_offload.")
                : tr("The cache is being run…"));
    return;
  }
  shownNumber_ = layers->number;
  const CachePicture& cache = layers->cache;
  HeatmapData cells;
  cells.rows = static_cast<int>(cache.experts.size());
  cells.columns = static_cast<int>(cache.states.size());
  cells.rowIds = cache.experts;
  cells.values.resize(static_cast<std::size_t>(cells.rows) *
                      static_cast<std::size_t>(cells.columns));
  for (std::size_t step = 0; step < cache.states.size(); ++step) {
    for (std::size_t e = 0; e < cache.experts.size(); ++e) {
      cells.values[e * cache.states.size() + step] = static_cast<float>(cache.states[step][e]);
    }
  }
  cells.high = 3;
  cells.lowText = tr("host");
  cells.highText = tr("missed");
  cells.rowTitle = tr("expert");
  cells.columnTitle = tr("step");
  map_->setData(std::move(cells));
  QStringList words;
  words << tr("Layer %1, first GPU: %2 slots for %3 experts, %4 hits over %5 steps.")
               .arg(cache.moe_layer)
               .arg(cache.slots)
               .arg(cache.experts.size())
               .arg(valueText(cache.hit_rate.back(), "fraction"))
               .arg(cache.states.size());
  if (answer != nullptr) {
    const auto hit = figure(answer->result, "expert_cache_hit_rate");
    const auto stall = figure(answer->result, "swap_stall_s");
    const auto bytes = figure(answer->result, "swap_bytes");
    if (hit && stall && bytes) {
      words << tr("All layers: hit rate <b>%1</b>, GPUs wait <b>%2</b> a step, %3 a step over each "
                  "host link.")
                   .arg(valueText(*hit, "fraction"), valueText(*stall, "s"),
                        valueText(*bytes, "bytes"));
    }
  }
  words_->setText(words.join(' '));
  setNote(
      tr("Dark: in host memory · purple: on the GPU · orange: used from the GPU · yellow: missed "
         "and copied"));
  Grid grid;
  grid.columns << tr("Step") << tr("Hit rate so far (fraction)");
  for (const int expert : cache.experts) {
    grid.columns << tr("Expert %1").arg(expert);
  }
  grid.rows = static_cast<int>(cache.states.size());
  grid.cell = [cache](int row, int column) -> QVariant {
    static const char* const kWords[] = {"host", "held", "hit", "missed"};
    if (column == 0) {
      return row;
    }
    if (column == 1) {
      return cache.hit_rate[static_cast<std::size_t>(row)];
    }
    return QString::fromLatin1(
        kWords[cache.states[static_cast<std::size_t>(row)][static_cast<std::size_t>(column - 2)]]);
  };
  table().setGrid(std::move(grid));
}

}  // namespace moesim::gui
