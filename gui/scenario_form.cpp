// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/scenario_form.h"

#include <QLineEdit>
#include <QSlider>
#include <QTimer>
#include <QToolButton>
#include <QVBoxLayout>
#include <algorithm>
#include <map>

#include "gui/text.h"

namespace moesim::gui {

ScenarioForm::ScenarioForm(Workbench& workbench, QWidget* parent)
    : QWidget(parent), workbench_(workbench) {
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(0, 0, 0, 0);
  layout->setSpacing(4);
  filter_ = new QLineEdit;
  filter_->setPlaceholderText(tr("Find a key (Ctrl+F)"));
  filter_->setClearButtonEnabled(true);
  filter_->setAccessibleName(tr("Find a key of the scenario"));
  layout->addWidget(filter_);
  scroll_ = new QScrollArea;
  scroll_->setWidgetResizable(true);
  scroll_->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
  layout->addWidget(scroll_, 1);
  auto* page = new QWidget;
  column_ = new QVBoxLayout(page);
  column_->setContentsMargins(2, 0, 8, 8);
  column_->setSpacing(2);
  scroll_->setWidget(page);

  Section& first = addSection("main", tr("What people ask about"), tr("the keys changed most"));
  for (const std::string& pointer : mainPointers()) {
    if (const FormField* field = formField(pointer)) {
      first.fields.push_back(*field);
    }
  }
  std::map<std::string, Section*> byKey;
  for (const FormField& field : formFields()) {
    const std::string key = field.section.empty() ? "scenario" : field.section;
    if (byKey[key] == nullptr) {
      byKey[key] = &addSection(key, titleOf(key), sectionDoc(key));
    }
    byKey[key]->fields.push_back(field);
  }
  column_->addStretch(1);
  open(first, true);
  connect(filter_, &QLineEdit::textChanged, this, &ScenarioForm::applyFilter);
  connect(&workbench_, &Workbench::specChanged, this, &ScenarioForm::showSpec);
  connect(&workbench_, &Workbench::problemsChanged, this, &ScenarioForm::showProblems);
}

ScenarioForm::Section& ScenarioForm::addSection(const std::string& key, const QString& title,
                                                const QString& doc) {
  auto section = std::make_unique<Section>();
  section->key = key;
  section->button = new QToolButton;
  section->button->setObjectName("section");
  section->button->setText(title);
  section->button->setToolButtonStyle(Qt::ToolButtonTextBesideIcon);
  section->button->setArrowType(Qt::RightArrow);
  section->button->setCheckable(true);
  section->button->setToolTip(doc);
  section->button->setAccessibleName(tr("Section %1").arg(title));
  section->button->setSizePolicy(QSizePolicy::Expanding, QSizePolicy::Fixed);
  column_->addWidget(section->button);
  section->body = new QWidget;
  section->body->hide();
  new QVBoxLayout(section->body);
  section->body->layout()->setContentsMargins(10, 0, 0, 6);
  section->body->layout()->setSpacing(0);
  column_->addWidget(section->body);
  Section& added = *section;
  connect(section->button, &QToolButton::clicked, this,
          [this, &added](bool checked) { open(added, checked); });
  sections_.push_back(std::move(section));
  return added;
}

void ScenarioForm::build(Section& section) {
  if (!section.editors.empty()) {
    return;
  }
  for (const FormField& field : section.fields) {
    auto* editor = new FieldEditor(workbench_, field, section.key == "main");
    section.body->layout()->addWidget(editor);
    section.editors.push_back(editor);
    fill(*editor);
  }
}

void ScenarioForm::open(Section& section, bool isOpen) {
  if (isOpen) {
    build(section);
  }
  section.button->setChecked(isOpen);
  section.button->setArrowType(isOpen ? Qt::DownArrow : Qt::RightArrow);
  section.body->setVisible(isOpen);
}

void ScenarioForm::fill(FieldEditor& editor) {
  editor.show(workbench_.json().at_pointer(editor.field().pointer));
}

void ScenarioForm::showSpec() {
  for (const auto& section : sections_) {
    for (FieldEditor* editor : section->editors) {
      fill(*editor);
    }
  }
}

void ScenarioForm::showProblems() {
  for (const auto& section : sections_) {
    for (FieldEditor* editor : section->editors) {
      QStringList lines;
      for (const Diagnostic& problem : workbench_.problems()) {
        // A problem inside a list belongs to the list's row.
        const std::string& pointer = editor->field().pointer;
        if (problem.pointer == pointer || problem.pointer.starts_with(pointer + "/")) {
          lines << text(problem.problem) +
                       (problem.allowed.empty() ? QString() : "; " + text(problem.allowed));
        }
      }
      editor->setProblem(lines.join('\n'));
    }
  }
}

FieldEditor* ScenarioForm::editor(const std::string& pointer) {
  for (const auto& section : sections_) {
    for (const FormField& field : section->fields) {
      if (field.pointer == pointer) {
        open(*section, true);
        for (FieldEditor* editor : section->editors) {
          if (editor->field().pointer == pointer) {
            return editor;
          }
        }
      }
    }
  }
  return nullptr;
}

void ScenarioForm::reveal(const std::string& pointer) {
  filter_->clear();
  if (FieldEditor* found = editor(pointer)) {
    QTimer::singleShot(0, found, [this, found] {
      scroll_->ensureWidgetVisible(found, 0, 60);
      if (found->slider() != nullptr) {
        found->slider()->setFocus(Qt::OtherFocusReason);
      } else {
        found->setFocus(Qt::OtherFocusReason);
      }
    });
  }
}

void ScenarioForm::applyFilter(const QString& words) {
  const QString wanted = words.trimmed();
  for (const auto& section : sections_) {
    if (wanted.isEmpty()) {
      for (FieldEditor* editor : section->editors) {
        editor->setVisible(true);
      }
      section->button->setVisible(true);
      open(*section, section->key == "main");
      continue;
    }
    if (section->key == "main") {  // the others hold every key once
      section->button->setVisible(false);
      section->body->setVisible(false);
      continue;
    }
    const auto matches = [&wanted](const FormField& field) {
      return text(field.pointer).contains(wanted, Qt::CaseInsensitive) ||
             titleOf(field.pointer.substr(1)).contains(wanted, Qt::CaseInsensitive) ||
             text(field.field->doc.doc).contains(wanted, Qt::CaseInsensitive);
    };
    const bool any = std::any_of(section->fields.begin(), section->fields.end(), matches);
    section->button->setVisible(any);
    open(*section, any);
    for (FieldEditor* editor : section->editors) {
      editor->setVisible(matches(editor->field()));
    }
  }
}

}  // namespace moesim::gui
