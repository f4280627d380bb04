// SPDX-License-Identifier: GPL-3.0-or-later
// A window on the shipped cards, and waiting for what runs behind it.
#pragma once

#include <gtest/gtest.h>

#include <QApplication>
#include <QElapsedTimer>
#include <QTest>
#include <functional>
#include <memory>

#include "gui/main_window.h"

namespace moesim::gui {

inline std::shared_ptr<const CardLibrary> shippedCards() {
  static const auto cards =
      std::make_shared<const CardLibrary>(CardLibrary::open(MOESIM_SOURCE_DIR));
  return cards;
}

/// Runs the event loop until `done`; false after ten minutes (sanitizer builds are slow).
inline bool waitFor(const std::function<bool()>& done, int milliseconds = 600000) {
  QElapsedTimer timer;
  timer.start();
  while (!done()) {
    if (timer.elapsed() > milliseconds) {
      return false;
    }
    QApplication::processEvents(QEventLoop::AllEvents, 10);
    QCoreApplication::sendPostedEvents(nullptr, QEvent::DeferredDelete);
  }
  return true;
}

inline bool waitIdle(Workbench& workbench) {
  return waitFor([&workbench] { return !workbench.isBusy(); });
}

class GuiWindow : public testing::Test {
 protected:
  GuiWindow() : window(shippedCards(), {.remembersState = false, .offersTour = false}) {
    window.workbench().evaluator().setEventDelay(0);
  }
  /// Opens a scenario without the events behind it unless they are wanted.
  void open(const std::string& scenario, bool withEvents = false) {
    window.workbench().setWantsEvents(withEvents);
    ASSERT_TRUE(window.workbench().open(scenario));
    window.show();
    ASSERT_TRUE(waitIdle(window.workbench()));
  }

  MainWindow window;
};

}  // namespace moesim::gui
