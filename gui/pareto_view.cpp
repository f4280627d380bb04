// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/pareto_view.h"

#include <sqlite3.h>

#include <QComboBox>
#include <algorithm>
#include <array>

#include "gui/text.h"
#include "gui/theme.h"
#include "sim/study/sweep_table.h"

namespace moesim::gui {
namespace {

struct Second {
  const char* name;
  const char* pointer;
  const char* values;
};
constexpr std::array<Second, 5> kSecond = {{
    {"alone", "", ""},
    {"and nodes", "/nodes", "1,2,4,8,16,32"},
    {"and tensor ways", "/parallelism/tensor", "1,2,4,8"},
    {"and overlap", "/communication/overlap", "serial,shared_expert,two_batch"},
    {"and cache format", "/precision/kv_cache", "bf16,fp8"},
}};

std::optional<double> first(const std::map<std::string, double>& figures,
                            std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const auto found = figures.find(name);
    if (found != figures.end()) {
      return found->second;
    }
  }
  return std::nullopt;
}

std::optional<ParetoPoint> pointOf(const std::map<std::string, double>& figures) {
  const std::optional<double> rate =
      first(figures, {"output_tokens_per_s_per_gpu", "input_tokens_per_s_per_gpu"});
  const std::optional<double> time =
      first(figures, {"tpot_s_p50", "tpot_s", "ttft_s_p50", "ttft_s"});
  if (!rate || !time || *time <= 0) {
    return std::nullopt;
  }
  ParetoPoint point;
  point.perGpu = *rate;
  point.perUser = 1 / *time;
  return point;
}

}  // namespace

ParetoView::ParetoView(Workbench& workbench, QWidget* parent)
    : View(workbench, tr("Pareto"), tr("How much throughput does speed for each user cost?"),
           parent) {
  chart_ = new Chart;
  setPicture(chart_);
  controls().addWidget(new QLabel(tr("Vary batch (or load)")));
  second_ = new QComboBox;
  for (const Second& second : kSecond) {
    second_->addItem(tr(second.name));
  }
  second_->setAccessibleName(tr("Second key of the sweep"));
  controls().addWidget(second_);
  study_ = new StudyBar;
  controls().addWidget(study_);
  controls().addStretch(1);
  connect(second_, &QComboBox::currentIndexChanged, this, &ParetoView::start);
  connect(&workbench, &Workbench::picturesChanged, this, &View::refreshIfVisible);
  connect(study_, &StudyBar::row, this, &ParetoView::take);
  connect(study_, &StudyBar::finished, this, &ParetoView::draw);
  connect(study_, &StudyBar::failed, this, [this](const QString& why) { setNote(why); });
  connect(chart_, &Chart::pointClicked, this, [this](int line, int point) {
    load(drawn_[static_cast<std::size_t>(line)][static_cast<std::size_t>(point)]);
  });
  chart_->setTip([this](int line, int point) {
    const ParetoPoint& at = points_[static_cast<std::size_t>(
        drawn_[static_cast<std::size_t>(line)][static_cast<std::size_t>(point)])];
    return tr("<b>%1</b><br>%2 tokens/s/GPU<br>%3 tokens/s/user%4<br><i>click to load</i>")
        .arg(at.name.toHtmlEscaped(), numberText(at.perGpu), numberText(at.perUser),
             at.fits ? QString() : tr("<br>does not fit"));
  });
}

void ParetoView::refresh() {
  const Pictures* pictures = workbench().pictures();
  if (pictures != nullptr && pictures->number == workbench().number() &&
      shownNumber_ != workbench().number()) {
    start();
  }
}

