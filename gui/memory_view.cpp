// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/memory_view.h"

#include "gui/text.h"
#include "gui/theme.h"

namespace moesim::gui {

MemoryView::MemoryView(Workbench& workbench, QWidget* parent)
    : View(workbench, tr("Memory"), tr("What does the fullest GPU hold, and does it fit?"),
           parent) {
  bars_ = new Bars;
  bars_->setAccessibleName(tr("Memory of the fullest GPU by kind"));
  setPicture(bars_);
  verdict_ = new QLabel;
  verdict_->setWordWrap(true);
  controls().addWidget(verdict_, 1);
  connect(&workbench, &Workbench::answerChanged, this, &View::refreshIfVisible);
  connect(&workbench, &Workbench::picturesChanged, this, &View::refreshIfVisible);
  connect(&workbench, &Workbench::pinChanged, this, &View::refreshIfVisible);
}

void MemoryView::refresh() {
  const Answer* answer = workbench().answer();
  const NamedMetric* memory = answer != nullptr ? answer->result.find("memory_bytes") : nullptr;
  const auto* group = memory != nullptr ? std::get_if<MetricGroup>(&memory->value) : nullptr;
  if (group == nullptr) {
    bars_->setBars({}, tr("This answer says nothing about memory."));
    bars_->setLimit(0, {});
    verdict_->clear();
    table().setGrid({});
    shownNumber_ = answer != nullptr ? answer->number : 0;
    return;
  }
  shownNumber_ = answer->number;
  const NamedMetric* pinned =
      workbench().pinned() != nullptr ? workbench().pinned()->result.find("memory_bytes") : nullptr;
  const auto* before = pinned != nullptr ? std::get_if<MetricGroup>(&pinned->value) : nullptr;
  const Pictures* pictures = workbench().pictures();
  const double available = pictures != nullptr ? pictures->available_bytes : 0;
  const Theme& t = theme();
  std::vector<Bar> bars;
  double total = 0;
  double pinnedTotal = 0;
  std::size_t hue = 0;
  for (const auto& [name, part] : *group) {
    Bar bar;
    bar.name = wordsOf(name);
    bar.value = part.value;
    bar.color = t.series[hue++ % 7];
    bar.text = valueText(part.value, "bytes");
    bar.tip = tr("%1, basis: %2").arg(exactText(part.value), text(choice_name(part.basis)));
    if (before != nullptr) {
      for (const auto& [other, was] : *before) {
        if (other == name) {
          bar.pinned = was.value;
          bar.hasPinned = true;
          pinnedTotal += was.value;
        }
      }
    }
    total += part.value;
    bars.push_back(std::move(bar));
  }
  Bar sum;
  sum.name = tr("together");
  sum.value = total;
  sum.color = available > 0 && total > available ? t.bad : t.good;
  sum.text = valueText(total, "bytes");
  sum.hasPinned = before != nullptr;
  sum.pinned = pinnedTotal;
  bars.push_back(sum);
  bars_->setBars(std::move(bars));
  bars_->setLimit(available, available > 0
                                 ? tr("out of memory beyond %1").arg(valueText(available, "bytes"))
                                 : QString());
  QStringList words;
  for (const std::string& reason : answer->result.feasibility.reasons) {
    words << text(reason);
  }
  if (words.isEmpty() && available > 0) {
    words << tr("%1 of %2 are used; room for a cache of %3 tokens a replica")
                 .arg(valueText(total, "bytes"), valueText(available, "bytes"),
                      numberText(figure(answer->result, "kv_cache_tokens").value_or(0)));
  }
  verdict_->setText(words.join('\n'));
  Grid grid;
  grid.columns = {tr("Kind"), tr("Bytes"), tr("Basis")};
  grid.rows = static_cast<int>(group->size());
  grid.cell = [parts = *group](int row, int column) -> QVariant {
    const auto& [name, part] = parts[static_cast<std::size_t>(row)];
    return column == 0   ? QVariant(wordsOf(name))
           : column == 1 ? QVariant(part.value)
                         : QVariant(text(choice_name(part.basis)));
  };
  table().setGrid(std::move(grid));
}

}  // namespace moesim::gui
