// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/field_editor.h"

#include <QCheckBox>
#include <QComboBox>
#include <QCompleter>
#include <QHBoxLayout>
#include <QLabel>
#include <QLineEdit>
#include <QSlider>
#include <QToolButton>
#include <QVBoxLayout>
#include <QWheelEvent>
#include <cmath>

#include "gui/text.h"
#include "sim/base/quantity_text.h"

namespace moesim::gui {
namespace {

/// Scrolling the form must not turn the values that the pointer happens to pass.
class WheelGuard : public QObject {
 public:
  using QObject::QObject;
  bool eventFilter(QObject* watched, QEvent* event) override {
    const auto* widget = static_cast<QWidget*>(watched);
    if (event->type() == QEvent::Wheel && !widget->hasFocus()) {
      event->ignore();
      return true;
    }
    return false;
  }
};

void guardWheel(QWidget* widget) {
  widget->setFocusPolicy(Qt::StrongFocus);
  widget->installEventFilter(new WheelGuard(widget));
}

Json numberJson(double value, bool isWhole) {
  return jsonNumber(isWhole ? std::round(value) : value);
}

}  // namespace

QuantitySpin::QuantitySpin(const FormField& field, QWidget* parent)
    : QDoubleSpinBox(parent),
      unit_(field.field->doc.unit),
      isWhole_(field.field->info.kind == FieldKind::integer) {
  const FieldDoc& doc = field.field->doc;
  setDecimals(isWhole_ ? 0 : 12);
  setRange(std::isfinite(doc.min) ? doc.min : -1e300, std::isfinite(doc.max) ? doc.max : 1e300);
  setKeyboardTracking(false);
  setAccelerated(true);
  setMinimumWidth(92);
  setMaximumWidth(110);
}

void QuantitySpin::setAbsent(bool absent) {
  if (absent != isAbsent_) {
    isAbsent_ = absent;
    setValue(value());
    lineEdit()->setText(textFromValue(value()));
  }
}

QString QuantitySpin::textFromValue(double value) const {
  if (isAbsent_) {
    return tr("automatic");
  }
  if (unit_ == "s" || unit_ == "bytes" || unit_ == "bytes_per_s") {
    // Scaled where nothing is lost by it.
    const std::string scaled = quantity_text(value, unit_);
    const std::optional<double> back = parse_quantity(scaled, unit_);
    if (back && *back == value) {
      return gui::text(scaled);
    }
    return gui::text(number_text(value)) + " " +
           (unit_ == "s"       ? "s"
            : unit_ == "bytes" ? "B"
                               : "B/s");
  }
  return gui::text(std::floor(value) == value && std::fabs(value) < 1e15
                       ? std::to_string(static_cast<std::int64_t>(value))
                       : number_text(value));
}

double QuantitySpin::valueFromText(const QString& shown) const {
  const QString trimmed = shown.trimmed();
  return parse_quantity(trimmed.toStdString(), unit_).value_or(value());
}

QValidator::State QuantitySpin::validate(QString& shown, int&) const {
  return parse_quantity(shown.trimmed().toStdString(), unit_) ? QValidator::Acceptable
                                                              : QValidator::Intermediate;
}

void QuantitySpin::stepBy(int steps) {
  if (isWhole_ || std::fabs(value()) >= 20) {
    const double step = isWhole_ && value() < 20 ? 1 : std::max(1.0, std::floor(value() / 20));
    setValue(value() + steps * step);
    return;
  }
  const double size = std::max(std::fabs(value()), 1e-3);
  const double step = std::pow(10, std::floor(std::log10(size) - 1));
  setValue(std::stod(number_text(std::round((value() + steps * step) / step) * step)));
}

FieldEditor::FieldEditor(Workbench& workbench, const FormField& field, bool withSection,
                         QWidget* parent)
    : QWidget(parent), workbench_(workbench), field_(field), scale_(sliderScale(field)) {
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(0, 2, 0, 4);
  layout->setSpacing(1);
  auto* head = new QHBoxLayout;
  head->setSpacing(4);
  const std::string& pointer = field_.pointer;
  QString name = titleOf(pointer.substr(pointer.rfind('/') + 1));
  if (withSection && !field_.section.empty() && field_.section != "workload") {
    name = titleOf(field_.section == "model_edits" ? "edited" : field_.section) + " " +
           (name.left(2).toUpper() == name.left(2) ? name : name.toLower());
  }
  label_ = new QLabel(name);
  label_->setTextInteractionFlags(Qt::NoTextInteraction);
  head->addWidget(label_, 1);
  if (field_.field->info.nullable) {
    auto* reset = new QToolButton;
    reset->setText(tr("auto"));
    reset->setAutoRaise(true);
    reset->setToolTip(tr("Leave this key out: the program chooses"));
    reset->setAccessibleName(tr("%1: automatic").arg(label_->text()));
    connect(reset, &QToolButton::clicked, this, [this] { set(Json()); });
    head->addWidget(reset);
    reset_ = reset;
  }
  layout->addLayout(head);
  switch (field_.field->info.kind) {
    case FieldKind::boolean:
      check_ = new QCheckBox(label_->text());
      label_->hide();
      connect(check_, &QCheckBox::clicked, this, [this](bool on) { set(Json(on)); });
      layout->addWidget(check_);
      break;
    case FieldKind::integer:
    case FieldKind::number:
      buildNumber();
      break;
    case FieldKind::choice:
      buildChoice();
      break;
    default:
      if (pointer == "/model") {
        buildCards(CardKind::model);
      } else if (pointer == "/cluster") {
        buildCards(CardKind::cluster);
      } else {
        buildText();
      }
  }
  problem_ = new QLabel;
  problem_->setObjectName("error");
  problem_->setWordWrap(true);
  problem_->hide();
  layout->addWidget(problem_);
  const QString tip = fieldTip(field_);
  for (QWidget* widget : findChildren<QWidget*>()) {
    if (widget != reset_) {
      widget->setToolTip(tip);
    }
    if (widget->accessibleName().isEmpty() && widget != label_ && widget != problem_) {
      widget->setAccessibleName(label_->text());
      widget->setAccessibleDescription(text(field_.field->doc.doc));
    }
  }
  setObjectName(text(pointer));
}

void FieldEditor::buildNumber() {
  auto* row = new QHBoxLayout;
  row->setSpacing(6);
  slider_ = new QSlider(Qt::Horizontal);
  slider_->setRange(0, SliderScale::kSteps);
  // One key press reaches the next value that makes sense.
  const double span = scale_.high - scale_.low;
  double step = 5;
  if (scale_.isPowerOfTwo) {
    step = SliderScale::kSteps / std::log2(scale_.high / scale_.low);
  } else if (scale_.isWhole && !scale_.isLogarithmic && span <= 200) {
    step = SliderScale::kSteps / span;
  }
  slider_->setSingleStep(std::max(1, static_cast<int>(std::lround(step))));
  slider_->setPageStep(std::max(50, slider_->singleStep()));
  slider_->setMinimumWidth(80);
  guardWheel(slider_);
  spin_ = new QuantitySpin(field_);
  guardWheel(spin_);
  row->addWidget(slider_, 1);
  row->addWidget(spin_);
  static_cast<QVBoxLayout*>(layout())->addLayout(row);
  connect(slider_, &QSlider::valueChanged, this, [this](int position) {
    if (!isUpdating_) {
      set(numberJson(scale_.valueAt(position), scale_.isWhole), true);
    }
  });
  connect(spin_, &QDoubleSpinBox::valueChanged, this, [this](double value) {
    if (!isUpdating_) {
      spin_->setAbsent(false);
      set(numberJson(value, field_.field->info.kind == FieldKind::integer));
    }
  });
}

void FieldEditor::buildChoice() {
  combo_ = new QComboBox;
  guardWheel(combo_);
  if (field_.field->info.nullable) {
    combo_->addItem(tr("automatic"), QString());
  }
  for (const auto& [name, doc] : field_.field->info.choices) {
    combo_->addItem(wordsOf(name), text(name));
    combo_->setItemData(combo_->count() - 1, text(doc), Qt::ToolTipRole);
  }
  connect(combo_, &QComboBox::activated, this, [this](int index) {
    const QString name = combo_->itemData(index).toString();
    set(name.isEmpty() ? Json() : Json(name.toStdString()));
  });
  layout()->addWidget(combo_);
}

void FieldEditor::buildCards(CardKind kind) {
  combo_ = new QComboBox;
  guardWheel(combo_);
  combo_->setEditable(true);
  combo_->setInsertPolicy(QComboBox::NoInsert);
  combo_->setSizeAdjustPolicy(QComboBox::AdjustToMinimumContentsLengthWithIcon);
  combo_->setMinimumContentsLength(16);
  for (const std::string& id : workbench_.cards().ids(kind)) {
    combo_->addItem(text(id), text(id));
  }
  combo_->completer()->setFilterMode(Qt::MatchContains);
  combo_->completer()->setCompletionMode(QCompleter::PopupCompletion);
  connect(combo_, &QComboBox::activated, this,
          [this](int index) { set(Json(combo_->itemText(index).toStdString())); });
  connect(combo_->lineEdit(), &QLineEdit::editingFinished, this, [this] {
    if (!isUpdating_) {
      set(Json(combo_->currentText().trimmed().toStdString()));
    }
  });
  layout()->addWidget(combo_);
}

void FieldEditor::buildText() {
  line_ = new QLineEdit;
  const FieldKind kind = field_.field->info.kind;
  if (kind != FieldKind::text) {
    line_->setPlaceholderText(kind == FieldKind::list ? tr("a JSON list") : tr("JSON"));
  }
  connect(line_, &QLineEdit::editingFinished, this, [this, kind] {
    if (isUpdating_ || !line_->isModified()) {
      return;
    }
    line_->setModified(false);
    const std::string typed = line_->text().toStdString();
    if (kind == FieldKind::text) {
      set(Json(typed));
      return;
    }
    try {
      set(typed.empty() ? Json::array() : parse_json(typed, workbench_.file()));
    } catch (const InputError& error) {
      setProblem(text(error.what()));
    }
  });
  layout()->addWidget(line_);
}

void FieldEditor::set(const Json& value, bool isDragging) {
  setProblem({});
  if (!workbench_.setField(field_.pointer, value, isDragging)) {
    hasShown_ = false;
  }
}

void FieldEditor::show(const Json* value) {
  const Json now = value != nullptr ? *value : Json();
  if (hasShown_ && now == shown_) {
    return;
  }
  shown_ = now;
  hasShown_ = true;
  isUpdating_ = true;
  const bool isAbsent = now.is_null();
  if (reset_ != nullptr) {
    reset_->setEnabled(!isAbsent);
  }
  if (check_ != nullptr) {
    check_->setChecked(now.is_bool() && now.as_bool());
  }
  if (spin_ != nullptr) {
    spin_->setAbsent(isAbsent);
    if (now.is_number()) {
      spin_->setValue(now.as_number());
      // While its handle is held the slider stays where the hand is.
      if (!slider_->isSliderDown()) {
        slider_->setValue(scale_.positionOf(now.as_number()));
      }
    } else if (!slider_->isSliderDown()) {
      slider_->setValue(slider_->minimum());
    }
  }
  if (combo_ != nullptr) {
    const QString name = now.is_text() ? text(now.as_text()) : QString();
    const int index = combo_->findData(name);
    if (index >= 0) {
      combo_->setCurrentIndex(index);
    } else if (combo_->isEditable()) {
      combo_->setEditText(name);
    }
  }
  if (line_ != nullptr) {
    line_->setText(now.is_text() ? text(now.as_text()) : isAbsent ? QString() : text(now.dump(-1)));
    line_->setModified(false);
    line_->setCursorPosition(0);
  }
  isUpdating_ = false;
}

void FieldEditor::setProblem(const QString& problem) {
  problem_->setText(problem);
  problem_->setVisible(!problem.isEmpty());
}

QString FieldEditor::problem() const { return problem_->isHidden() ? QString() : problem_->text(); }

}  // namespace moesim::gui
