// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/cost_view.h"

#include <QDoubleSpinBox>
#include <QVBoxLayout>
#include <cmath>

#include "gui/text.h"
#include "gui/theme.h"

namespace moesim::gui {

CostView::CostView(Workbench& workbench, QWidget* parent)
    : View(workbench, tr("Cost"), tr("What does a million tokens cost?"), parent) {
  auto* page = new QWidget;
  auto* layout = new QVBoxLayout(page);
  layout->setContentsMargins(0, 0, 0, 0);
  words_ = new QLabel;
  words_->setWordWrap(true);
  words_->setTextInteractionFlags(Qt::TextSelectableByMouse);
  layout->addWidget(words_);
  chart_ = new Chart;
  layout->addWidget(chart_, 1);
  setPicture(page);
  price_ = new QDoubleSpinBox;
  price_->setRange(0.01, 1000);
  price_->setPrefix(QStringLiteral("$ "));
  price_->setDecimals(2);
  price_->setSingleStep(0.1);
  price_->setAccessibleName(tr("Price of a GPU hour in dollars"));
  busy_ = new QDoubleSpinBox;
  busy_->setRange(1, 100);
  busy_->setValue(100);
  busy_->setSuffix(QStringLiteral(" %"));
  busy_->setDecimals(0);
  busy_->setAccessibleName(tr("Share of the time in which the deployment is busy"));
  controls().addWidget(new QLabel(tr("A GPU hour costs")));
  controls().addWidget(price_);
  controls().addWidget(new QLabel(tr("and is busy")));
  controls().addWidget(busy_);
  controls().addStretch(1);
  connect(price_, &QDoubleSpinBox::valueChanged, this, [this] {
    isOwnPrice_ = true;
    refreshIfVisible();
  });
  connect(busy_, &QDoubleSpinBox::valueChanged, this, &View::refreshIfVisible);
  connect(&workbench, &Workbench::answerChanged, this, &View::refreshIfVisible);
  connect(&workbench, &Workbench::picturesChanged, this, &View::refreshIfVisible);
}

void CostView::refresh() {
  const Answer* answer = workbench().answer();
  const Pictures* pictures = workbench().pictures();
  if (answer == nullptr || pictures == nullptr) {
    words_->setText(tr("No answer yet."));
    chart_->setSpec({});
    table().setGrid({});
    shownNumber_ = 0;
    return;
  }
  shownNumber_ = answer->number;
  if (pictures->usd_per_gpu_hour != profilePrice_) {
    profilePrice_ = pictures->usd_per_gpu_hour;
    isOwnPrice_ = false;
  }
  if (!isOwnPrice_ && profilePrice_ > 0) {
    const QSignalBlocker block(price_);
    price_->setValue(profilePrice_);
  }
  const double hour = price_->value();
  const double busy = busy_->value() / 100;
  const auto perMillion = [&](double tokensPerGpu) {
    return tokensPerGpu > 0 ? hour / 3600 / tokensPerGpu / busy * 1e6 : NAN;
  };
  const SimulationResult& result = answer->result;
  const std::optional<double> out = figure(result, "output_tokens_per_s_per_gpu");
  const std::optional<double> in = figure(result, "input_tokens_per_s_per_gpu");
  QStringList lines;
  if (const std::optional<double> own = figure(result, "usd_per_million_output_tokens");
      own && profilePrice_ > 0) {
    // The result's own figure, scaled: what it counts stays what the program counts.
    lines << tr("<b>%1</b> per million output tokens (%2 at the profile's price of %3 an hour)")
                 .arg(valueText(*own * hour / profilePrice_ / busy, "usd"), valueText(*own, "usd"),
                      valueText(profilePrice_, "usd"));
  } else if (out || in) {
    lines << tr("<b>%1</b> per million %2 tokens")
                 .arg(valueText(perMillion(out ? *out : *in), "usd"),
                      out ? tr("output") : tr("prompt"));
  }
  lines << tr("The deployment of %1 GPUs costs <b>%2</b> an hour, %3 a month.")
               .arg(pictures->gpus)
               .arg(valueText(hour * static_cast<double>(pictures->gpus), "usd"),
                    valueText(hour * static_cast<double>(pictures->gpus) * 730, "usd"));
  if (const std::optional<double> joules = figure(result, "joules_per_output_token")) {
    lines << tr("%1 J an output token: %2 kWh a million tokens, at the board's power limit.")
                 .arg(numberText(*joules), numberText(*joules * 1e6 / 3.6e6));
  }
  if (profilePrice_ <= 0) {
    lines << tr("The profile names no on-demand price: set one above.");
  }
  words_->setText(lines.join("<br>"));
  const Theme& t = theme();
  ChartSpec spec;
  spec.xTitle = tr("batch per GPU");
  spec.yTitle = tr("$ per million tokens");
  spec.yUnit = "usd";
  spec.isXLogarithmic = true;
  spec.isYLogarithmic = true;
  ChartLine fits;
  fits.name = tr("fits");
  fits.color = t.series[0];
  ChartLine tooBig;
  tooBig.name = tr("out of memory");
  tooBig.color = t.bad;
  tooBig.hasLine = false;
  for (const BatchPoint& point : pictures->details.batches) {
    ChartLine& line = point.fits ? fits : tooBig;
    line.x.push_back(point.batch_per_gpu);
    line.y.push_back(perMillion(point.tokens_per_s_per_gpu));
  }
  if (!fits.x.empty() || !tooBig.x.empty()) {
    spec.lines.push_back(std::move(fits));
    if (!tooBig.x.empty()) {
      spec.lines.push_back(std::move(tooBig));
    }
    spec.marks.push_back(
        {workbench().spec().workload.batch_per_gpu, true, tr("the scenario"), t.pin});
    setNote({});
  } else {
    setNote(tr("The curve over batches is drawn for decode steps; use Trade-offs for others."));
  }
  chart_->setSpec(std::move(spec));
  Grid grid;
  grid.columns = {tr("Batch per GPU"), tr("tokens/s/GPU"), tr("$ per million tokens"), tr("Fits")};
  grid.rows = static_cast<int>(pictures->details.batches.size());
  grid.cell = [batches = pictures->details.batches, hour, busy](int row, int column) -> QVariant {
    const BatchPoint& point = batches[static_cast<std::size_t>(row)];
    switch (column) {
      case 0:
        return point.batch_per_gpu;
      case 1:
        return point.tokens_per_s_per_gpu;
      case 2:
        return hour / 3600 / point.tokens_per_s_per_gpu / busy * 1e6;
      default:
        return point.fits ? QStringLiteral("yes") : QStringLiteral("no");
    }
  };
  table().setGrid(std::move(grid));
}

void CostView::paintPicture(QPainter& painter, const QSizeF& size) {
  chart_->paintTo(painter, size);
}

}  // namespace moesim::gui
