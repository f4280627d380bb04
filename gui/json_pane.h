// SPDX-License-Identifier: GPL-3.0-or-later
// The scenario as JSON text, in step with the form: edits are taken when they read without a
// problem; until then the problems stand beneath, with line and column or pointer.
#pragma once

#include <QWidget>

#include "gui/workbench.h"

class QLabel;
class QPlainTextEdit;
class QTimer;

namespace moesim::gui {

class JsonPane : public QWidget {
  Q_OBJECT
 public:
  explicit JsonPane(Workbench& workbench, QWidget* parent = nullptr);
  QPlainTextEdit* editor() const { return editor_; }
  /// Takes what is typed now instead of after a pause.
  void takeText();

 private:
  void showSpec();

  Workbench& workbench_;
  QPlainTextEdit* editor_;
  QLabel* problem_;
  QTimer* pause_;
  bool isTyping_ = false;
};

}  // namespace moesim::gui
