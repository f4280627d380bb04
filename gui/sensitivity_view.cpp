// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/sensitivity_view.h"

#include <QComboBox>
#include <algorithm>
#include <cmath>

#include "gui/text.h"
#include "gui/theme.h"

namespace moesim::gui {
namespace {

constexpr std::size_t kMostBars = 24;

}  // namespace

SensitivityView::SensitivityView(Workbench& workbench, QWidget* parent)
    : View(workbench, tr("Sensitivity"), tr("Which numbers does this answer hang on?"), parent) {
  bars_ = new Bars;
  bars_->setAccessibleName(tr("What the answer hangs on"));
  setPicture(bars_);
  what_ = new QComboBox;
  what_->addItem(tr("each parameter 10% larger"));
  what_->addItem(tr("what the 80% band is made of"));
  what_->addItem(tr("what the step consists of"));
  what_->setAccessibleName(tr("What is shown"));
  controls().addWidget(what_);
  controls().addStretch(1);
  connect(what_, &QComboBox::currentIndexChanged, this, &View::refreshIfVisible);
  connect(&workbench, &Workbench::picturesChanged, this, &View::refreshIfVisible);
}

void SensitivityView::refresh() {
  const Pictures* pictures = workbench().pictures();
  if (pictures == nullptr || !pictures->explanation) {
    bars_->setBars({}, pictures == nullptr
                           ? tr("Computing…")
                           : tr("This answer cannot be explained. ") + text(pictures->problem));
    table().setGrid({});
    shownNumber_ = pictures != nullptr ? pictures->number : 0;
    return;
  }
  shownNumber_ = pictures->number;
  const Explanation& why = *pictures->explanation;
  const Theme& t = theme();
  std::vector<Bar> bars;
  Grid grid;
  if (what_->currentIndex() == 0) {
    for (const Influence& influence : why.influences) {
      if (bars.size() >= kMostBars) {
        break;
      }
      Bar bar;
      const double change = why.step_s > 0 ? influence.change_s / why.step_s * 100 : 0;
      // "h800_sxm.trtllm-1.3.0rc20 gemm fp8_block": the set of curves stands in the tip.
      std::string where = influence.where;
      const std::size_t space = where.find(' ');
      if (space != std::string::npos && where.find('.') < space) {
        where = where.substr(space + 1);
      }
      bar.name = wordsOf(influence.parameter.empty() ? where : where + " " + influence.parameter);
      bar.value = change;
      bar.opposite = -change;
      bar.color = change > 0 ? t.bad : t.good;
      bar.text = QStringLiteral("%1%2% of the step")
                     .arg(change >= 0 ? "+" : "−")
                     .arg(std::abs(change), 0, 'f', 2);
      bar.tip =
          QStringLiteral("<b>%1</b>").arg(text(influence.where).toHtmlEscaped()) +
          tr("<p>%1</p>now %2<br>%3<br>10% larger: %4 a step; the pale bar is 10% smaller, to "
             "first order")
              .arg(text(influence.doc).toHtmlEscaped(), exactText(influence.value),
                   text(influence.origin).toHtmlEscaped(),
                   (influence.change_s >= 0 ? QStringLiteral("+") : QStringLiteral("−")) +
                       valueText(std::abs(influence.change_s), "s"));
      bars.push_back(std::move(bar));
    }
    grid.columns = {tr("Where"),  tr("Parameter"), tr("Value"), tr("Change of the step (s)"),
                    tr("Origin"), tr("Meaning")};
    grid.rows = static_cast<int>(why.influences.size());
    grid.cell = [rows = why.influences](int r, int column) -> QVariant {
      const Influence& row = rows[static_cast<std::size_t>(r)];
      switch (column) {
        case 0:
          return text(row.where);
        case 1:
          return text(row.parameter);
        case 2:
          return row.value;
        case 3:
          return row.change_s;
        case 4:
          return text(row.origin);
        default:
          return text(row.doc);
      }
    };
  } else if (what_->currentIndex() == 1) {
    for (const BandPart& part : why.band) {
      if (bars.size() >= kMostBars) {
        break;
      }
      Bar bar;
      bar.name = text(part.source);
      bar.value = part.half_width_s;
      bar.color = t.series[6];
      bar.text =
          tr("±%1 of %2").arg(valueText(part.half_width_s, "s"), valueText(part.exposed_s, "s"));
      bars.push_back(std::move(bar));
    }
    grid.columns = {tr("Source of error"), tr("Half width (s)"), tr("Exposed (s)")};
    grid.rows = static_cast<int>(why.band.size());
    grid.cell = [rows = why.band](int r, int column) -> QVariant {
      const BandPart& row = rows[static_cast<std::size_t>(r)];
      return column == 0   ? QVariant(text(row.source))
             : column == 1 ? QVariant(row.half_width_s)
                           : QVariant(row.exposed_s);
    };
  } else {
    for (const auto& [kind, seconds] : why.critical_path) {
      Bar bar;
      bar.name = wordsOf(kind);
      bar.value = seconds;
      bar.color = kindColor(text(kind));
      bar.text = valueText(seconds, "s");
      bars.push_back(std::move(bar));
    }
    grid.columns = {tr("Kind"), tr("Exposed (s)")};
    grid.rows = static_cast<int>(why.critical_path.size());
    grid.cell = [rows = why.critical_path](int r, int column) -> QVariant {
      const auto& row = rows[static_cast<std::size_t>(r)];
      return column == 0 ? QVariant(wordsOf(row.first)) : QVariant(row.second);
    };
  }
  bars_->setBars(std::move(bars), tr("Nothing to show."));
  table().setGrid(std::move(grid));
  QString note = why.subject.empty() ? QString() : text(why.subject) + ". ";
  note +=
      tr("Step %1, 80% band %2 – %3")
          .arg(valueText(why.step_s, "s"), valueText(why.low_s, "s"), valueText(why.high_s, "s"));
  if (why.hidden_exchange_s > 0) {
    note +=
        tr("; %1 of exchange is hidden behind compute").arg(valueText(why.hidden_exchange_s, "s"));
  }
  setNote(note);
}

}  // namespace moesim::gui
