// SPDX-License-Identifier: GPL-3.0-or-later
// Pictures of every page in a folder: light and dark, 1x and 2x, at 1280x800 and 2560x1440.
//
//     moesim-gui-screenshots FOLDER [PAGE]
#include <QApplication>
#include <QDir>
#include <QElapsedTimer>
#include <QPixmap>
#include <QStandardPaths>
#include <QtGlobal>
#include <cstdio>

#include "gui/card_root.h"
#include "gui/latency_view.h"
#include "gui/main_window.h"
#include "gui/pareto_view.h"
#include "gui/text.h"
#include "gui/theme.h"
#include "gui/timeline_view.h"
#include "gui/tradeoff_view.h"

namespace {

using namespace moesim;
using namespace moesim::gui;

constexpr int kPatienceMs = 180000;

void settle(MainWindow& window) {
  QElapsedTimer timer;
  timer.start();
  const auto isIdle = [&window] {
    bool running = window.workbench().isBusy();
    for (View* view : window.views()) {
      if (auto* study = qobject_cast<TradeoffView*>(view)) {
        running = running || (view->isVisible() && study->isRunning());
      }
      if (auto* study = qobject_cast<ParetoView*>(view)) {
        running = running || (view->isVisible() && study->isRunning());
      }
    }
    return !running;
  };
  do {
    QApplication::processEvents(QEventLoop::AllEvents, 30);
  } while (timer.elapsed() < kPatienceMs && (!isIdle() || timer.elapsed() < 300));
  QApplication::processEvents();
}

}  // namespace

int main(int argc, char** argv) {
  QStandardPaths::setTestModeEnabled(true);
  QApplication application(argc, argv);
  QCoreApplication::setApplicationName("moesim-gui-screenshots");
  const QStringList arguments = QCoreApplication::arguments();
  if (arguments.size() < 2) {
    std::fprintf(stderr, "usage: moesim-gui-screenshots FOLDER [PAGE]\n");
    return 2;
  }
  const QString wanted = arguments.value(2);
  QDir().mkpath(arguments[1]);
  try {
    setDark(application, false);
    auto cards = std::make_shared<const CardLibrary>(
        CardLibrary::open(cardRoot(QCoreApplication::applicationDirPath().toStdString())));
    MainWindow window(cards, {.remembersState = false, .offersTour = false});
    window.show();
    // Pages are shown with a scenario that has something to say on them.
    const auto scenarioOf = [](const QString& page) -> std::string {
      return page == "Latency"    ? "serving_gpt_oss_120b_h100"
             : page == "Hot swap" ? "mixtral_8x7b_4090_offload"
                                  : "quickstart";
    };
    std::string open;
    for (std::size_t i = 0; i < window.views().size(); ++i) {
      View* view = window.views()[i];
      if (!wanted.isEmpty() && view->title() != wanted) {
        continue;
      }
      window.showView(static_cast<int>(i));
      const std::string scenario = scenarioOf(view->title());
      if (scenario != open) {
        open = scenario;
        window.workbench().unpin();
        window.workbench().open(scenario);
        settle(window);
        if (scenario == "quickstart") {
          window.workbench().pin();
          window.workbench().setField("/routing/sigma", Json(0.7));
        }
      }
      settle(window);
      window.workbench().select({.layer = 12, .expert = 40, .gpu = 20});
      settle(window);
      for (const bool dark : {false, true}) {
        window.setDarkTheme(dark);
        for (const QSize size : {QSize(1280, 800), QSize(2560, 1440)}) {
          window.resize(size);
          settle(window);
          for (const int scale : {1, 2}) {
            if (scale == 2 && size.width() > 1280) {
              continue;
            }
            QPixmap picture(size * scale);
            picture.setDevicePixelRatio(scale);
            window.render(&picture);
            picture.save(QStringLiteral("%1/%2_%3_%4_%5x.png")
                             .arg(arguments[1], view->title().toLower().replace(' ', '_'),
                                  dark ? "dark" : "light")
                             .arg(size.width())
                             .arg(scale));
          }
        }
      }
      std::printf("%s\n", view->title().toUtf8().constData());
      std::fflush(stdout);
    }
    return 0;
  } catch (const InputError& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
