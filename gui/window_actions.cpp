// SPDX-License-Identifier: GPL-3.0-or-later
// Menus, tool bar and keys of the window: everything that can be done, once.
#include <QActionGroup>
#include <QApplication>
#include <QClipboard>
#include <QFileDialog>
#include <QLineEdit>
#include <QListWidget>
#include <QMenuBar>
#include <QMessageBox>
#include <QStatusBar>
#include <QTabWidget>
#include <QToolBar>

#include "gui/main_window.h"
#include "gui/text.h"
#include "gui/theme.h"
#include "gui/timeline_view.h"
#include "sim/run/version.h"

namespace moesim::gui {
namespace {

constexpr int kMessageMs = 4000;

QAction* entry(QMenu* menu, const QString& name, const QKeySequence& keys, const QString& tip,
               const std::function<void()>& action) {
  QAction* made = menu->addAction(name);
  made->setShortcut(keys);
  made->setStatusTip(tip);
  made->setToolTip(tip + (keys.isEmpty() ? QString() : " (" + keys.toString() + ")"));
  QObject::connect(made, &QAction::triggered, menu, [action] { action(); });
  return made;
}

}  // namespace

void MainWindow::buildActions() {
  buildFileMenu();
  buildEditMenu();
  buildViewMenu();
  buildHelpMenu();
  auto* bar = addToolBar(tr("Tools"));
  bar->setObjectName("tools");
  bar->setMovable(false);
  for (QAction* action : menuBar()->actions()) {
    for (QAction* inside : action->menu()->actions()) {
      if (inside->property("toolbar").toBool()) {
        bar->addAction(inside);
      }
    }
  }
  auto* presets = new QToolButton;
  presets->setText(tr("Presets"));
  presets->setToolTip(tr("Open a shipped deployment"));
  presets->setPopupMode(QToolButton::InstantPopup);
  auto* menu = new QMenu(presets);
  for (const std::string& id : workbench_.cards().ids(CardKind::scenario)) {
    QAction* action = menu->addAction(wordsOf(id));
    connect(action, &QAction::triggered, this, [this, id] {
      if (mayLoseChanges()) {
        workbench_.open(id);
      }
    });
  }
  presets->setMenu(menu);
  bar->insertWidget(bar->actions().value(1), presets);
}

void MainWindow::buildFileMenu() {
  QMenu* menu = menuBar()->addMenu(tr("&File"));
  QAction* open = entry(menu, tr("&Open…"), QKeySequence::Open,
                        tr("Open a scenario, result, trace, validation or sweep database"),
                        [this] { openDialog(); });
  open->setProperty("toolbar", true);
  recent_ = menu->addMenu(tr("Open &recent"));
  connect(recent_, &QMenu::aboutToShow, this, &MainWindow::fillRecent);
  entry(menu, tr("&Save"), QKeySequence::Save, tr("Save the scenario"), [this] {
    save();
  })->setProperty("toolbar", true);
  entry(menu, tr("Save &as…"), QKeySequence(tr("Ctrl+Shift+S")), tr("Save under another name"),
        [this] { saveAs(); });
  menu->addSeparator();
  entry(menu, tr("&Export this page…"), QKeySequence(tr("Ctrl+E")),
        tr("Write the page as PNG, SVG, PDF or CSV"), [this] { exportView(); })
      ->setProperty("toolbar", true);
  menu->addSeparator();
  entry(menu, tr("&Quit"), QKeySequence::Quit, tr("Close the window"), [this] { close(); });
}

void MainWindow::buildEditMenu() {
  QMenu* menu = menuBar()->addMenu(tr("&Edit"));
  QAction* undo = workbench_.undoStack().createUndoAction(this, tr("Undo"));
  undo->setShortcut(QKeySequence::Undo);
  undo->setIconText(tr("Undo"));
  undo->setProperty("toolbar", true);
  QAction* redo = workbench_.undoStack().createRedoAction(this, tr("Redo"));
  redo->setShortcuts({QKeySequence::Redo, QKeySequence(tr("Ctrl+Y"))});
  redo->setIconText(tr("Redo"));
  redo->setProperty("toolbar", true);
  menu->addAction(undo);
  menu->addAction(redo);
  menu->addSeparator();
  entry(menu, tr("&Find a key"), QKeySequence::Find, tr("Find a key of the scenario"), [this] {
    panelTabs_->setCurrentWidget(form_);
    form_->filter()->setFocus();
    form_->filter()->selectAll();
  });
  entry(menu, tr("Copy command &line"), QKeySequence(tr("Ctrl+L")),
        tr("Copy the moesim command that gives this answer"), [this] {
          QApplication::clipboard()->setText(workbench_.commandLine());
          statusBar()->showMessage(tr("copied: %1").arg(workbench_.commandLine()), kMessageMs);
        });
  menu->addSeparator();
  pin_ = entry(menu, tr("&Pin this answer"), QKeySequence(tr("Ctrl+P")),
               tr("Compare everything with this answer from now on"), [this] { workbench_.pin(); });
  pin_->setIconText(tr("Pin"));
  pin_->setProperty("toolbar", true);
  unpin_ = entry(menu, tr("&Unpin"), QKeySequence(tr("Ctrl+Shift+P")), tr("Compare with nothing"),
                 [this] { workbench_.unpin(); });
  unpin_->setProperty("toolbar", true);
  unpin_->setEnabled(false);
  entry(menu, tr("&Back to the pinned scenario"), QKeySequence(tr("Ctrl+B")),
        tr("Load the scenario of the pinned answer"), [this] {
          if (workbench_.pinned() != nullptr) {
            workbench_.setSpec(workbench_.pinned()->scenario->spec,
                               tr("back to the pinned scenario"));
          }
        });
}

void MainWindow::buildViewMenu() {
  QMenu* menu = menuBar()->addMenu(tr("&View"));
  for (std::size_t i = 0; i < views_.size(); ++i) {
    // Alt+1 .. Alt+9, Alt+0, then with shift.
    const QString digit = QString::number((i + 1) % 10);
    const QKeySequence keys(i < 10 ? QStringLiteral("Alt+%1").arg(digit)
                                   : QStringLiteral("Alt+Shift+%1").arg(digit));
    entry(menu, views_[i]->title(), keys, tr("Show the page %1").arg(views_[i]->title()),
          [this, i] { showView(static_cast<int>(i)); });
  }
  menu->addSeparator();
  entry(menu, tr("&Next page"), QKeySequence(tr("Ctrl+PgDown")), tr("Show the next page"),
        [this] { showView((stack_->currentIndex() + 1) % static_cast<int>(views_.size())); });
  entry(menu, tr("&Previous page"), QKeySequence(tr("Ctrl+PgUp")), tr("Show the page before"),
        [this] {
          const int count = static_cast<int>(views_.size());
          showView((stack_->currentIndex() + count - 1) % count);
        });
  entry(menu, tr("As a &table"), QKeySequence(tr("Ctrl+T")), tr("The page's data as a table"),
        [this] { currentView()->setTableShown(!currentView()->isTableShown()); });
  entry(menu, tr("Scenario as &JSON"), QKeySequence(tr("Ctrl+J")), tr("Form or JSON text"),
        [this] { panelTabs_->setCurrentIndex(1 - panelTabs_->currentIndex()); });
  entry(menu, tr("Search the &timeline"), QKeySequence(tr("Ctrl+K")), tr("Find slices by name"),
        [this] {
          for (std::size_t i = 0; i < views_.size(); ++i) {
            if (views_[i] == timeline_) {
              showView(static_cast<int>(i));
            }
          }
          timeline_->searchLine()->setFocus();
        });
  menu->addSeparator();
  dark_ = menu->addAction(tr("&Dark colours"));
  dark_->setCheckable(true);
  dark_->setShortcut(QKeySequence(tr("Ctrl+D")));
  dark_->setIconText(tr("Dark"));
  dark_->setProperty("toolbar", true);
  dark_->setChecked(theme().dark);
  connect(dark_, &QAction::toggled, this, &MainWindow::setDarkTheme);
}

void MainWindow::buildHelpMenu() {
  QMenu* menu = menuBar()->addMenu(tr("&Help"));
  QAction* tour = entry(menu, tr("&Tour of a minute"), QKeySequence(tr("Shift+F1")),
                        tr("A real question, step by step"), [this] { startTour(); });
  tour->setIconText(tr("Tour"));
  tour->setProperty("toolbar", true);
  entry(menu, tr("&Keys"), QKeySequence::HelpContents, tr("All keys"), [this] { showKeys(); });
  entry(menu, tr("&About moesim"), {}, tr("Version and licence"), [this] {
    QMessageBox::about(this, tr("moesim"),
                       tr("<b>moesim %1</b><p>How a Mixture-of-Experts model behaves on a cluster, "
                          "before a GPU is rented.</p><p>The simulator is Apache-2.0, this window "
                          "GPL-3.0-or-later because its charts (QCustomPlot) are.</p>")
                           .arg(text(version_text())));
  });
}

void MainWindow::showKeys() {
  QString rows;
  for (QAction* top : menuBar()->actions()) {
    for (QAction* action : top->menu()->actions()) {
      if (!action->shortcut().isEmpty()) {
        rows += QStringLiteral("<tr><td><b>%1</b>&nbsp;&nbsp;</td><td>%2</td></tr>")
                    .arg(action->shortcut().toString(), action->text().remove('&').toHtmlEscaped());
      }
    }
  }
  rows +=
      tr("<tr><td><b>W A S D</b></td><td>timeline: zoom and move</td></tr>"
         "<tr><td><b>, .</b></td><td>timeline: slice before and after</td></tr>"
         "<tr><td><b>arrows</b></td><td>choose a cell, GPU, bar or block</td></tr>"
         "<tr><td><b>space</b></td><td>placement: take and place a block</td></tr>");
  QMessageBox::information(this, tr("Keys"), "<table>" + rows + "</table>");
}

void MainWindow::exportView() {
  const QString name = currentView()->title().toLower().replace(' ', '_');
  const QString path =
      QFileDialog::getSaveFileName(this, tr("Export %1").arg(currentView()->title()), name + ".png",
                                   tr("Pictures and tables (*.png *.svg *.pdf *.csv)"));
  if (path.isEmpty()) {
    return;
  }
  try {
    currentView()->exportTo(path);
    statusBar()->showMessage(tr("written: %1").arg(path), kMessageMs);
  } catch (const InputError& error) {
    complain(text(error.what()));
  }
}

void MainWindow::complain(const QString& problem) {
  bannerLabel_->setText(problem);
  banner_->show();
  statusBar()->showMessage(problem, kMessageMs);
}

}  // namespace moesim::gui
