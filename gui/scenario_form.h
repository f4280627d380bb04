// SPDX-License-Identifier: GPL-3.0-or-later
// The scenario as a form: the keys that people ask about most, then every other section of the
// field table, built when it is opened; a filter finds keys by name and doc.
#pragma once

#include <QScrollArea>
#include <memory>
#include <string>
#include <vector>

#include "gui/field_editor.h"

class QLineEdit;
class QToolButton;
class QVBoxLayout;

namespace moesim::gui {

class ScenarioForm : public QWidget {
  Q_OBJECT
 public:
  explicit ScenarioForm(Workbench& workbench, QWidget* parent = nullptr);

  QLineEdit* filter() const { return filter_; }
  /// The first editor of a key; its section is opened.
  FieldEditor* editor(const std::string& pointer);
  /// Scrolls to a key and gives it the focus.
  void reveal(const std::string& pointer);

 private:
  struct Section {
    std::string key;
    QToolButton* button = nullptr;
    QWidget* body = nullptr;
    std::vector<FormField> fields;
    std::vector<FieldEditor*> editors;  ///< empty until opened
  };
  Section& addSection(const std::string& key, const QString& title, const QString& doc);
  void build(Section& section);
  void open(Section& section, bool isOpen);
  void showSpec();
  void showProblems();
  void applyFilter(const QString& words);
  void fill(FieldEditor& editor);

  Workbench& workbench_;
  QLineEdit* filter_;
  QScrollArea* scroll_;
  QVBoxLayout* column_;
  std::vector<std::unique_ptr<Section>> sections_;
};

}  // namespace moesim::gui
