// SPDX-License-Identifier: GPL-3.0-or-later
// One row of the form: label, editor by the kind of the key (slider and spin box, check box, list,
// text), and the problem with its value beneath, in the words of the command line.
#pragma once

#include <QDoubleSpinBox>
#include <QWidget>
#include <functional>

#include "gui/form_fields.h"
#include "gui/workbench.h"

class QCheckBox;
class QComboBox;
class QLabel;
class QLineEdit;
class QSlider;

namespace moesim::gui {

/// A number in the unit of its key; takes scaled text ("20 us", "80 GiB", "50%").
class QuantitySpin : public QDoubleSpinBox {
  Q_OBJECT
 public:
  QuantitySpin(const FormField& field, QWidget* parent = nullptr);
  /// Shows "automatic" instead of a number.
  void setAbsent(bool absent);

  QString textFromValue(double value) const override;
  double valueFromText(const QString& text) const override;
  QValidator::State validate(QString& text, int& position) const override;
  void stepBy(int steps) override;

 private:
  std::string unit_;
  bool isWhole_;
  bool isAbsent_ = false;
};

class FieldEditor : public QWidget {
  Q_OBJECT
 public:
  /// `withSection`: the label also names the section ("Routing sigma").
  FieldEditor(Workbench& workbench, const FormField& field, bool withSection = false,
              QWidget* parent = nullptr);

  const FormField& field() const { return field_; }
  /// Shows the scenario's value; null: absent.
  void show(const Json* value);
  void setProblem(const QString& problem);
  QString problem() const;
  QSlider* slider() const { return slider_; }
  QComboBox* combo() const { return combo_; }

 private:
  void buildNumber();
  void buildChoice();
  void buildCards(CardKind kind);
  void buildText();
  void set(const Json& value, bool isDragging = false);

  Workbench& workbench_;
  FormField field_;
  SliderScale scale_;
  QLabel* label_ = nullptr;
  QLabel* problem_ = nullptr;
  QSlider* slider_ = nullptr;
  QuantitySpin* spin_ = nullptr;
  QCheckBox* check_ = nullptr;
  QComboBox* combo_ = nullptr;
  QLineEdit* line_ = nullptr;
  QWidget* reset_ = nullptr;
  Json shown_;
  bool hasShown_ = false;
  bool isUpdating_ = false;
};

}  // namespace moesim::gui
