// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/workbench.h"

#include <QUndoCommand>
#include <cmath>
#include <utility>

#include "gui/text.h"
#include "sim/study/sweep_space.h"

namespace moesim::gui {
namespace {

const FieldTable& scenarioTable() { return fields_of(static_cast<const ScenarioSpec*>(nullptr)); }

void addDifferences(const Json* before, const Json* now, const std::string& pointer,
                    QStringList& out) {
  if (before != nullptr && now != nullptr && *before == *now) {
    return;
  }
  if (before != nullptr && now != nullptr && before->is_object() && now->is_object()) {
    for (const auto& [key, value] : before->members()) {
      addDifferences(&value, now->find(key), pointer + "/" + pointer_token(key), out);
    }
    for (const auto& [key, value] : now->members()) {
      if (before->find(key) == nullptr) {
        addDifferences(nullptr, &value, pointer + "/" + pointer_token(key), out);
      }
    }
    return;
  }
  if (before == nullptr && now != nullptr && now->is_object()) {
    for (const auto& [key, value] : now->members()) {
      addDifferences(nullptr, &value, pointer + "/" + pointer_token(key), out);
    }
    return;
  }
  std::string value = now == nullptr ? "null" : now->is_text() ? now->as_text() : now->dump(-1);
  if (value.find_first_of(" '\"$&|;()<>*?#{}[],") != std::string::npos || value.empty()) {
    std::string quoted = "'";
    for (const char c : value) {
      quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
    }
    value = quoted + "'";
  }
  out.push_back(text(pointer + "=" + value));
}

}  // namespace

Json jsonNumber(double value) {
  if (std::floor(value) == value && std::fabs(value) < 1e15) {
    return Json(static_cast<std::int64_t>(value));
  }
  return Json(value);
}

QStringList setArguments(const Json& before, const Json& now) {
  QStringList out;
  addDifferences(&before, &now, "", out);
  return out;
}

/// One step of the history: the states before and after. Steps of one drag become one.
class SpecCommand : public QUndoCommand {
 public:
  SpecCommand(Workbench& workbench, ScenarioSpec after, const QString& what, std::string pointer)
      : QUndoCommand(what),
        workbench_(workbench),
        before_(workbench.spec()),
        after_(std::move(after)),
        pointer_(std::move(pointer)) {}
  void undo() override { workbench_.apply(before_); }
  void redo() override { workbench_.apply(after_); }
  int id() const override { return pointer_.empty() ? -1 : 1; }
  bool mergeWith(const QUndoCommand* other) override {
    const auto* next = static_cast<const SpecCommand*>(other);
    if (next->pointer_ != pointer_) {
      return false;
    }
    after_ = next->after_;
    setText(next->text());
    return true;
  }

