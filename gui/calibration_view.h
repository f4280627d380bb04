// SPDX-License-Identifier: GPL-3.0-or-later
// Page: how far predictions are from measurements - errors of the curves fitted for this machine,
// or every row of a validation file, measured against predicted.
#pragma once

#include <vector>

#include "gui/bars.h"
#include "gui/chart.h"

class QComboBox;
class QProcess;
class QStackedWidget;

namespace moesim::gui {

struct CurveError {
  QString curve;  ///< family, format, variant
  std::string software;
  double rows = 0;
  double medianError = 0;  ///< fractions
  double p90Error = 0;
  double bandCoverage = 0;
};

struct ValidationRow {
  QString suite, group, row;
  double measured = 0;
  double predicted = 0;
};

class CalibrationView : public View {
  Q_OBJECT
 public:
  explicit CalibrationView(Workbench& workbench, QWidget* parent = nullptr);
  void refresh() override;
  void paintPicture(QPainter& painter, const QSizeF& size) override;
  /// Shows what `moesim validate --rows --format json` wrote. Throws InputError.
  void showValidation(const QString& path);
  const std::vector<CurveError>& curves() const { return curves_; }
  const std::vector<ValidationRow>& rows() const { return rows_; }

 private:
  void showCurves();
  void showRows();
  void runValidation();

  Bars* bars_;
  Chart* chart_;
  QStackedWidget* pages_;
  QComboBox* what_;
  QComboBox* suite_;
  QLabel* words_;
  QProcess* process_ = nullptr;
  std::vector<CurveError> curves_;
  std::vector<ValidationRow> rows_;
  std::string device_;
  QString transferredFrom_;  ///< when the machine has no curves of its own
};

}  // namespace moesim::gui
