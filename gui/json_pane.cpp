// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/json_pane.h"

#include <QFontDatabase>
#include <QLabel>
#include <QPlainTextEdit>
#include <QScrollBar>
#include <QSyntaxHighlighter>
#include <QTimer>
#include <QVBoxLayout>

#include "gui/text.h"
#include "gui/theme.h"

namespace moesim::gui {
namespace {

constexpr int kPauseMs = 350;  // of typing before the text is read

/// Keys, words and numbers in colour.
class JsonColours : public QSyntaxHighlighter {
 public:
  using QSyntaxHighlighter::QSyntaxHighlighter;

 protected:
  void highlightBlock(const QString& line) override {
    const Theme& t = theme();
    for (int i = 0; i < line.size();) {
      const QChar c = line[i];
      if (c == '"') {
        int end = i + 1;
        while (end < line.size() && line[end] != '"') {
          end += line[end] == '\\' ? 2 : 1;
        }
        end = std::min<int>(end + 1, static_cast<int>(line.size()));
        const bool isKey = QStringView(line).mid(end).trimmed().startsWith(':');
        setFormat(i, end - i, isKey ? t.accent : t.good);
        i = end;
      } else if (c.isDigit() || c == '-') {
        int end = i + 1;
        while (end < line.size() && (line[end].isLetterOrNumber() || line[end] == '.')) {
          ++end;
        }
        setFormat(i, end - i, t.series[1]);
        i = end;
      } else if (c.isLetter()) {
        int end = i + 1;
        while (end < line.size() && line[end].isLetter()) {
          ++end;
        }
        setFormat(i, end - i, t.pin);
        i = end;
      } else {
        ++i;
      }
    }
  }
};

}  // namespace

JsonPane::JsonPane(Workbench& workbench, QWidget* parent) : QWidget(parent), workbench_(workbench) {
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(0, 0, 0, 0);
  editor_ = new QPlainTextEdit;
  editor_->setFont(QFontDatabase::systemFont(QFontDatabase::FixedFont));
  editor_->setLineWrapMode(QPlainTextEdit::NoWrap);
  editor_->setAccessibleName(tr("Scenario as JSON"));
  editor_->setTabChangesFocus(true);
  new JsonColours(editor_->document());
  layout->addWidget(editor_, 1);
  problem_ = new QLabel;
  problem_->setObjectName("error");
  problem_->setWordWrap(true);
  problem_->hide();
  layout->addWidget(problem_);
  pause_ = new QTimer(this);
  pause_->setSingleShot(true);
  pause_->setInterval(kPauseMs);
  connect(pause_, &QTimer::timeout, this, &JsonPane::takeText);
  connect(editor_, &QPlainTextEdit::textChanged, this, [this] {
    if (!isTyping_) {
      pause_->start();
    }
  });
  connect(&workbench_, &Workbench::specChanged, this, &JsonPane::showSpec);
  connect(&workbench_, &Workbench::problemsChanged, this, [this] {
    QStringList lines;
    for (const Diagnostic& problem : workbench_.problems()) {
      lines << text(problem.text());
    }
    problem_->setText(lines.join('\n'));
    problem_->setVisible(!lines.isEmpty());
  });
}

void JsonPane::takeText() {
  pause_->stop();
  workbench_.setJsonText(editor_->toPlainText().toStdString());
}

void JsonPane::showSpec() {
  const QString now = text(workbench_.json().dump());
  if (now == editor_->toPlainText() || pause_->isActive()) {
    return;
  }
  if (editor_->hasFocus()) {
    // What the user typed is this state already, in their own layout.
    try {
      if (parse_json(editor_->toPlainText().toStdString(), "") == workbench_.json()) {
        return;
      }
    } catch (const InputError&) {
    }
  }
  isTyping_ = true;
  const int scrolled = editor_->verticalScrollBar()->value();
  editor_->setPlainText(now);
  editor_->verticalScrollBar()->setValue(scrolled);
  isTyping_ = false;
}

}  // namespace moesim::gui