 private:
  Workbench& workbench_;
  ScenarioSpec before_;
  ScenarioSpec after_;
  std::string pointer_;  ///< of a drag; "": never merged
};

Workbench::Workbench(std::shared_ptr<const CardLibrary> cards, QObject* parent)
    : QObject(parent), cards_(std::move(cards)) {
  undo_.setUndoLimit(500);
  connect(&evaluator_, &Evaluator::answered, this, [this](std::shared_ptr<const Answer> answer) {
    if (answer->number == number_) {
      answer_ = std::move(answer);
      setProblems({});
      Q_EMIT answerChanged();
      if (isPinWanted_) {
        pin();
      }
    }
  });
  connect(&evaluator_, &Evaluator::pictured, this, [this](std::shared_ptr<const Pictures> made) {
    if (made->number == number_) {
      pictures_ = std::move(made);
      Q_EMIT picturesChanged();
    }
  });
  connect(&evaluator_, &Evaluator::layerPictured, this,
          [this](std::shared_ptr<const LayerPictures> made) {
            if (made->number == number_) {
              layers_ = std::move(made);
              Q_EMIT layerPicturesChanged();
            }
          });
  connect(&evaluator_, &Evaluator::ran, this, [this](std::shared_ptr<const EventRun> run) {
    if (run->number == number_) {
      run_ = std::move(run);
      Q_EMIT eventRunChanged();
    }
  });
  connect(&evaluator_, &Evaluator::failed, this,
          [this](quint64 number, const std::vector<Diagnostic>& diagnostics) {
            if (number == number_) {
              answer_.reset();
              dropPictures();
              setProblems(diagnostics);
              setBusy(false);
              Q_EMIT answerChanged();
            }
          });
  connect(&evaluator_, &Evaluator::finished, this, [this](quint64 number) {
    if (number == number_) {
      setBusy(false);
      Q_EMIT settled();
    }
  });
}

bool Workbench::open(const std::string& path) {
  try {
    const bool isPath = path.find('/') != std::string::npos || path.ends_with(".json");
    const std::string file = isPath ? path : cards_->path(CardKind::scenario, path, "command line");
    const ScenarioSpec loaded = load_scenario_spec(file, cards_.get());
    file_ = file;
    savedJson_ = write_object(loaded);
    selection_ = {};
    answer_.reset();
    dropPictures();
    undo_.clear();
    apply(loaded);
    Q_EMIT fileChanged();
    Q_EMIT selectionChanged();
    return true;
  } catch (const InputError& error) {
    setProblems(error.diagnostics());
    return false;
  }
}

void Workbench::setSpec(const ScenarioSpec& spec, const QString& what) {
  undo_.push(new SpecCommand(*this, spec, what, ""));
}

bool Workbench::setField(const std::string& pointer, const Json& value, bool isDragging) {
  Diagnostics diagnostics;
  ScenarioSpec next = spec_;
  try {
    const Setter setter = compile_setter(scenarioTable(), pointer, file_);
    setter.apply(&next, value, file_, diagnostics);
    diagnostics.throw_if_any();
  } catch (const InputError& error) {
    setProblems(error.diagnostics());
    return false;
  }
  if (write_object(next) == json_) {
    if (!problems_.empty() && answer_ != nullptr) {
      setProblems({});
    }
    return true;
  }
  const QString what = QStringLiteral("%1 = %2").arg(
      text(pointer), text(value.is_null() ? "automatic" : value.dump(-1)));
  undo_.push(new SpecCommand(*this, std::move(next), what, isDragging ? pointer : ""));
  return true;
}

bool Workbench::setJsonText(const std::string& source) {
  try {
    const Json parsed = parse_json(source, file_);
    Diagnostics diagnostics;
    const ScenarioSpec next = read_object<ScenarioSpec>(parsed, file_, diagnostics);
    diagnostics.throw_if_any();
    if (write_object(next) != json_) {
      undo_.push(new SpecCommand(*this, next, tr("edit JSON"), ""));
    }
    return true;
  } catch (const InputError& error) {
    setProblems(error.diagnostics());
    return false;
  }
}

void Workbench::save(const std::string& path) {
  write_text_file(path, json_.dump() + "\n");
  file_ = path;
  savedJson_ = json_;
  undo_.setClean();
  Q_EMIT fileChanged();
}

void Workbench::apply(const ScenarioSpec& spec) {
  spec_ = spec;
  json_ = write_object(spec_);
  ask();
  Q_EMIT specChanged();
}

void Workbench::ask() {
  ++number_;
  Question question;
  question.number = number_;
  question.spec = spec_;
  question.file = file_;
  question.cards = cards_;
  question.layer = std::max(0, selection_.layer);
  question.wantsEvents = wantsEvents_;
  evaluator_.ask(std::move(question));
  setBusy(true);
}

void Workbench::reload(std::shared_ptr<const CardLibrary> cards) {
  cards_ = std::move(cards);
  ask();
}

void Workbench::dropPictures() {
  pictures_.reset();
  layers_.reset();
  run_.reset();
  Q_EMIT picturesChanged();
  Q_EMIT layerPicturesChanged();
  Q_EMIT eventRunChanged();
}

void Workbench::setProblems(std::vector<Diagnostic> problems) {
  const auto same = [](const Diagnostic& a, const Diagnostic& b) { return a.text() == b.text(); };
  if (problems.size() == problems_.size() &&
      std::equal(problems.begin(), problems.end(), problems_.begin(), same)) {
    return;
  }
  problems_ = std::move(problems);
  Q_EMIT problemsChanged();
}

void Workbench::setBusy(bool busy) {
  if (busy != isBusy_) {
    isBusy_ = busy;
    Q_EMIT busyChanged(busy);
  }
}

void Workbench::pin() {
  isPinWanted_ = answer_ != nullptr && answer_->number == number_ && answer_->previewLayers > 0;
  if (answer_ != nullptr && answer_->number == number_ && !isPinWanted_) {
    pinned_ = answer_;
    pinnedJson_ = json_;
    Q_EMIT pinChanged();
  }
}

void Workbench::unpin() {
  isPinWanted_ = false;
  pinned_.reset();
  pinnedJson_ = Json();
  Q_EMIT pinChanged();
}

void Workbench::select(const Selection& selection) {
  if (selection == selection_) {
    return;
  }
  const bool otherLayer = selection.layer >= 0 && selection.layer != selection_.layer;
  selection_ = selection;
  if (otherLayer) {
    evaluator_.askLayer(selection.layer);
  }
  Q_EMIT selectionChanged();
}

QString Workbench::commandLine() const {
  QString line =
      QStringLiteral("moesim run ") + (file_.empty() ? QStringLiteral("-") : text(file_));
  for (const QString& argument : setArguments(savedJson_, json_)) {
    line += QStringLiteral(" --set ") + argument;
  }
  return line;
}

}  // namespace moesim::gui
