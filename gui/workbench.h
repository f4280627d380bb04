// SPDX-License-Identifier: GPL-3.0-or-later
// The state of the explorer: the scenario, its history, its answers, the pinned baseline and what
// is selected. Widgets hold no logic; what they show and change goes through here.
//
// Every change of the scenario is a new state with a number. Answers carry the number of the state
// they belong to and are dropped when it is not the newest, so that nothing stale is ever shown.
#pragma once

#include <QObject>
#include <QUndoStack>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gui/answer.h"
#include "gui/evaluator.h"

namespace moesim::gui {

/// What is picked in one view and marked in all; -1: nothing.
struct Selection {
  int layer = -1;
  int expert = -1;
  int gpu = -1;
  friend bool operator==(const Selection&, const Selection&) = default;
};

class Workbench : public QObject {
  Q_OBJECT
 public:
  explicit Workbench(std::shared_ptr<const CardLibrary> cards, QObject* parent = nullptr);

  const CardLibrary& cards() const { return *cards_; }
  const std::shared_ptr<const CardLibrary>& sharedCards() const { return cards_; }
  const ScenarioSpec& spec() const { return spec_; }
  /// The scenario as JSON with every key that is set.
  const Json& json() const { return json_; }
  const std::string& file() const { return file_; }
  bool isModified() const { return !undo_.isClean(); }
  QUndoStack& undoStack() { return undo_; }

  /// Loads a scenario (file, shipped id, or a result that holds one). False: `problems` says why.
  bool open(const std::string& path);
  /// Replaces the scenario as one step of the history.
  void setSpec(const ScenarioSpec& spec, const QString& what);
  /// Sets one key; null: absent. Problems go to the field. Steps of one drag merge in the history.
  bool setField(const std::string& pointer, const Json& value, bool isDragging = false);
  /// Replaces the scenario by JSON text; false and problems when it is none.
  bool setJsonText(const std::string& text);
  /// Writes the scenario; throws InputError.
  void save(const std::string& path);

  std::uint64_t number() const { return number_; }
  /// The newest answer there is; that of the newest state when its number is `number()`. Views dim
  /// what is older.
  const Answer* answer() const { return answer_.get(); }
  const Pictures* pictures() const { return pictures_.get(); }
  const LayerPictures* layerPictures() const { return layers_.get(); }
  const std::shared_ptr<const LayerPictures>& sharedLayerPictures() const { return layers_; }
  const std::shared_ptr<const EventRun>& eventRun() const { return run_; }
  bool isBusy() const { return isBusy_; }
  const std::vector<Diagnostic>& problems() const { return problems_; }

  /// Keeps the current answer as the baseline that everything is compared with; where only a
  /// preview is there, the answer that follows it.
  void pin();
  void unpin();
  const Answer* pinned() const { return pinned_.get(); }
  const Json& pinnedJson() const { return pinnedJson_; }

  const Selection& selection() const { return selection_; }
  void select(const Selection& selection);

  /// `moesim run FILE --set ...` that gives the answer shown.
  QString commandLine() const;
  void setWantsEvents(bool wants) { wantsEvents_ = wants; }
  Evaluator& evaluator() { return evaluator_; }
  /// Asks again, with cards read anew.
  void reload(std::shared_ptr<const CardLibrary> cards);

 Q_SIGNALS:
  void specChanged();
  void answerChanged();
  void picturesChanged();
  void layerPicturesChanged();
  void eventRunChanged();
  void problemsChanged();
  void busyChanged(bool busy);
  void pinChanged();
  void selectionChanged();
  void fileChanged();
  /// Everything about the newest state is known.
  void settled();

 private:
  friend class SpecCommand;
  void apply(const ScenarioSpec& spec);
  void ask();
  void setProblems(std::vector<Diagnostic> problems);
  void setBusy(bool busy);
  void dropPictures();

  std::shared_ptr<const CardLibrary> cards_;
  ScenarioSpec spec_;
  Json json_;
  std::string file_;
  Json savedJson_;  ///< what the file holds, for the command line
  QUndoStack undo_;
  std::uint64_t number_ = 0;
  bool isBusy_ = false;
  bool wantsEvents_ = true;
  bool isPinWanted_ = false;
  std::shared_ptr<const Answer> answer_;
  std::shared_ptr<const Answer> pinned_;
  Json pinnedJson_;
  std::shared_ptr<const Pictures> pictures_;
  std::shared_ptr<const LayerPictures> layers_;
  std::shared_ptr<const EventRun> run_;
  std::vector<Diagnostic> problems_;
  Selection selection_;
  Evaluator evaluator_;
};

/// Whole numbers as integers: keys that count take nothing else.
Json jsonNumber(double value);

/// The pointers and values in which `now` differs from `before`, as `--set` takes them.
QStringList setArguments(const Json& before, const Json& now);

}  // namespace moesim::gui
