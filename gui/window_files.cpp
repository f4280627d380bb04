// SPDX-License-Identifier: GPL-3.0-or-later
// What the window reads and writes: scenarios and everything else that can be opened, recent files,
// the state that the next start restores.
#include <QCloseEvent>
#include <QDir>
#include <QDragEnterEvent>
#include <QFile>
#include <QFileDialog>
#include <QFileInfo>
#include <QListWidget>
#include <QMenu>
#include <QMessageBox>
#include <QMimeData>
#include <QSettings>
#include <QStandardPaths>
#include <QTimer>

#include "gui/calibration_view.h"
#include "gui/main_window.h"
#include "gui/pareto_view.h"
#include "gui/text.h"
#include "gui/theme.h"
#include "gui/timeline_view.h"

namespace moesim::gui {
namespace {

constexpr int kMostRecent = 12;

QString stateFile() {
  const QString folder = QStandardPaths::writableLocation(QStandardPaths::AppDataLocation);
  QDir().mkpath(folder);
  return QDir(folder).filePath("last_scenario.json");
}

enum class FileKind { scenario, trace, validation, database };

/// By the first bytes and the keys at the top, not by the name.
FileKind kindOf(const QString& path) {
  QFile file(path);
  if (!file.open(QIODevice::ReadOnly)) {
    return FileKind::scenario;  // whose reader says what is wrong
  }
  const QByteArray head = file.read(4096);
  if (head.startsWith("SQLite format 3")) {
    return FileKind::database;
  }
  if (head.contains("\"traceEvents\"") || head.trimmed().startsWith("[{\"ph\"") ||
      head.contains("\"ph\":")) {
    return FileKind::trace;
  }
  return head.contains("moesim/validation/1") ? FileKind::validation : FileKind::scenario;
}

}  // namespace

bool MainWindow::openFile(const QString& path) {
  const auto show = [this](View* view) {
    for (std::size_t i = 0; i < views_.size(); ++i) {
      if (views_[i] == view) {
        showView(static_cast<int>(i));
      }
    }
  };
  try {
    switch (kindOf(path)) {
      case FileKind::database:
        show(pareto_);
        pareto_->showDatabase(path);
        break;
      case FileKind::trace:
        show(timeline_);
        timeline_->showTimeline(readChromeTrace(path.toStdString()),
                                tr("From %1").arg(path.section('/', -1)));
        break;
      case FileKind::validation:
        show(calibration_);
        calibration_->showValidation(path);
        break;
      case FileKind::scenario:
        if (!workbench_.open(path.toStdString())) {
          return false;
        }
    }
    addRecent(path);
    return true;
  } catch (const InputError& error) {
    complain(text(error.what()));
    return false;
  }
}

void MainWindow::openDialog() {
  if (!mayLoseChanges()) {
    return;
  }
  const QString path = QFileDialog::getOpenFileName(
      this, tr("Open"), text(workbench_.cards().root() + "/scenarios"),
      tr("Scenarios, results, traces, sweeps (*.json *.sqlite *.db);;All files (*)"));
  if (!path.isEmpty()) {
    openFile(path);
  }
}

bool MainWindow::save() {
  const QString file = text(workbench_.file());
  // Shipped scenarios stay as they are.
  const bool isShipped = QFileInfo(file).absoluteFilePath().startsWith(
      QFileInfo(text(workbench_.cards().root() + "/scenarios")).absoluteFilePath());
  if (file.isEmpty() || isShipped) {
    return saveAs();
  }
  try {
    workbench_.save(file.toStdString());
    return true;
  } catch (const InputError& error) {
    complain(text(error.what()));
    return false;
  }
}

bool MainWindow::saveAs() {
  const QString path = QFileDialog::getSaveFileName(this, tr("Save the scenario"),
                                                    text(workbench_.file()).section('/', -1),
                                                    tr("Scenarios (*.json)"));
  if (path.isEmpty()) {
    return false;
  }
  try {
    workbench_.save(path.toStdString());
    addRecent(path);
    return true;
  } catch (const InputError& error) {
    complain(text(error.what()));
    return false;
  }
}

bool MainWindow::mayLoseChanges() {
  // With its state kept for the next start nothing is lost, and undo brings the rest back.
  if (!workbench_.isModified() || !options_.remembersState) {
    return true;
  }
  const auto answer = QMessageBox::question(
      this, tr("Changed scenario"), tr("The scenario was changed. Save it first?"),
      QMessageBox::Save | QMessageBox::Discard | QMessageBox::Cancel, QMessageBox::Discard);
  return answer == QMessageBox::Discard || (answer == QMessageBox::Save && save());
}

void MainWindow::addRecent(const QString& path) {
  if (!options_.remembersState) {
    return;
  }
  QSettings settings;
  QStringList files = settings.value("recent").toStringList();
  const QString absolute = QFileInfo(path).absoluteFilePath();
  files.removeAll(absolute);
  files.prepend(absolute);
  settings.setValue("recent", QStringList(files.mid(0, kMostRecent)));
}

void MainWindow::fillRecent() {
  recent_->clear();
  const QStringList files = QSettings().value("recent").toStringList();
  for (const QString& file : files) {
    QAction* action = recent_->addAction(file);
    action->setEnabled(QFile::exists(file));
    connect(action, &QAction::triggered, this, [this, file] {
      if (mayLoseChanges()) {
        openFile(file);
      }
    });
  }
  if (files.isEmpty()) {
    recent_->addAction(tr("nothing yet"))->setEnabled(false);
  }
}

void MainWindow::saveState() {
  if (!options_.remembersState) {
    return;
  }
  QSettings settings;
  settings.setValue("geometry", saveGeometry());
  settings.setValue("page", navigation_->currentRow());
  settings.setValue("dark", theme().dark);
  Json state = Json::object();
  state.set("file", Json(workbench_.file()));
  state.set("scenario", workbench_.json());
  try {
    write_text_file(stateFile().toStdString(), state.dump() + "\n");
  } catch (const InputError&) {
    // A full disk must not keep anybody from working.
  }
}

void MainWindow::restoreState() {
  QSettings settings;
  if (options_.remembersState) {
    if (settings.contains("geometry")) {
      restoreGeometry(settings.value("geometry").toByteArray());
    }
    showView(std::clamp(settings.value("page", 0).toInt(), 0, static_cast<int>(views_.size()) - 1));
    if (settings.value("dark", false).toBool() != theme().dark) {
      setDarkTheme(settings.value("dark", false).toBool());
    }
    try {
      const Json state = load_json(stateFile().toStdString());
      const Json* file = state.find("file");
      const Json* scenario = state.find("scenario");
      const bool exists = file != nullptr && file->is_text() && !file->as_text().empty() &&
                          QFile::exists(text(file->as_text()));
      workbench_.open(exists ? file->as_text() : "quickstart");
      Diagnostics diagnostics;
      if (scenario != nullptr && *scenario != workbench_.json()) {
        const ScenarioSpec spec =
            read_object<ScenarioSpec>(*scenario, "last scenario", diagnostics);
        if (diagnostics.empty()) {
          workbench_.setSpec(spec, tr("last scenario"));
        }
      }
    } catch (const InputError&) {
      workbench_.open("quickstart");  // nothing was kept, or it cannot be read
    }
  } else {
    workbench_.open("quickstart");
  }
  if (options_.offersTour && !settings.value("tourSeen", false).toBool()) {
    settings.setValue("tourSeen", true);
    QTimer::singleShot(600, this, [this] { startTour(); });
  }
}

void MainWindow::closeEvent(QCloseEvent* event) {
  saveState();
  event->accept();
}

void MainWindow::dragEnterEvent(QDragEnterEvent* event) {
  if (event->mimeData()->hasUrls()) {
    event->acceptProposedAction();
  }
}

void MainWindow::dropEvent(QDropEvent* event) {
  for (const QUrl& url : event->mimeData()->urls()) {
    if (url.isLocalFile() && mayLoseChanges()) {
      openFile(url.toLocalFile());
      break;
    }
  }
}

}  // namespace moesim::gui
