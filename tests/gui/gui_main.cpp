// SPDX-License-Identifier: GPL-3.0-or-later
// One application for all tests of the program, without a display and without the user's settings.
#include <gtest/gtest.h>

#include <QApplication>
#include <QStandardPaths>

#include "gui/theme.h"

// The sanitizers' leak check: what fontconfig keeps for the life of a process is not ours.
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libfontconfig\nleak:libQt6XcbQpa\n";
}

int main(int argc, char** argv) {
  if (qEnvironmentVariableIsEmpty("QT_QPA_PLATFORM")) {
    qputenv("QT_QPA_PLATFORM", "offscreen");
  }
  QStandardPaths::setTestModeEnabled(true);
  testing::InitGoogleTest(&argc, argv);
  QApplication application(argc, argv);
  QCoreApplication::setOrganizationName("moesim-test");
  QCoreApplication::setApplicationName("moesim-gui-test");
  moesim::gui::setDark(application, false);
  return RUN_ALL_TESTS();
}
