// SPDX-License-Identifier: GPL-3.0-or-later
// The window: scenario at the left, headline cards above, pages beside a list of them, problems in
// a banner, state of the computation in the status bar. Everything has a menu entry and a key.
#pragma once

#include <QMainWindow>
#include <QPointer>
#include <vector>

#include "gui/headline_cards.h"
#include "gui/json_pane.h"
#include "gui/scenario_form.h"
#include "gui/tour.h"
#include "gui/view.h"

class QListWidget;
class QMenu;
class QProgressBar;
class QTabWidget;

namespace moesim::gui {

class CalibrationView;
class ParetoView;
class TimelineView;

struct WindowOptions {
  bool remembersState = true;  ///< last scenario, page, sizes; recent files
  bool offersTour = true;      ///< at the first start
};

class MainWindow : public QMainWindow {
  Q_OBJECT
 public:
  explicit MainWindow(std::shared_ptr<const CardLibrary> cards, WindowOptions options = {});
  ~MainWindow() override;

  Workbench& workbench() { return workbench_; }
  HeadlineModel& headlines() { return headlines_; }
  ScenarioForm& form() { return *form_; }
  JsonPane& jsonPane() { return *json_; }
  HeadlineCards& cards() { return *cards_; }
  const std::vector<View*>& views() const { return views_; }
  View* view(const QString& title) const;
  View* currentView() const;
  void showView(int index);
  /// A scenario, result, trace, validation or sweep database, told apart by content; false after
  /// the problem was shown.
  bool openFile(const QString& path);
  /// The last state, or the quick start when there is none.
  void restoreState();
  void startTour();
  Tour* tour() const { return tour_; }
  void setDarkTheme(bool dark);
  QString bannerText() const;

 protected:
  void closeEvent(QCloseEvent* event) override;
  void dragEnterEvent(QDragEnterEvent* event) override;
  void dropEvent(QDropEvent* event) override;

 private:
  void buildPanel(QWidget* panel);
  void buildPages();
  void buildActions();
  void buildFileMenu();
  void buildEditMenu();
  void buildViewMenu();
  void buildHelpMenu();
  void showProblems();
  void showStatus();
  void showTitle();
  void saveState();
  void addRecent(const QString& path);
  void fillRecent();
  void openDialog();
  bool save();
  bool saveAs();
  bool mayLoseChanges();
  void exportView();
  void complain(const QString& problem);
  void showKeys();

  WindowOptions options_;
  Workbench workbench_;
  HeadlineModel headlines_;
  ScenarioForm* form_ = nullptr;
  JsonPane* json_ = nullptr;
  QTabWidget* panelTabs_ = nullptr;
  HeadlineCards* cards_ = nullptr;
  QListWidget* navigation_ = nullptr;
  QStackedWidget* stack_ = nullptr;
  QFrame* banner_ = nullptr;
  QLabel* bannerLabel_ = nullptr;
  QLabel* status_ = nullptr;
  QLabel* check_ = nullptr;
  QProgressBar* progress_ = nullptr;
  QTimer* saving_ = nullptr;
  QMenu* recent_ = nullptr;
  QAction* dark_ = nullptr;
  QAction* pin_ = nullptr;
  QAction* unpin_ = nullptr;
  std::vector<View*> views_;
  TimelineView* timeline_ = nullptr;
  ParetoView* pareto_ = nullptr;
  CalibrationView* calibration_ = nullptr;
  QPointer<Tour> tour_;
};

}  // namespace moesim::gui
