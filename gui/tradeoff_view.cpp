// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/tradeoff_view.h"

#include <QComboBox>
#include <algorithm>
#include <array>

#include "gui/text.h"
#include "gui/theme.h"

namespace moesim::gui {
namespace {

/// What people trade off, and the values that are tried.
struct Parameter {
  const char* name;
  const char* pointer;
  const char* values;
  bool isLogarithmic;
};
constexpr std::array<Parameter, 9> kParameters = {{
    {"batch per GPU", "/workload/batch_per_gpu", "1,2,4,8,16,32,64,96,128,192,256,384,512", true},
    {"requests in flight", "/workload/concurrency", "1,2,4,8,16,32,64,128,256,512,1024", true},
    {"context length", "/workload/context_tokens", "512,1024,2048,4096,8192,16384,32768,65536",
     true},
    {"skew of the routing", "/routing/sigma", "0,0.15,0.3,0.5,0.7,0.9,1.1,1.3", false},
    {"capacity factor", "/capacity/factor", "0.75,1,1.1,1.25,1.5,1.75,2,2.5,3", false},
    {"expert-parallel size", "/parallelism/expert", "1,2,4,8,16,32,64,128,256", true},
    {"number of experts", "/model_edits/experts", "8,16,32,64,128,256,512", true},
    {"experts per token", "/model_edits/top_k", "1,2,3,4,6,8,10,12,16", false},
    {"nodes", "/nodes", "1,2,4,8,16,32,64", true},
}};

struct Figure {
  const char* name;
  std::vector<const char*> columns;  ///< the first that a point has
  const char* unit;
  bool scalesFromZero;
};
const std::array<Figure, 9>& figures() {
  static const std::array<Figure, 9> kFigures = {{
      {"tokens/s/GPU", {"output_tokens_per_s_per_gpu", "input_tokens_per_s_per_gpu"}, "", true},
      {"goodput/s/GPU",
       {"goodput_tokens_per_s_per_gpu", "output_tokens_per_s_per_gpu",
        "input_tokens_per_s_per_gpu"},
       "",
       true},
      {"time per output token", {"tpot_s_p50", "tpot_s"}, "s", true},
      {"time to first token", {"ttft_s_p50", "ttft_s"}, "s", true},
      {"step time", {"step_s", "tpot_s"}, "s", true},
      {"$ per million tokens", {"usd_per_million_output_tokens"}, "usd", true},
      {"memory per GPU", {"memory_bytes"}, "bytes", true},
      {"dropped tokens", {"dropped_token_fraction"}, "fraction", true},
      {"busiest GPU over mean", {"rank_load_max_over_mean"}, "", false},
  }};
  return kFigures;
}

std::optional<double> valueOf(const StudyRow& row, const Figure& figure, const char* suffix = "") {
  for (const char* column : figure.columns) {
    const auto found = row.figures.find(std::string(column) + suffix);
    if (found != row.figures.end()) {
      return found->second;
    }
  }
  return std::nullopt;
}

}  // namespace

TradeoffView::TradeoffView(Workbench& workbench, QWidget* parent)
    : View(workbench, tr("Trade-offs"), tr("How does the answer change along one key?"), parent) {
  chart_ = new Chart;
  setPicture(chart_);
  metric_ = new QComboBox;
  for (const Figure& figure : figures()) {
    metric_->addItem(tr(figure.name));
  }
  metric_->setAccessibleName(tr("Figure on the vertical axis"));
  parameter_ = new QComboBox;
  for (const Parameter& parameter : kParameters) {
    parameter_->addItem(tr(parameter.name));
  }
  parameter_->setAccessibleName(tr("Key on the horizontal axis"));
  controls().addWidget(metric_);
  controls().addWidget(new QLabel(tr("over")));
  controls().addWidget(parameter_);
  study_ = new StudyBar;
  controls().addWidget(study_);
  controls().addStretch(1);
  connect(metric_, &QComboBox::currentIndexChanged, this, &TradeoffView::draw);
  connect(parameter_, &QComboBox::currentIndexChanged, this, &TradeoffView::start);
  connect(&workbench, &Workbench::answerChanged, this, &View::refreshIfVisible);
  connect(&workbench, &Workbench::picturesChanged, this, &View::refreshIfVisible);
  connect(study_, &StudyBar::row, this, &TradeoffView::take);
  connect(study_, &StudyBar::finished, this, &TradeoffView::draw);
  connect(study_, &StudyBar::failed, this, [this](const QString& why) { setNote(why); });
  connect(chart_, &Chart::pointClicked, this, [this](int line, int point) {
    if (line == 0 && !pointer_.empty()) {
      this->workbench().setField(
          pointer_, jsonNumber(chart_->spec().lines[0].x[static_cast<std::size_t>(point)]));
    }
  });
}

void TradeoffView::refresh() {
  const Answer* answer = workbench().answer();
  // The sweep waits for the pictures: the answer to the question itself comes first.
  if (answer != nullptr && answer->number == workbench().number() &&
      shownNumber_ != workbench().number() && workbench().pictures() != nullptr &&
      workbench().pictures()->number == workbench().number()) {
    start();
  }
}

void TradeoffView::start() {
  const Parameter& parameter = kParameters[static_cast<std::size_t>(parameter_->currentIndex())];
  pointer_ = parameter.pointer;
  rows_.clear();
  shownNumber_ = workbench().number();
  study_->start(workbench().spec(), workbench().file(), workbench().sharedCards(),
                {std::string(parameter.pointer) + "=" + parameter.values});
  setNote({});
}

void TradeoffView::take(const std::shared_ptr<const StudyRow>& row) {
  rows_.push_back(row);
  draw();
}

void TradeoffView::draw() {
  const Theme& t = theme();
  const Parameter& parameter = kParameters[static_cast<std::size_t>(parameter_->currentIndex())];
  const Figure& figure = figures()[static_cast<std::size_t>(metric_->currentIndex())];
  ChartSpec spec;
  spec.xTitle = tr(parameter.name);
  spec.yTitle = tr(figure.name);
  spec.yUnit = figure.unit;
  spec.isXLogarithmic = parameter.isLogarithmic;
  spec.startsAtZero = figure.scalesFromZero;
  ChartLine fits;
  fits.name = tr("fits");
  fits.color = t.series[0];
  ChartLine other;
  other.name = tr("does not fit");
  other.color = t.bad;
  other.hasLine = false;
  int pruned = 0;
  bool hasBand = true;
  for (const auto& row : rows_) {
    const std::optional<double> y = valueOf(*row, figure);
    if (!y || !row->values.front().is_number()) {
      ++pruned;
      continue;
    }
    const double x = row->values.front().as_number();
    ChartLine& line = row->isFeasible ? fits : other;
    line.x.push_back(x);
    line.y.push_back(*y);
    if (row->isFeasible) {
      const std::optional<double> low = valueOf(*row, figure, "_low");
      const std::optional<double> high = valueOf(*row, figure, "_high");
      hasBand = hasBand && low && high;
      fits.low.push_back(low.value_or(*y));
      fits.high.push_back(high.value_or(*y));
    }
  }
  if (!hasBand || fits.x.size() < 2) {
    fits.low.clear();
    fits.high.clear();
  }
  spec.lines.push_back(std::move(fits));
  if (!other.x.empty()) {
    spec.lines.push_back(std::move(other));
  }
  const Json* now = workbench().json().at_pointer(parameter.pointer);
  if (now != nullptr && now->is_number() && (!parameter.isLogarithmic || now->as_number() > 0)) {
    spec.marks.push_back({now->as_number(), true, tr("the scenario"), t.pin});
  }
  chart_->setSpec(std::move(spec));
  if (!isRunning() && pruned > 0) {
    QString why;
    for (const auto& row : rows_) {
      if (!valueOf(*row, figure) && !row->reasons.isEmpty()) {
        why = row->reasons.section('\n', 0, 0);
        break;
      }
    }
    setNote(tr("%n value(s) have no such figure here. ", nullptr, pruned) + why);
  }
  Grid grid;
  grid.columns = {tr(parameter.name), tr(figure.name), tr("Low"),
                  tr("High"),         tr("Fits"),      tr("Why not")};
  grid.rows = static_cast<int>(rows_.size());
  grid.cell = [rows = rows_, figure](int r, int column) -> QVariant {
    const StudyRow& row = *rows[static_cast<std::size_t>(r)];
    const auto number = [](const std::optional<double>& value) {
      return value ? QVariant(*value) : QVariant(QString());
    };
    switch (column) {
      case 0:
        return text(row.values.front().dump(-1));
      case 1:
        return number(valueOf(row, figure));
      case 2:
        return number(valueOf(row, figure, "_low"));
      case 3:
        return number(valueOf(row, figure, "_high"));
      case 4:
        return row.isFeasible ? QStringLiteral("yes") : QStringLiteral("no");
      default:
        return row.reasons;
    }
  };
  table().setGrid(std::move(grid));
}

void TradeoffView::paintPicture(QPainter& painter, const QSizeF& size) {
  chart_->paintTo(painter, size);
}

}  // namespace moesim::gui
