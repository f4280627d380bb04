// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/calibration_view.h"

#include <QComboBox>
#include <QCoreApplication>
#include <QDir>
#include <QFileDialog>
#include <QProcess>
#include <QPushButton>
#include <QStackedWidget>
#include <QStandardPaths>
#include <algorithm>
#include <cmath>

#include "gui/text.h"
#include "gui/theme.h"

namespace moesim::gui {

CalibrationView::CalibrationView(Workbench& workbench, QWidget* parent)
    : View(workbench, tr("Calibration"), tr("How far are predictions from measurements?"), parent) {
  pages_ = new QStackedWidget;
  bars_ = new Bars;
  bars_->setAccessibleName(tr("Errors of the fitted curves"));
  chart_ = new Chart;
  pages_->addWidget(bars_);
  pages_->addWidget(chart_);
  setPicture(pages_);
  what_ = new QComboBox;
  what_->addItem(tr("curves of this machine"));
  what_->addItem(tr("measured against predicted"));
  what_->setAccessibleName(tr("What is shown"));
  suite_ = new QComboBox;
  suite_->setAccessibleName(tr("Suite of measurements"));
  suite_->setMinimumWidth(110);
  auto* open = new QPushButton(tr("Open…"));
  open->setToolTip(tr("A file of moesim validate --rows --format json"));
  auto* run = new QPushButton(tr("Validate…"));
  run->setToolTip(tr("Compare predictions with a folder of measurements, as moesim validate does"));
  words_ = new QLabel;
  words_->setObjectName("muted");
  words_->setWordWrap(true);
  controls().addWidget(what_);
  controls().addWidget(suite_);
  controls().addWidget(words_, 1);
  controls().addWidget(open);
  controls().addWidget(run);
  connect(what_, &QComboBox::currentIndexChanged, this, &View::refreshIfVisible);
  connect(suite_, &QComboBox::currentIndexChanged, this, &View::refreshIfVisible);
  connect(&workbench, &Workbench::answerChanged, this, &View::refreshIfVisible);
  connect(open, &QPushButton::clicked, this, [this] {
    const QString path =
        QFileDialog::getOpenFileName(this, tr("Open a validation"), {}, tr("JSON (*.json)"));
    if (!path.isEmpty()) {
      try {
        showValidation(path);
      } catch (const InputError& error) {
        setNote(text(error.what()));
      }
    }
  });
  connect(run, &QPushButton::clicked, this, &CalibrationView::runValidation);
}

void CalibrationView::runValidation() {
  const QString folder =
      QFileDialog::getExistingDirectory(this, tr("Folder of measurements (docs/validation.md)"));
  if (folder.isEmpty() || process_ != nullptr) {
    return;
  }
  const QString file = QDir(QStandardPaths::writableLocation(QStandardPaths::TempLocation))
                           .filePath("moesim_validation.json");
  process_ = new QProcess(this);
  process_->setStandardOutputFile(file);
  connect(process_, &QProcess::finished, this, [this, file](int code, QProcess::ExitStatus) {
    const QString said = text(process_->readAllStandardError().toStdString());
    process_->deleteLater();
    process_ = nullptr;
    try {
      showValidation(file);
    } catch (const InputError&) {
      setNote(tr("moesim validate ended with %1: %2").arg(code).arg(said.trimmed()));
    }
  });
  setNote(tr("moesim validate is running…"));
  process_->start(QDir(QCoreApplication::applicationDirPath()).filePath("moesim"),
                  {"validate", "--data", folder, "--rows", "--format", "json"});
}

void CalibrationView::showValidation(const QString& path) {
  const Json json = load_json(path.toStdString(), {.max_bytes = std::size_t{1} << 30});
  const Json* rows = json.find("rows");
  if (rows == nullptr || !rows->is_array()) {
    throw InputError(path.toStdString(), "/rows", "is missing",
                     "write the file with moesim validate --rows --format json");
  }
  std::vector<ValidationRow> read;
  QStringList suites;
  for (const Json& row : rows->items()) {
    const Json* measured = row.find("measured");
    const Json* predicted = row.find("predicted");
    if (measured == nullptr || predicted == nullptr || !measured->is_number() ||
        !predicted->is_number()) {
      continue;
    }
    const auto word = [&row](const char* key) {
      const Json* value = row.find(key);
      return value != nullptr && value->is_text() ? text(value->as_text()) : QString();
    };
    read.push_back(
        {word("suite"), word("group"), word("row"), measured->as_number(), predicted->as_number()});
    if (!suites.contains(read.back().suite)) {
      suites << read.back().suite;
    }
  }
  rows_ = std::move(read);
  {
    const QSignalBlocker block(suite_);
    suite_->clear();
    suite_->addItem(tr("all suites"));
    suite_->addItems(suites);
  }
  setNote({});
  what_->setCurrentIndex(1);
  refreshIfVisible();
}

void CalibrationView::refresh() {
  suite_->setVisible(what_->currentIndex() == 1);
  pages_->setCurrentIndex(what_->currentIndex());
  if (what_->currentIndex() == 0) {
    showCurves();
  } else {
    showRows();
  }
}

void CalibrationView::showCurves() {
  const Answer* answer = workbench().answer();
  const std::string device =
      answer != nullptr && answer->scenario->device != nullptr ? answer->scenario->device->id : "";
  if (device != device_) {
    device_ = device;
    curves_.clear();
    transferredFrom_.clear();
    for (const CurveFile& file : *workbench().cards().curve_files()) {
      if (file.device != device) {
        continue;
      }
      try {
        Json json = load_json(file.path);
        // Curves carried over from a measured relative are at best as good as that one's fit.
        if (const Json* base = json.find("transferred_from"); base != nullptr && base->is_text()) {
          const std::string folder = file.path.substr(0, file.path.rfind('/') + 1);
          const std::string source = base->as_text();
          transferredFrom_ = text(source).section('.', 0, 0);
          json = load_json(folder + source + ".json");
        }
        const Json* list = json.find("curves");
        for (const Json& curve : list != nullptr ? list->items() : Json::Array{}) {
          const Json* fit = curve.find("fit");
          if (fit == nullptr) {
            continue;
          }
          const auto number = [fit](const char* key) {
            const Json* value = fit->find(key);
            return value != nullptr && value->is_number() ? value->as_number() : 0.0;
          };
          QStringList name;
          for (const char* key : {"family", "format", "variant"}) {
            const Json* value = curve.find(key);
            if (value != nullptr && value->is_text() && !value->as_text().empty()) {
              name << wordsOf(value->as_text());
            }
          }
          curves_.push_back({name.join(' '), file.software, number("rows"),
                             number("median_ape_fraction"), number("p90_ape_fraction"),
                             number("band_coverage_fraction")});
        }
      } catch (const InputError&) {
        continue;  // an unreadable file of curves has been reported by the answer
      }
    }
    std::stable_sort(curves_.begin(), curves_.end(),
                     [](const CurveError& a, const CurveError& b) { return a.rows > b.rows; });
  }
  const Theme& t = theme();
  std::vector<Bar> bars;
  for (const CurveError& curve : curves_) {
    if (bars.size() >= 26) {
      break;
    }
    Bar bar;
    bar.name = curve.curve + " · " + text(curve.software);
    bar.value = curve.medianError * 100;
    bar.pinned = curve.p90Error * 100;
    bar.hasPinned = true;
    bar.color = curve.medianError < 0.05 ? t.good : curve.medianError < 0.15 ? t.warn : t.bad;
    bar.text = tr("%1%, 90th %2%")
                   .arg(curve.medianError * 100, 0, 'f', 1)
                   .arg(curve.p90Error * 100, 0, 'f', 1);
    bar.tip = tr("%1 measured rows; the 80% band holds %2 of them")
                  .arg(curve.rows)
                  .arg(valueText(curve.bandCoverage, "fraction"));
    bars.push_back(std::move(bar));
  }
  QString words = tr("Median error of each fitted curve; the line marks the 90th percentile.");
  if (!transferredFrom_.isEmpty()) {
    words += tr(" %1 has no curves of its own: these are of %2, carried over with wider bands.")
                 .arg(text(device_), transferredFrom_);
  }
  words_->setText(curves_.empty() ? QString() : words);
  bars_->setBars(
      std::move(bars),
      tr("No curves were fitted for this machine: its figures rest on the data sheet and "
         "on estimates."));
  Grid grid;
  grid.columns = {tr("Curve"),
                  tr("Software"),
                  tr("Rows"),
                  tr("Median error (fraction)"),
                  tr("90th percentile (fraction)"),
                  tr("Band holds (fraction)")};
  grid.rows = static_cast<int>(curves_.size());
  grid.cell = [curves = curves_](int row, int column) -> QVariant {
    const CurveError& curve = curves[static_cast<std::size_t>(row)];
    switch (column) {
      case 0:
        return curve.curve;
      case 1:
        return text(curve.software);
      case 2:
        return curve.rows;
      case 3:
        return curve.medianError;
      case 4:
        return curve.p90Error;
      default:
        return curve.bandCoverage;
    }
  };
  table().setGrid(std::move(grid));
}

void CalibrationView::showRows() {
  const Theme& t = theme();
  const QString wanted = suite_->currentIndex() > 0 ? suite_->currentText() : QString();
  std::vector<ValidationRow> shown;
  std::vector<double> errors;
  for (const ValidationRow& row : rows_) {
    if ((wanted.isEmpty() || row.suite == wanted) && row.measured > 0 && row.predicted > 0) {
      shown.push_back(row);
      errors.push_back(std::abs(row.predicted / row.measured - 1));
    }
  }
  ChartSpec spec;
  spec.xTitle = tr("measured");
  spec.yTitle = tr("predicted");
  spec.isXLogarithmic = true;
  spec.isYLogarithmic = true;
  if (!shown.empty()) {
    double low = 1e300;
    double high = 0;
    ChartLine points;
    points.color = t.series[0];
    points.hasLine = false;
    // A scatter of more points would be a blot; every n-th stands for its neighbours.
    const std::size_t every = std::max<std::size_t>(1, shown.size() / 6000);
    for (std::size_t i = 0; i < shown.size(); i += every) {
      points.x.push_back(shown[i].measured);
      points.y.push_back(shown[i].predicted);
      low = std::min(low, shown[i].measured);
      high = std::max(high, shown[i].measured);
    }
    ChartLine equal;
    equal.name = tr("equal");
    equal.color = t.good;
    equal.hasPoints = false;
    equal.isDashed = true;
    equal.x = {low, high};
    equal.y = {low, high};
    equal.low = {low * 0.8, high * 0.8};
    equal.high = {low * 1.2, high * 1.2};
    spec.lines.push_back(std::move(equal));
    spec.lines.push_back(std::move(points));
    std::sort(errors.begin(), errors.end());
    words_->setText(tr("%1 rows, median error %2, 90th percentile %3; shaded: within 20%")
                        .arg(shown.size())
                        .arg(valueText(errors[errors.size() / 2], "fraction"),
                             valueText(errors[errors.size() * 9 / 10], "fraction")));
  } else {
    words_->setText(
        tr("Open a file of moesim validate --rows --format json, or choose a folder of "
           "measurements."));
  }
  chart_->setSpec(std::move(spec));
  Grid grid;
  grid.columns = {tr("Suite"),    tr("Group"),     tr("Row"),
                  tr("Measured"), tr("Predicted"), tr("Error (fraction)")};
  grid.rows = static_cast<int>(shown.size());
  grid.cell = [shown](int r, int column) -> QVariant {
    const ValidationRow& row = shown[static_cast<std::size_t>(r)];
    switch (column) {
      case 0:
        return row.suite;
      case 1:
        return row.group;
      case 2:
        return row.row;
      case 3:
        return row.measured;
      case 4:
        return row.predicted;
      default:
        return row.predicted / row.measured - 1;
    }
  };
  table().setGrid(std::move(grid));
}

void CalibrationView::paintPicture(QPainter& painter, const QSizeF& size) {
  if (what_->currentIndex() == 1) {
    chart_->paintTo(painter, size);
  } else {
    painter.fillRect(QRectF(QPointF(), size), theme().panel);
    bars_->draw(painter, size);
  }
}

}  // namespace moesim::gui