void ParetoView::start() {
  const ScenarioSpec& spec = workbench().spec();
  std::vector<std::string> varied;
  if (spec.workload.kind == WorkloadKind::step) {
    varied.push_back("/workload/batch_per_gpu=1,2,4,8,16,32,64,96,128,192,256,384,512");
  } else if (spec.workload.requests_per_s) {
    varied.push_back(
        "/workload/requests_per_s=log:" + number_text(*spec.workload.requests_per_s / 16) + ":" +
        number_text(*spec.workload.requests_per_s * 2) + ":11");
  } else {
    varied.push_back("/workload/concurrency=1,2,4,8,16,32,64,128,256,512,1024");
  }
  const Second& second = kSecond[static_cast<std::size_t>(second_->currentIndex())];
  ScenarioSpec base = spec;
  if (*second.pointer != '\0') {
    varied.insert(varied.begin(), std::string(second.pointer) + "=" + second.values);
    if (std::string(second.pointer) == "/nodes") {
      base.parallelism.expert.reset();  // follows the number of GPUs
      base.parallelism.data.reset();
    }
  }
  pointers_.clear();
  for (const std::string& axis : varied) {
    pointers_.push_back(axis.substr(0, axis.find('=')));
  }
  points_.clear();
  isForeign_ = false;
  shownNumber_ = workbench().number();
  study_->start(base, workbench().file(), workbench().sharedCards(), varied);
  setNote({});
}

void ParetoView::take(const std::shared_ptr<const StudyRow>& row) {
  if (std::optional<ParetoPoint> point = pointOf(row->figures)) {
    point->fits = row->isFeasible;
    QStringList words;
    for (std::size_t i = 0; i < pointers_.size(); ++i) {
      const Json& value = row->values[i];
      words << QStringLiteral("%1 %2").arg(
          titleOf(pointers_[i].substr(pointers_[i].rfind('/') + 1)),
          value.is_number() ? numberText(value.as_number()) : text(value.dump(-1)));
      point->changes.emplace_back(pointers_[i], value);
      if (pointers_[i] == "/nodes") {
        point->changes.emplace_back("/parallelism/expert", Json());
        point->changes.emplace_back("/parallelism/data", Json());
      }
    }
    point->name = words.join(", ");
    points_.push_back(std::move(*point));
    draw();
  }
}

void ParetoView::draw() {
  const Theme& t = theme();
  ChartSpec spec;
  spec.xTitle = tr("tokens/s/user");
  spec.yTitle = tr("tokens/s/GPU");
  drawn_.assign(3, {});
  std::vector<double> users;
  std::vector<double> gpus;
  std::vector<int> which;
  for (int i = 0; i < static_cast<int>(points_.size()); ++i) {
    const ParetoPoint& point = points_[static_cast<std::size_t>(i)];
    drawn_[point.fits ? 1U : 2U].push_back(i);
    if (point.fits) {
      users.push_back(point.perUser);
      gpus.push_back(point.perGpu);
      which.push_back(i);
    }
  }
  for (const std::size_t index : pareto_front(users, gpus)) {
    drawn_[0].push_back(which[index]);
  }
  const std::array<std::pair<QString, QColor>, 3> kStyles = {
      {{tr("front"), t.series[1]}, {tr("deployments"), t.series[0]}, {tr("does not fit"), t.bad}}};
  for (const std::size_t l : {std::size_t{0}, std::size_t{1}, std::size_t{2}}) {
    ChartLine line;
    line.name = drawn_[l].empty() ? QString() : kStyles[l].first;
    line.color = kStyles[l].second;
    line.hasLine = l == 0;
    line.hasPoints = true;
    for (const int i : drawn_[l]) {
      line.x.push_back(points_[static_cast<std::size_t>(i)].perUser);
      line.y.push_back(points_[static_cast<std::size_t>(i)].perGpu);
    }
    spec.lines.push_back(std::move(line));
  }
  if (const std::optional<double> promise = workbench().spec().slo.tpot_s) {
    spec.marks.push_back(
        {1 / *promise, true, tr("promised TPOT %1").arg(valueText(*promise, "s")), t.good});
  }
  const Answer* answer = workbench().answer();
  if (answer != nullptr && !isForeign_) {
    std::map<std::string, double> figures;
    for (const char* name :
         {"output_tokens_per_s_per_gpu", "input_tokens_per_s_per_gpu", "tpot_s", "ttft_s"}) {
      if (const std::optional<double> value = figure(answer->result, name)) {
        figures[name] = *value;
      }
    }
    if (const std::optional<ParetoPoint> here = pointOf(figures)) {
      spec.marks.push_back({here->perUser, true, tr("the scenario"), t.pin});
    }
  }
  chart_->setSpec(std::move(spec));
  Grid grid;
  grid.columns = {tr("Deployment"), tr("tokens/s/user"), tr("tokens/s/GPU"), tr("Fits"),
                  tr("On the front")};
  grid.rows = static_cast<int>(points_.size());
  grid.cell = [points = points_, front = drawn_[0]](int row, int column) -> QVariant {
    const ParetoPoint& point = points[static_cast<std::size_t>(row)];
    switch (column) {
      case 0:
        return point.name;
      case 1:
        return point.perUser;
      case 2:
        return point.perGpu;
      case 3:
        return point.fits ? QStringLiteral("yes") : QStringLiteral("no");
      default:
        return std::find(front.begin(), front.end(), row) != front.end() ? QStringLiteral("yes")
                                                                         : QStringLiteral("no");
    }
  };
  table().setGrid(std::move(grid));
}

