// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/overview.h"

#include <QSplitter>
#include <QTextBrowser>
#include <QVBoxLayout>
#include <algorithm>
#include <map>

#include "gui/text.h"
#include "gui/theme.h"
#include "sim/report/report.h"
#include "sim/study/sweep_space.h"

namespace moesim::gui {
namespace {

QWidget* titled(const QString& title, QWidget* body) {
  auto* box = new QWidget;
  auto* layout = new QVBoxLayout(box);
  layout->setContentsMargins(0, 0, 0, 0);
  layout->setSpacing(2);
  auto* label = new QLabel(QStringLiteral("<b>%1</b>").arg(title));
  label->setBuddy(body);
  layout->addWidget(label);
  layout->addWidget(body, 1);
  return box;
}

struct FigureRow {
  QString name;
  std::string unit;
  Metric metric;
  std::optional<double> pinned;
  QString doc;
};

void addRow(std::vector<FigureRow>& rows, const std::string& name, const NamedMetric& of,
            const Metric& metric, const std::map<std::string, double>& pinned) {
  const auto before = pinned.find(name);
  rows.push_back({text(name), of.unit, metric,
                  before != pinned.end() ? std::optional<double>(before->second) : std::nullopt,
                  text(of.doc)});
}

/// Calls `add(name, metric)` for every plain figure, names as in JSON pointers.
template <class Add>
void eachFigure(const NamedMetric& named, Add add) {
  if (const Metric* plain = std::get_if<Metric>(&named.value)) {
    add(named.name, *plain);
  } else if (const Distribution* spread = std::get_if<Distribution>(&named.value)) {
    add(named.name + ".mean", spread->mean);
    add(named.name + ".p50", spread->p50);
    add(named.name + ".p90", spread->p90);
    add(named.name + ".p99", spread->p99);
  } else {
    for (const auto& [part, metric] : std::get<MetricGroup>(named.value)) {
      add(named.name + "." + part, metric);
    }
  }
}

}  // namespace

Grid figuresGrid(const SimulationResult& result, const SimulationResult* pinned) {
  std::map<std::string, double> before;
  if (pinned != nullptr) {
    for (const NamedMetric& named : pinned->metrics) {
      eachFigure(named, [&before](const std::string& name, const Metric& metric) {
        before[name] = metric.value;
      });
    }
  }
  std::vector<FigureRow> rows;
  for (const NamedMetric& named : result.metrics) {
    eachFigure(named, [&](const std::string& name, const Metric& metric) {
      addRow(rows, name, named, metric, before);
    });
  }
  Grid grid;
  grid.columns = {"Figure", "Value", "Unit", "Low", "High", "Pinned", "Change", "Basis", "Meaning"};
  grid.rows = static_cast<int>(rows.size());
  grid.cell = [rows](int r, int column) -> QVariant {
    const FigureRow& row = rows[static_cast<std::size_t>(r)];
    const auto number = [](const std::optional<double>& value) {
      return value ? QVariant(*value) : QVariant(QString());
    };
    switch (column) {
      case 0:
        return row.name;
      case 1:
        return row.metric.value;
      case 2:
        return text(row.unit);
      case 3:
        return number(row.metric.low);
      case 4:
        return number(row.metric.high);
      case 5:
        return number(row.pinned);
      case 6:
        return changeText(row.metric.value, row.pinned);
      case 7:
        return text(choice_name(row.metric.basis)) +
               (row.metric.extrapolated ? QStringLiteral(", extrapolated") : QString());
      default:
        return row.doc;
    }
  };
  return grid;
}

Overview::Overview(Workbench& workbench, QWidget* parent)
    : View(workbench, tr("Overview"), tr("Where does the time go, and what would change it?"),
           parent) {
  breakdown_ = new Bars;
  breakdown_->setAccessibleName(tr("Where the step goes, by kind of work"));
  whatIfs_ = new Bars;
  whatIfs_->setAccessibleName(tr("What would change the answer; Enter takes the change"));
  words_ = new QTextBrowser;
  words_->setAccessibleName(tr("What stands out"));
  words_->setFrameShape(QFrame::NoFrame);
  words_->setOpenLinks(false);
  auto* left = new QSplitter(Qt::Vertical);
  left->addWidget(titled(tr("Where the step goes"), breakdown_));
  left->addWidget(titled(tr("What stands out"), words_));
  left->setChildrenCollapsible(false);
  left->setSizes({330, 170});
  left->setHandleWidth(1);
  auto* splitter = new QSplitter;
  splitter->setHandleWidth(1);
  splitter->addWidget(left);
  splitter->addWidget(titled(tr("What would change it (click to take it)"), whatIfs_));
  splitter->setChildrenCollapsible(false);
  splitter->setSizes({500, 480});
  setPicture(splitter);
  connect(&workbench, &Workbench::answerChanged, this, &View::refreshIfVisible);
  connect(&workbench, &Workbench::pinChanged, this, &View::refreshIfVisible);
  connect(whatIfs_, &Bars::picked, this, [this](int row) {
    const std::string& change = changes_[static_cast<std::size_t>(row)];
    const std::size_t equals = change.find(" = ");
    if (equals == std::string::npos) {
      return;
    }
    try {
      const std::string pointer = change.substr(0, equals);
      const Setter setter =
          compile_setter(fields_of(static_cast<const ScenarioSpec*>(nullptr)), pointer, "");
      this->workbench().setField(pointer, field_value(change.substr(equals + 3), setter.field()));
    } catch (const InputError&) {
      // A change of several keys is a sentence, not an edit.
    }
  });
}

void Overview::showBreakdown(const SimulationResult& result) {
  const Answer* pinned = workbench().pinned();
  double total = 0;
  for (const BreakdownRow& row : result.breakdown) {
    total += row.seconds;
  }
  std::vector<Bar> bars;
  for (const BreakdownRow& row : result.breakdown) {
    Bar bar;
    bar.name = wordsOf(row.kind);
    bar.value = row.seconds;
    bar.color = kindColor(text(row.kind));
    bar.text = QStringLiteral("%1  %2%")
                   .arg(valueText(row.seconds, "s"))
                   .arg(total > 0 ? 100 * row.seconds / total : 0, 0, 'f', 1);
    bar.tip = text(row.doc);
    if (pinned != nullptr) {
      for (const BreakdownRow& before : pinned->result.breakdown) {
        if (before.kind == row.kind) {
          bar.pinned = before.seconds;
          bar.hasPinned = true;
        }
      }
    }
    bars.push_back(std::move(bar));
  }
  breakdown_->setBars(std::move(bars), tr("This answer has no breakdown."));
}

void Overview::showWhatIfs(const SimulationResult& result) {
  const Theme& t = theme();
  std::vector<Bar> bars;
  changes_.clear();
  for (const WhatIf& alternative : result.what_ifs) {
    Bar bar;
    const double base = result.what_if_base;
    const double change = base > 0 ? (alternative.tokens_per_s_per_gpu / base - 1) * 100 : 0;
    // The last part of the pointer is enough to read; the tip has all of it.
    const std::size_t part = alternative.change.rfind('/', alternative.change.find(" = "));
    bar.name = alternative.change.starts_with("/") ? wordsOf(alternative.change.substr(part + 1))
                                                   : text(alternative.change);
    bar.value = change;
    bar.color = change >= 0 ? t.good : t.bad;
    bar.isMuted = !alternative.feasible;
    bar.text =
        QStringLiteral("%1%2%").arg(change >= 0 ? "+" : "−").arg(std::abs(change), 0, 'f', 0);
    if (!alternative.feasible) {
      bar.text += tr("  out of memory");
    }
    bar.tip =
        tr("<p>%1</p>%2 tokens/s/GPU, %3 a step")
            .arg(text(alternative.doc).toHtmlEscaped(),
                 numberText(alternative.tokens_per_s_per_gpu), valueText(alternative.step_s, "s"));
    bars.push_back(std::move(bar));
    changes_.push_back(alternative.change);
  }
  whatIfs_->setBars(std::move(bars), workbench().isBusy() ? tr("Alternatives are being computed…")
                                                          : tr("No alternatives for this answer."));
}

void Overview::showWords(const SimulationResult& result) {
  const Theme& t = theme();
  QString html = QStringLiteral("<b>%1</b>").arg(text(result.title).toHtmlEscaped());
  const auto item = [&html](const QString& sentence, const QColor& color) {
    html += QStringLiteral("<p style='margin:4px 0 0 0;color:%1'>%2</p>")
                .arg(color.name(), sentence.toHtmlEscaped());
  };
  for (const std::string& reason : result.feasibility.reasons) {
    item(QStringLiteral("✖ ") + text(reason), t.bad);
  }
  for (const Alert& alert : result.alerts) {
    item(QStringLiteral("⚠ ") + text(alert_text(alert)), t.warn);
  }
  for (const std::string& finding : result.findings) {
    item(QStringLiteral("• ") + text(finding), t.text);
  }
  words_->setHtml(html);
}

void Overview::refresh() {
  const Answer* answer = workbench().answer();
  if (answer == nullptr) {
    breakdown_->setBars({}, workbench().isBusy() ? tr("Computing…") : tr("No answer."));
    whatIfs_->setBars({});
    words_->clear();
    table().setGrid({});
    shownNumber_ = 0;
    return;
  }
  shownNumber_ = answer->number;
  showBreakdown(answer->result);
  // While a drag goes on the alternatives of the state before stay, dimmed by the page.
  if (answer->isFinal || !workbench().isBusy()) {
    showWhatIfs(answer->result);
    showWords(answer->result);
  }
  table().setGrid(figuresGrid(
      answer->result, workbench().pinned() != nullptr ? &workbench().pinned()->result : nullptr));
}

void Overview::paintPicture(QPainter& painter, const QSizeF& size) {
  painter.fillRect(QRectF(QPointF(), size), theme().panel);
  const double half = size.width() / 2;
  breakdown_->draw(painter, QSizeF(half - 8, size.height()));
  painter.save();
  painter.translate(half, 0);
  whatIfs_->draw(painter, QSizeF(half, size.height()));
  painter.restore();
}

}  // namespace moesim::gui
