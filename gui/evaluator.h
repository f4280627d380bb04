// SPDX-License-Identifier: GPL-3.0-or-later
// Answers scenarios off the GUI thread: the newest question wins, older ones are stopped and their
// answers dropped.
//
// Two lanes. The fast one gives the closed form at once (from a few layers first, where all of them
// took too long for a slider), then the full answer of an analytic scenario, then pictures; in and
// between these steps it looks whether a newer question came. The slow one
// waits until the user rests, then runs events. Answers arrive as queued calls in the receiver's
// thread with the number of their question, which the receiver compares with its own.
#pragma once

#include <QObject>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <vector>

#include "gui/answer.h"
#include "sim/base/error.h"

namespace moesim::gui {

struct Question {
  std::uint64_t number = 0;
  ScenarioSpec spec;
  std::string file;
  std::shared_ptr<const CardLibrary> cards;
  std::int64_t layer = 0;   ///< whose traffic and cache are wanted
  bool wantsEvents = true;  ///< also run events behind
};

class Evaluator : public QObject {
  Q_OBJECT
 public:
  explicit Evaluator(QObject* parent = nullptr);
  ~Evaluator() override;

  /// Replaces whatever is being answered.
  void ask(Question question);
  /// Traffic and cache of another layer of the newest question.
  void askLayer(std::int64_t layer);
  /// How long the user must rest before events are run.
  void setEventDelay(int milliseconds) { eventDelayMs_ = milliseconds; }
  /// Closed forms that take longer are shown from a few layers first.
  void setPreviewBeyond(double seconds) { previewBeyondSeconds_ = seconds; }

 Q_SIGNALS:
  void answered(std::shared_ptr<const moesim::gui::Answer> answer);
  void pictured(std::shared_ptr<const moesim::gui::Pictures> pictures);
  void layerPictured(std::shared_ptr<const moesim::gui::LayerPictures> pictures);
  void ran(std::shared_ptr<const moesim::gui::EventRun> run);
  void failed(quint64 number, std::vector<moesim::Diagnostic> diagnostics);
  /// The lanes have nothing left to do for question `number`.
  void finished(quint64 number);

 private:
  void answerQuickly(std::stop_token stop);
  void answerSlowly(std::stop_token stop);
  void answerFast(const Question& question, const std::stop_token& stale);
  void answerClosedForm(const Question& question, std::shared_ptr<const Scenario> scenario,
                        const std::stop_token& stale, Answer& answer);
  void answerWithEvents(const Question& question, std::shared_ptr<const Scenario> scenario,
                        const std::stop_token& stale);
  void drawPictures(const Question& question, const Scenario& scenario, double step,
                    const std::stop_token& stale);
  void laneDone(std::uint64_t number);

  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::optional<Question> fast_;
  struct Resolved {
    Question question;
    std::shared_ptr<const Scenario> scenario;
    std::stop_source stale;
  };
  std::optional<Resolved> slow_;
  std::optional<std::int64_t> layer_;
  std::stop_source stale_;
  int openLanes_ = 0;
  std::uint64_t newest_ = 0;
  int eventDelayMs_ = 350;
  std::atomic<double> previewBeyondSeconds_ =
      0.04;  ///< a slider then still answers in a few frames

  // Of the fast lane alone.
  double closedFormSeconds_ = 0;  ///< what the last one took, or took until it was stopped
  std::shared_ptr<const DeploymentPicture> picture_;
  std::uint64_t pictureNumber_ = 0;
  double pictureStep_ = 0;

  std::jthread quick_;
  std::jthread events_;
};

}  // namespace moesim::gui

Q_DECLARE_METATYPE(std::vector<moesim::Diagnostic>)
Q_DECLARE_METATYPE(std::shared_ptr<const moesim::gui::Answer>)
Q_DECLARE_METATYPE(std::shared_ptr<const moesim::gui::Pictures>)
Q_DECLARE_METATYPE(std::shared_ptr<const moesim::gui::LayerPictures>)
Q_DECLARE_METATYPE(std::shared_ptr<const moesim::gui::EventRun>)
