// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/main_window.h"

#include <QApplication>
#include <QLabel>
#include <QListWidget>
#include <QProgressBar>
#include <QSplitter>
#include <QStatusBar>
#include <QTabWidget>
#include <QTimer>
#include <QVBoxLayout>

#include "gui/calibration_view.h"
#include "gui/cost_view.h"
#include "gui/experts_view.h"
#include "gui/latency_view.h"
#include "gui/memory_view.h"
#include "gui/network_view.h"
#include "gui/overview.h"
#include "gui/pareto_view.h"
#include "gui/placement_view.h"
#include "gui/sensitivity_view.h"
#include "gui/swap_view.h"
#include "gui/text.h"
#include "gui/theme.h"
#include "gui/timeline_view.h"
#include "gui/tour.h"
#include "gui/tradeoff_view.h"

namespace moesim::gui {
namespace {

constexpr int kSaveDelayMs = 1500;

}  // namespace

MainWindow::MainWindow(std::shared_ptr<const CardLibrary> cards, WindowOptions options)
    : options_(options), workbench_(std::move(cards)), headlines_(workbench_) {
  setWindowTitle("moesim");
  setAcceptDrops(true);
  auto* splitter = new QSplitter;
  auto* panel = new QWidget;
  buildPanel(panel);
  splitter->addWidget(panel);
  auto* main = new QWidget;
  auto* column = new QVBoxLayout(main);
  column->setContentsMargins(0, 0, 0, 0);
  column->setSpacing(0);
  cards_ = new HeadlineCards(workbench_, headlines_);
  column->addWidget(cards_);
  banner_ = new QFrame;
  banner_->setObjectName("banner");
  auto* bannerRow = new QHBoxLayout(banner_);
  bannerRow->setContentsMargins(10, 5, 10, 5);
  bannerLabel_ = new QLabel;
  bannerLabel_->setWordWrap(true);
  bannerLabel_->setTextInteractionFlags(Qt::TextSelectableByMouse);
  bannerRow->addWidget(bannerLabel_, 1);
  banner_->hide();
  column->addWidget(banner_);
  auto* row = new QHBoxLayout;
  row->setSpacing(0);
  navigation_ = new QListWidget;
  navigation_->setObjectName("navigation");
  navigation_->setAccessibleName(tr("Pages"));
  navigation_->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
  row->addWidget(navigation_);
  stack_ = new QStackedWidget;
  stack_->setAutoFillBackground(true);
  stack_->setBackgroundRole(QPalette::Base);
  row->addWidget(stack_, 1);
  column->addLayout(row, 1);
  splitter->addWidget(main);
  splitter->setChildrenCollapsible(false);
  splitter->setStretchFactor(0, 0);
  splitter->setStretchFactor(1, 1);
  splitter->setSizes({300, 980});
  splitter->setHandleWidth(1);
  setCentralWidget(splitter);
  buildPages();
  status_ = new QLabel;
  check_ = new QLabel;
  check_->setObjectName("muted");
  progress_ = new QProgressBar;
  progress_->setRange(0, 0);
  progress_->setMaximumWidth(120);
  progress_->setMaximumHeight(12);
  progress_->setTextVisible(false);
  progress_->setAccessibleName(tr("Computing"));
  progress_->hide();
  statusBar()->addWidget(status_, 1);
  statusBar()->addPermanentWidget(check_);
  statusBar()->addPermanentWidget(progress_);
  saving_ = new QTimer(this);
  saving_->setSingleShot(true);
  saving_->setInterval(kSaveDelayMs);
  connect(saving_, &QTimer::timeout, this, &MainWindow::saveState);
  buildActions();
  connect(&workbench_, &Workbench::problemsChanged, this, &MainWindow::showProblems);
  connect(&workbench_, &Workbench::answerChanged, this, &MainWindow::showStatus);
  connect(&workbench_, &Workbench::eventRunChanged, this, &MainWindow::showStatus);
  connect(&workbench_, &Workbench::busyChanged, this, [this](bool busy) {
    // Short answers need no bar.
    if (busy) {
      QTimer::singleShot(400, this, [this] { progress_->setVisible(workbench_.isBusy()); });
    } else {
      progress_->hide();
      showStatus();
    }
  });
  connect(&workbench_, &Workbench::specChanged, this, [this] {
    showTitle();
    if (options_.remembersState) {
      saving_->start();
    }
  });
  connect(&workbench_, &Workbench::fileChanged, this, &MainWindow::showTitle);
  connect(&workbench_, &Workbench::pinChanged, this, [this] {
    unpin_->setEnabled(workbench_.pinned() != nullptr);
    showStatus();
  });
  resize(1280, 800);
}

MainWindow::~MainWindow() {
  // Widgets first: they listen to models that are members of this window.
  delete takeCentralWidget();
}

void MainWindow::buildPanel(QWidget* panel) {
  auto* layout = new QVBoxLayout(panel);
  layout->setContentsMargins(8, 8, 4, 4);
  panelTabs_ = new QTabWidget;
  panelTabs_->setDocumentMode(true);
  panelTabs_->setAccessibleName(tr("Scenario"));
  form_ = new ScenarioForm(workbench_);
  json_ = new JsonPane(workbench_);
  panelTabs_->addTab(form_, tr("Scenario"));
  panelTabs_->addTab(json_, tr("JSON"));
  layout->addWidget(panelTabs_);
  panel->setMinimumWidth(280);
}

void MainWindow::buildPages() {
  timeline_ = new TimelineView(workbench_);
  pareto_ = new ParetoView(workbench_);
  calibration_ = new CalibrationView(workbench_);
  views_ = {new Overview(workbench_),
            new ExpertsView(workbench_),
            timeline_,
            new NetworkView(workbench_),
            pareto_,
            new TradeoffView(workbench_),
            new LatencyView(workbench_),
            new MemoryView(workbench_),
            new CostView(workbench_),
            new SensitivityView(workbench_),
            new PlacementView(workbench_),
            new SwapView(workbench_),
            calibration_};
  int width = 0;
  for (View* view : views_) {
    stack_->addWidget(view);
    navigation_->addItem(view->title());
    width = std::max(width, navigation_->fontMetrics().horizontalAdvance(view->title()));
  }
  navigation_->setFixedWidth(width + 44);
  connect(navigation_, &QListWidget::currentRowChanged, this, [this](int row) {
    if (row >= 0) {
      stack_->setCurrentIndex(row);
    }
  });
  navigation_->setCurrentRow(0);
}

View* MainWindow::view(const QString& title) const {
  for (View* view : views_) {
    if (view->title() == title) {
      return view;
    }
  }
  return nullptr;
}

View* MainWindow::currentView() const {
  return views_[static_cast<std::size_t>(stack_->currentIndex())];
}

void MainWindow::showView(int index) { navigation_->setCurrentRow(index); }

QString MainWindow::bannerText() const {
  return banner_->isHidden() ? QString() : bannerLabel_->text();
}

void MainWindow::showProblems() {
  QStringList lines;
  for (const Diagnostic& problem : workbench_.problems()) {
    lines << text(problem.text());
    if (lines.size() == 4 && workbench_.problems().size() > 4) {
      lines << tr("… and %1 more").arg(workbench_.problems().size() - 4);
      break;
    }
  }
  bannerLabel_->setText(lines.join('\n'));
  banner_->setVisible(!lines.isEmpty());
}

void MainWindow::showStatus() {
  const Answer* answer = workbench_.answer();
  QString state;
  if (answer != nullptr && answer->number == workbench_.number()) {
    state = tr("%1 fidelity, %2")
                .arg(text(choice_name(answer->fidelity)), valueText(answer->seconds, "s"));
    if (answer->previewLayers > 0) {
      state += tr(" · preview from %1 MoE layers, all follow").arg(answer->previewLayers);
    } else if (!answer->isFinal && workbench_.isBusy()) {
      state += tr(" · closed form first, the scenario's own fidelity follows");
    }
    if (!answer->result.feasibility.ok && !answer->result.feasibility.reasons.empty()) {
      state = QStringLiteral("✖ ") + text(answer->result.feasibility.reasons.front());
    }
  }
  status_->setText(
      status_->fontMetrics().elidedText(state, Qt::ElideRight, std::max(200, width() - 520)));
  status_->setToolTip(state);
  QString check;
  const EventRun* run = workbench_.eventRun().get();
  if (run != nullptr && run->number == workbench_.number() && answer != nullptr &&
      answer->fidelity == Fidelity::analytic) {
    for (const char* name : {"output_tokens_per_s_per_gpu", "input_tokens_per_s_per_gpu"}) {
      const auto events = figure(run->result, name);
      const auto closed = figure(answer->result, name);
      if (events && closed) {
        check = tr("events behind it: %1 tokens/s/GPU (%2)")
                    .arg(numberText(*events), changeText(*events, closed));
        break;
      }
    }
  }
  check_->setText(check);
}

void MainWindow::showTitle() {
  const QString file = text(workbench_.file()).section('/', -1);
  setWindowTitle(QStringLiteral("%1[*] – moesim").arg(file.isEmpty() ? tr("scenario") : file));
  setWindowModified(workbench_.isModified());
}

void MainWindow::setDarkTheme(bool dark) {
  setDark(*qApp, dark);
  dark_->setChecked(dark);
  for (View* view : views_) {
    view->recolour();
  }
  cards_->update();
}

void MainWindow::startTour() {
  if (tour_ != nullptr) {
    return;
  }
  const auto pageOf = [this](const char* title) {
    for (std::size_t i = 0; i < views_.size(); ++i) {
      if (views_[i]->title() == tr(title)) {
        showView(static_cast<int>(i));
        return static_cast<QWidget*>(views_[i]);
      }
    }
    return static_cast<QWidget*>(nullptr);
  };
  std::vector<TourStep> steps = {
      {tr("A question"),
       tr("128 H800 serve DeepSeek-V3 with evenly used experts. What if some experts become "
          "popular? The cards show the answer as you change the scenario."),
       [this] { return static_cast<QWidget*>(cards_); }, tr("Open that scenario"),
       [this] { workbench_.open("quickstart"); }},
      {tr("Remember where you start"),
       tr("A pinned answer is what everything is compared with from now on (Ctrl+P)."),
       [this] { return static_cast<QWidget*>(cards_); }, tr("Pin it"),
       [this] { workbench_.pin(); }},
      {tr("Make experts uneven"),
       tr("Drag Sigma to 1.1, the skew recorded for DeepSeek-R1 in decode, and watch the "
          "throughput."),
       [this] {
         form_->reveal("/routing/sigma");
         return static_cast<QWidget*>(form_->editor("/routing/sigma"));
       },
       tr("Do it for me"), [this] { workbench_.setField("/routing/sigma", Json(1.1)); }},
      {tr("See why"),
       tr("Bright cells are experts that many tokens choose. Everybody waits for their GPUs. A "
          "click "
          "selects an expert in every page."),
       [pageOf] { return pageOf("Experts"); },
       QString(),
       {}},
      {tr("Bring it back"),
       tr("Give the busiest experts copies on other GPUs: three slots a GPU instead of two, placed "
          "by load."),
       [this] {
         form_->reveal("/placement/policy");
         return static_cast<QWidget*>(form_->editor("/placement/policy"));
       },
       tr("Do it for me"),
       [this] {
         ScenarioSpec next = workbench_.spec();
         next.placement.policy = PlacementKind::best;
         next.placement.slots = 384;
         workbench_.setSpec(next, tr("three expert slots a GPU"));
       }},
      {tr("And what does it cost?"),
       tr("Memory shows what the copies take; Trade-offs how the answer moves along any key. Copy "
          "the command line (Ctrl+L) to run the same thing in a script."),
       [pageOf] { return pageOf("Memory"); },
       QString(),
       {}}};
  tour_ = new Tour(std::move(steps), this);
}

}  // namespace moesim::gui
