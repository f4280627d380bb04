// SPDX-License-Identifier: GPL-3.0-or-later
// Random interactions by a seed: no crash, no hang, and at the end an answer that belongs to the
// scenario. MOESIM_MONKEY_STEPS and MOESIM_MONKEY_SEED set their number and seed.
#include <QAbstractButton>
#include <QComboBox>
#include <QSlider>
#include <random>

#include "tests/gui/gui_fixture.h"

namespace moesim::gui {
namespace {

int numberFrom(const char* variable, int otherwise) {
  return qEnvironmentVariableIsSet(variable) ? qEnvironmentVariableIntValue(variable) : otherwise;
}

/// Dialogs would wait for a person; everything else may be pressed.
bool isHarmless(const QWidget* widget) {
  const QString text = widget->property("text").toString();
  return !text.contains(QStringLiteral("…")) && !text.contains("Save") && !text.contains("Keys") &&
         !widget->inherits("QMenu") && text != "Presets" && text != "Tour";
}

TEST_F(GuiWindow, SurvivesAMonkey) {
  const int steps = numberFrom("MOESIM_MONKEY_STEPS", 500);
  const int seed = numberFrom("MOESIM_MONKEY_SEED", 20240607);
  SCOPED_TRACE("seed " + std::to_string(seed));
  open("quickstart");
  std::mt19937 random(static_cast<unsigned>(seed));
  const auto pick = [&random](int count) {
    return static_cast<int>(random() % static_cast<unsigned>(std::max(1, count)));
  };
  const std::vector<std::string> scenarios = {"quickstart", "mixtral_8x7b_h100",
                                              "mixtral_8x7b_4090_offload", "gpt_oss_120b_h100_tp8",
                                              "deepseek_v3_redundant_experts"};
  const std::vector<Qt::Key> keys = {Qt::Key_W,     Qt::Key_S,      Qt::Key_A,     Qt::Key_D,
                                     Qt::Key_Left,  Qt::Key_Right,  Qt::Key_Up,    Qt::Key_Down,
                                     Qt::Key_Space, Qt::Key_Escape, Qt::Key_Comma, Qt::Key_Period,
                                     Qt::Key_Tab,   Qt::Key_F,      Qt::Key_Home,  Qt::Key_PageUp};
  QElapsedTimer slowest;
  qint64 longest = 0;
  for (int step = 0; step < steps; ++step) {
    slowest.start();
    QList<QWidget*> visible;
    for (QWidget* widget : window.findChildren<QWidget*>()) {
      if (widget->isVisible() && widget->isEnabled() && widget->width() > 2 && isHarmless(widget)) {
        visible << widget;
      }
    }
    QWidget* target = visible[pick(static_cast<int>(visible.size()))];
    const QPoint at(pick(target->width()), pick(target->height()));
    switch (pick(10)) {
      case 0:
        window.showView(pick(static_cast<int>(window.views().size())));
        break;
      case 1:
        if (auto* slider = qobject_cast<QSlider*>(target)) {
          slider->setValue(pick(slider->maximum()));
        } else if (auto* combo = qobject_cast<QComboBox*>(target);
                   combo != nullptr && !combo->isEditable()) {
          combo->setCurrentIndex(pick(combo->count()));
        }
        break;
      case 2:
        QTest::keyClick(target,
                        keys[static_cast<std::size_t>(pick(static_cast<int>(keys.size())))]);
        break;
      case 3:
        if (!target->inherits("QComboBox") && !target->inherits("QMenuBar")) {
          QTest::mousePress(target, Qt::LeftButton, {}, at);
          QTest::mouseMove(target, QPoint(pick(target->width()), pick(target->height())));
          QTest::mouseRelease(target, Qt::LeftButton, {}, QPoint(pick(target->width()), at.y()));
        }
        break;
      case 4: {
        const std::vector<FormField>& fields = formFields();
        const FormField& field =
            fields[static_cast<std::size_t>(pick(static_cast<int>(fields.size())))];
        if (field.field->info.kind == FieldKind::number ||
            field.field->info.kind == FieldKind::integer) {
          window.workbench().setField(
              field.pointer, jsonNumber(sliderScale(field).valueAt(pick(SliderScale::kSteps))));
        } else if (field.field->info.kind == FieldKind::choice) {
          const auto& choices = field.field->info.choices;
          window.workbench().setField(
              field.pointer,
              Json(
                  choices[static_cast<std::size_t>(pick(static_cast<int>(choices.size())))].first));
        }
        break;
      }
      case 5:
        pick(2) == 0 ? window.workbench().undoStack().undo()
                     : window.workbench().undoStack().redo();
        break;
      case 6:
        if (pick(6) == 0) {
          window.workbench().open(
              scenarios[static_cast<std::size_t>(pick(static_cast<int>(scenarios.size())))]);
        } else {
          window.workbench().select({pick(70) - 5, pick(300) - 5, pick(140) - 5});
        }
        break;
      case 7:
        window.currentView()->setTableShown(pick(2) == 0);
        break;
      case 8:
        pick(2) == 0 ? window.workbench().pin() : window.workbench().unpin();
        if (pick(4) == 0) {
          window.setDarkTheme(pick(2) == 0);
        }
        break;
      default:
        window.resize(900 + pick(900), 600 + pick(600));
    }
    QApplication::processEvents(QEventLoop::AllEvents, 5);
    longest = std::max(longest, slowest.elapsed());
  }
  RecordProperty("longest_step_ms", static_cast<int>(longest));
  ASSERT_TRUE(window.workbench().open("quickstart"));
  ASSERT_TRUE(waitIdle(window.workbench())) << "the window hangs";
  ASSERT_NE(window.workbench().answer(), nullptr);
  EXPECT_EQ(window.workbench().answer()->number, window.workbench().number());
  window.setDarkTheme(false);
}

}  // namespace
}  // namespace moesim::gui
