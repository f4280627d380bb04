// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/latency_view.h"

#include <QComboBox>
#include <algorithm>

#include "gui/text.h"
#include "gui/theme.h"

namespace moesim::gui {
namespace {

constexpr int kDistributions = 3;

}  // namespace

ChartLine cdfLine(const std::vector<double>& samples, std::size_t most) {
  ChartLine line;
  line.hasPoints = false;
  line.isStep = samples.size() < 300;
  const std::size_t count = std::min(samples.size(), most);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t at = count == samples.size() ? i : i * (samples.size() - 1) / (count - 1);
    line.x.push_back(samples[at]);
    line.y.push_back(static_cast<double>(at + 1) / static_cast<double>(samples.size()));
  }
  return line;
}

LatencyView::LatencyView(Workbench& workbench, QWidget* parent)
    : View(workbench, tr("Latency"), tr("How many requests wait how long?"), parent) {
  chart_ = new Chart;
  setPicture(chart_);
  what_ = new QComboBox;
  what_->addItem(tr("time to first token"));
  what_->addItem(tr("time per output token"));
  what_->addItem(tr("whole request"));
  what_->setAccessibleName(tr("What is shown"));
  what_->setSizeAdjustPolicy(QComboBox::AdjustToContents);
  controls().addWidget(what_);
  controls().addStretch(1);
  connect(what_, &QComboBox::activated, this, &View::refreshIfVisible);
  connect(&workbench, &Workbench::eventRunChanged, this, &View::refreshIfVisible);
  connect(&workbench, &Workbench::answerChanged, this, &View::refreshIfVisible);
}

void LatencyView::refresh() {
  const EventRun* run = workbench().eventRun().get();
  if (run == nullptr || run->latencies.ttft_s.empty()) {
    shownNumber_ = run != nullptr ? run->number : 0;
    chart_->setSpec({});
    table().setGrid({});
    const bool isServing = workbench().spec().workload.kind == WorkloadKind::serving;
    setNote(!isServing ? tr("One step has one latency. Set the workload's kind to serving (or open "
                            "a serving scenario) to see requests over time.")
            : run == nullptr ? tr("Requests are being run…")
                             : tr("No request was finished."));
    return;
  }
  shownNumber_ = run->number;
  QStringList names;
  for (const TimeSeries& series : run->result.series) {
    names << wordsOf(series.name) + tr(", over time");
  }
  const int chosen = what_->currentIndex();
  if (what_->count() != kDistributions + names.size()) {
    while (what_->count() > kDistributions) {
      what_->removeItem(what_->count() - 1);
    }
    what_->addItems(names);
    what_->setCurrentIndex(std::min(chosen, what_->count() - 1));
  }
  setNote(tr("%1 requests by event fidelity").arg(run->latencies.ttft_s.size()));
  const LatencySamples& samples = run->latencies;
  switch (what_->currentIndex()) {
    case 0:
      showSamples(samples.ttft_s);
      break;
    case 1:
      showSamples(samples.tpot_s);
      break;
    case 2:
      showSamples(samples.latency_s);
      break;
    default:
      showSeries(
          run->result,
          run->result.series[static_cast<std::size_t>(what_->currentIndex() - kDistributions)]
              .name);
  }
}

void LatencyView::showSamples(const std::vector<double>& now) {
  const Theme& t = theme();
  ChartSpec spec;
  spec.xTitle = what_->currentText();
  spec.xUnit = "s";
  spec.yTitle = tr("share of the requests");
  spec.yUnit = "fraction";
  spec.isXLogarithmic = !now.empty() && now.front() > 0 && now.back() > 20 * now.front();
  ChartLine line = cdfLine(now);
  line.color = t.series[0];
  spec.lines.push_back(line);
  const SloConfig& slo = workbench().spec().slo;
  const std::optional<double> promise = what_->currentIndex() == 0   ? slo.ttft_s
                                        : what_->currentIndex() == 1 ? slo.tpot_s
                                                                     : slo.latency_s;
  if (promise) {
    spec.marks.push_back({*promise, true, tr("promised %1").arg(valueText(*promise, "s")), t.good});
  }
  for (const auto& [share, name] : {std::pair{0.5, "p50"}, {0.9, "p90"}, {0.99, "p99"}}) {
    spec.marks.push_back({share, false, QString::fromLatin1(name), t.muted});
  }
  chart_->setSpec(std::move(spec));
  Grid grid;
  grid.columns = {what_->currentText() + tr(" (s)"), tr("Share of the requests")};
  grid.rows = static_cast<int>(now.size());
  grid.cell = [now](int row, int column) -> QVariant {
    return column == 0 ? now[static_cast<std::size_t>(row)]
                       : static_cast<double>(row + 1) / static_cast<double>(now.size());
  };
  table().setGrid(std::move(grid));
}

void LatencyView::showSeries(const SimulationResult& result, const std::string& name) {
  for (const TimeSeries& series : result.series) {
    if (series.name != name) {
      continue;
    }
    ChartSpec spec;
    spec.xTitle = tr("time of the run");
    spec.xUnit = "s";
    spec.yTitle = wordsOf(series.name);
    spec.yUnit = series.unit;
    ChartLine line;
    line.color = theme().series[0];
    line.hasPoints = false;
    for (std::size_t i = 0; i < series.values.size(); ++i) {
      line.x.push_back((static_cast<double>(i) + 0.5) * series.bucket_s);
      line.y.push_back(series.values[i]);
    }
    Grid grid;
    grid.columns = {tr("Time (s)"), wordsOf(series.name)};
    grid.rows = static_cast<int>(line.x.size());
    grid.cell = [line](int row, int column) -> QVariant {
      return column == 0 ? line.x[static_cast<std::size_t>(row)]
                         : line.y[static_cast<std::size_t>(row)];
    };
    spec.lines.push_back(std::move(line));
    chart_->setSpec(std::move(spec));
    table().setGrid(std::move(grid));
    setNote(text(series.doc));
  }
}

void LatencyView::paintPicture(QPainter& painter, const QSizeF& size) {
  chart_->paintTo(painter, size);
}

}  // namespace moesim::gui
