// SPDX-License-Identifier: GPL-3.0-or-later
// The desktop explorer: moesim-gui [FILE].
#include <QApplication>
#include <QCommandLineParser>
#include <QMessageBox>
#include <cstdio>

#include "gui/card_root.h"
#include "gui/main_window.h"
#include "gui/text.h"
#include "gui/theme.h"
#include "sim/run/version.h"

int main(int argc, char** argv) {
  using namespace moesim;
  QApplication application(argc, argv);
  QCoreApplication::setOrganizationName("moesim");
  QCoreApplication::setApplicationName("moesim-gui");
  QCoreApplication::setApplicationVersion(gui::text(version_text()));
  QCommandLineParser parser;
  parser.setApplicationDescription(
      "Drag a slider and see how a Mixture-of-Experts deployment answers.\n"
      "Example: moesim-gui scenarios/quickstart.json");
  parser.addHelpOption();
  parser.addVersionOption();
  parser.addPositionalArgument("FILE", "scenario, result, trace, validation or sweep database");
  parser.addOption({"no-restore", "Forget the last state, and keep none."});
  parser.process(application);
  gui::setDark(application, false);
  try {
    auto cards = std::make_shared<const CardLibrary>(
        CardLibrary::open(gui::cardRoot(QCoreApplication::applicationDirPath().toStdString())));
    const bool remembers = !parser.isSet("no-restore");
    gui::MainWindow window(std::move(cards),
                           {.remembersState = remembers, .offersTour = remembers});
    const QStringList files = parser.positionalArguments();
    if (files.isEmpty()) {
      window.restoreState();
    } else if (!window.workbench().cards().ids(CardKind::scenario).empty() &&
               !files.front().contains('/') && !files.front().contains('.')) {
      window.workbench().open(files.front().toStdString());
    } else {
      window.openFile(files.front());
    }
    window.show();
    return QApplication::exec();
  } catch (const InputError& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