void ParetoView::load(int index) {
  const ParetoPoint& point = points_[static_cast<std::size_t>(index)];
  ScenarioSpec next = workbench().spec();
  Diagnostics diagnostics;
  if (!point.scenario.empty()) {
    next =
        read_object<ScenarioSpec>(parse_json(point.scenario, "database"), "database", diagnostics);
  }
  for (const auto& [pointer, value] : point.changes) {
    compile_setter(fields_of(static_cast<const ScenarioSpec*>(nullptr)), pointer, "")
        .apply(&next, value, "", diagnostics);
  }
  if (diagnostics.empty()) {
    workbench().setSpec(next, tr("load %1").arg(point.name));
  }
}

void ParetoView::showDatabase(const QString& path) {
  sqlite3* raw = nullptr;
  const std::string file = path.toStdString();
  if (sqlite3_open_v2(file.c_str(), &raw, SQLITE_OPEN_READONLY, nullptr) != SQLITE_OK) {
    sqlite3_close(raw);
    throw InputError(file, "", "cannot be opened", "name a database that moesim sweep wrote");
  }
  const std::unique_ptr<sqlite3, int (*)(sqlite3*)> database(raw, &sqlite3_close);
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(raw, "SELECT * FROM results LIMIT 200000", -1, &statement, nullptr) !=
      SQLITE_OK) {
    throw InputError(file, "", "holds no table \"results\"",
                     "name a database that moesim sweep --db wrote");
  }
  const std::unique_ptr<sqlite3_stmt, int (*)(sqlite3_stmt*)> rows(statement, &sqlite3_finalize);
  std::vector<ParetoPoint> points;
  while (sqlite3_step(statement) == SQLITE_ROW) {
    std::map<std::string, double> figures;
    std::string scenario;
    bool fits = true;
    for (int c = 0; c < sqlite3_column_count(statement); ++c) {
      const std::string name = sqlite3_column_name(statement, c);
      if (name == "scenario" && sqlite3_column_type(statement, c) == SQLITE_TEXT) {
        scenario = reinterpret_cast<const char*>(sqlite3_column_text(statement, c));
      } else if (name == "feasible") {
        fits = sqlite3_column_int(statement, c) != 0;
      } else if (sqlite3_column_type(statement, c) == SQLITE_FLOAT ||
                 sqlite3_column_type(statement, c) == SQLITE_INTEGER) {
        figures[name] = sqlite3_column_double(statement, c);
      }
    }
    if (std::optional<ParetoPoint> point = pointOf(figures)) {
      point->fits = fits;
      point->scenario = scenario;
      point->name = tr("row %1").arg(points.size() + 1);
      points.push_back(std::move(*point));
    }
  }
  study_->cancel();
  isForeign_ = true;
  shownNumber_ = workbench().number();
  points_ = std::move(points);
  setNote(tr("%1 points of %2; changing the scenario sweeps around it again.")
              .arg(points_.size())
              .arg(path.section('/', -1)));
  draw();
}

void ParetoView::paintPicture(QPainter& painter, const QSizeF& size) {
  chart_->paintTo(painter, size);
}

}  // namespace moesim::gui
