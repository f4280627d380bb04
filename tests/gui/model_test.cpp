// SPDX-License-Identifier: GPL-3.0-or-later
// Every item model keeps Qt's contract while the scenario changes under it.
#include <QAbstractItemModelTester>

#include "gui/headline.h"
#include "tests/gui/gui_fixture.h"

namespace moesim::gui {
namespace {

TEST_F(GuiWindow, EveryModelKeepsTheContractOfItemModels) {
  open("quickstart", true);
  QAbstractItemModelTester headlines(&window.headlines(),
                                     QAbstractItemModelTester::FailureReportingMode::Fatal);
  std::vector<std::unique_ptr<QAbstractItemModelTester>> testers;
  for (View* view : window.views()) {
    testers.push_back(std::make_unique<QAbstractItemModelTester>(
        &view->table(), QAbstractItemModelTester::FailureReportingMode::Fatal));
  }
  for (int page = 0; page < static_cast<int>(window.views().size()); ++page) {
    window.showView(page);
    QApplication::processEvents();
    window.workbench().setField("/workload/batch_per_gpu", Json(16 + page));
    ASSERT_TRUE(waitIdle(window.workbench()));
  }
}

TEST_F(GuiWindow, EveryPageHasATableTwinAndAnAccessibleName) {
  open("quickstart", true);
  for (int page = 0; page < static_cast<int>(window.views().size()); ++page) {
    View* view = window.views()[static_cast<std::size_t>(page)];
    window.showView(page);
    QApplication::processEvents();
    EXPECT_FALSE(view->accessibleName().isEmpty());
    const QString title = view->title();
    if (title == "Latency" || title == "Hot swap") {
      continue;  // have data in other scenarios
    }
    EXPECT_TRUE(waitFor([view] { return view->table().rowCount() > 0; }, 60000))
        << title.toStdString();
    EXPECT_GT(view->table().columnCount(), 0) << title.toStdString();
    view->setTableShown(true);
    EXPECT_TRUE(view->isTableShown());
    view->setTableShown(false);
  }
}

TEST_F(GuiWindow, EverythingThatTakesTheFocusHasAName) {
  open("quickstart");
  for (int page = 0; page < static_cast<int>(window.views().size()); ++page) {
    window.showView(page);
    QApplication::processEvents();
    for (QWidget* widget : window.findChildren<QWidget*>()) {
      if (widget->isVisible() && (widget->focusPolicy() & Qt::TabFocus) != 0 &&
          widget->objectName() != "qt_spinbox_lineedit" && !widget->inherits("QScrollArea") &&
          !widget->inherits("QTabBar")) {
        const QString text = widget->property("text").toString();
        EXPECT_FALSE(widget->accessibleName().isEmpty() && text.isEmpty())
            << widget->metaObject()->className() << " on page " << page;
      }
    }
  }
}

TEST(GuiGrid, CsvQuotesAndKeepsEveryDigit) {
  GridModel model;
  Grid grid;
  grid.columns = {"name, with comma", "value"};
  grid.rows = 1;
  grid.cell = [](int, int column) -> QVariant {
    return column == 0 ? QVariant(QStringLiteral("a \"b\"")) : QVariant(0.1 + 0.2);
  };
  model.setGrid(grid);
  EXPECT_EQ(csvText(model).toStdString(),
            "\"name, with comma\",value\n\"a \"\"b\"\"\",0.30000000000000004\n");
}

}  // namespace
}  // namespace moesim::gui
