// SPDX-License-Identifier: GPL-3.0-or-later
// What a person does with keys and mouse, and what then happens to the scenario and the pages.
#include <QClipboard>
#include <QComboBox>
#include <QLineEdit>
#include <QPlainTextEdit>
#include <QSlider>
#include <QSpinBox>
#include <QTemporaryDir>

#include "gui/experts_view.h"
#include "gui/network_view.h"
#include "gui/overview.h"
#include "gui/pareto_view.h"
#include "gui/placement_view.h"
#include "gui/text.h"
#include "gui/timeline_view.h"
#include "gui/tour.h"
#include "tests/gui/gui_fixture.h"

namespace moesim::gui {
namespace {

template <class V>
V& page(MainWindow& window) {
  for (std::size_t i = 0; i < window.views().size(); ++i) {
    if (auto* found = qobject_cast<V*>(window.views()[i])) {
      window.showView(static_cast<int>(i));
      QApplication::processEvents();
      return *found;
    }
  }
  throw std::logic_error("no such page");
}

TEST_F(GuiWindow, ArrowKeysOnASliderChangeTheScenarioAndItsAnswer) {
  open("quickstart");
  const double before = *figure(window.workbench().answer()->result, "step_s");
  QSlider* slider = window.form().editor("/workload/batch_per_gpu")->slider();
  slider->setFocus();
  QTest::keyClick(slider, Qt::Key_PageDown);
  EXPECT_LT(window.workbench().spec().workload.batch_per_gpu, 128);
  ASSERT_TRUE(waitIdle(window.workbench()));
  EXPECT_LT(*figure(window.workbench().answer()->result, "step_s"), before);
}

TEST_F(GuiWindow, DraggingTheHandleOfASliderIsOneStepOfTheHistory) {
  open("quickstart");
  QSlider* slider = window.form().editor("/workload/context_tokens")->slider();
  const QPoint middle = slider->rect().center();
  const double share = static_cast<double>(slider->value()) / slider->maximum();
  const QPoint handle(static_cast<int>(6 + share * (slider->width() - 12)), middle.y());
  QTest::mousePress(slider, Qt::LeftButton, {}, handle);
  for (int step = 1; step <= 10; ++step) {
    QTest::mouseMove(slider, handle - QPoint(step * 3, 0));
    QApplication::processEvents();
  }
  QTest::mouseRelease(slider, Qt::LeftButton, {}, handle - QPoint(30, 0));
  EXPECT_LT(window.workbench().spec().workload.context_tokens, 4096);
  EXPECT_EQ(window.workbench().undoStack().count(), 1);
}

TEST_F(GuiWindow, ASpinBoxTakesScaledTextInTheUnitOfItsKey) {
  open("quickstart");
  auto* spin = window.form().editor("/runtime/host_overhead_s")->findChild<QuantitySpin*>();
  ASSERT_NE(spin, nullptr);
  spin->setFocus();
  spin->selectAll();
  QTest::keyClicks(spin, "2 ms");
  QTest::keyClick(spin, Qt::Key_Return);
  EXPECT_DOUBLE_EQ(window.workbench().spec().runtime.host_overhead_s, 0.002);
}

TEST_F(GuiWindow, AProblemStandsBesideItsFieldInTheWordsOfTheCommandLine) {
  open("quickstart");
  window.workbench().setField("/parallelism/expert", Json(48));
  ASSERT_TRUE(waitIdle(window.workbench()));
  ASSERT_FALSE(window.workbench().problems().empty());
  const Diagnostic& problem = window.workbench().problems().front();
  FieldEditor* editor = window.form().editor(problem.pointer);
  ASSERT_NE(editor, nullptr) << problem.pointer;
  EXPECT_TRUE(editor->problem().contains(text(problem.problem))) << editor->problem().toStdString();
  EXPECT_TRUE(window.bannerText().contains(text(problem.text())));
  window.workbench().undoStack().undo();
  ASSERT_TRUE(waitIdle(window.workbench()));
  EXPECT_TRUE(editor->problem().isEmpty());
  EXPECT_TRUE(window.bannerText().isEmpty());
}

TEST_F(GuiWindow, FormAndJsonShowTheSameScenario) {
  open("quickstart");
  QPlainTextEdit* editor = window.jsonPane().editor();
  QString text = editor->toPlainText();
  ASSERT_TRUE(text.contains("\"sigma\": 0"));
  editor->setPlainText(text.replace("\"sigma\": 0", "\"sigma\": 0.7"));
  window.jsonPane().takeText();
  EXPECT_DOUBLE_EQ(window.workbench().spec().routing.sigma, 0.7);
  window.workbench().setField("/routing/sigma", Json(0.3));
  EXPECT_TRUE(editor->toPlainText().contains("\"sigma\": 0.3"));
}

TEST_F(GuiWindow, KeysUndoRedoPinAndCopyTheCommandLine) {
  open("quickstart");
  window.activateWindow();
  QTest::keyClick(&window, Qt::Key_P, Qt::ControlModifier);
  EXPECT_NE(window.workbench().pinned(), nullptr);
  window.workbench().setField("/routing/sigma", Json(0.7));
  QTest::keyClick(&window, Qt::Key_L, Qt::ControlModifier);
  EXPECT_TRUE(QApplication::clipboard()->text().contains("/routing/sigma=0.7"));
  QTest::keyClick(&window, Qt::Key_Z, Qt::ControlModifier);
  EXPECT_EQ(window.workbench().spec().routing.sigma, 0);
  QTest::keyClick(&window, Qt::Key_3, Qt::AltModifier);
  EXPECT_EQ(window.currentView()->title(), "Timeline");
  QTest::keyClick(&window, Qt::Key_T, Qt::ControlModifier);
  EXPECT_TRUE(window.currentView()->isTableShown());
}

TEST_F(GuiWindow, ASelectedExpertIsMarkedOnEveryPage) {
  open("quickstart");
  window.workbench().setField("/routing/sigma", Json(0.7));
  ASSERT_TRUE(waitIdle(window.workbench()));
  auto& experts = page<ExpertsView>(window);
  Heatmap& map = experts.heatmap();
  ASSERT_GT(map.cells().rows, 1);
  const QRectF area = map.cellArea(map.size());
  QTest::mouseClick(&map, Qt::LeftButton, {}, area.center().toPoint());
  const Selection selection = window.workbench().selection();
  // The middle of an even number of cells lies on the edge between two.
  EXPECT_NEAR(selection.layer, map.cells().rows / 2, 1);
  EXPECT_NEAR(selection.expert, map.cells().columns / 2, 1);
  // Two experts a GPU, in order.
  EXPECT_EQ(selection.gpu, selection.expert / 2);
  ASSERT_TRUE(waitFor([this, &selection] {
    const LayerPictures* layers = window.workbench().layerPictures();
    return layers != nullptr && layers->traffic.moe_layer == selection.layer;
  }));
  auto& network = page<NetworkView>(window);
  ASSERT_GT(network.topology().numGpus(), selection.gpu);
  EXPECT_EQ(network.matrix().cells().rows, 128);
  QTest::keyClick(&network.topology(), Qt::Key_Right);
  EXPECT_EQ(window.workbench().selection().gpu, selection.gpu + 1);
}

TEST_F(GuiWindow, TheTimelineZoomsMovesStepsAndSearchesByKeys) {
  open("quickstart", true);
  auto& timeline = page<TimelineView>(window);
  TimelineCanvas& canvas = timeline.canvas();
  ASSERT_NE(canvas.index(), nullptr);
  const std::int64_t whole = canvas.windowEnd() - canvas.windowBegin();
  canvas.setFocus();
  QTest::keyClick(&canvas, Qt::Key_W);
  const std::int64_t zoomed = canvas.windowEnd() - canvas.windowBegin();
  EXPECT_LT(zoomed, whole);
  const std::int64_t from = canvas.windowBegin();
  QTest::keyClick(&canvas, Qt::Key_D);
  EXPECT_GT(canvas.windowBegin(), from);
  EXPECT_EQ(canvas.windowEnd() - canvas.windowBegin(), zoomed);
  QTest::keyClick(&canvas, Qt::Key_A);
  EXPECT_NEAR(static_cast<double>(canvas.windowBegin()), static_cast<double>(from), 2.0);
  QTest::keyClick(&canvas, Qt::Key_Period);
  const SliceRef first = canvas.current();
  QTest::keyClick(&canvas, Qt::Key_Period);
  EXPECT_EQ(canvas.current().slice, first.slice + 1);
  timeline.searchLine()->setText("experts");
  QTest::keyClick(timeline.searchLine(), Qt::Key_Return);
  const Slice& found = canvas.index()
                           ->lanes()[static_cast<std::size_t>(canvas.current().lane)]
                           .slices[static_cast<std::size_t>(canvas.current().slice)];
  EXPECT_TRUE(canvas.index()->label(found).contains("experts"));
  QTest::keyClick(&canvas, Qt::Key_F);
  EXPECT_EQ(canvas.windowEnd() - canvas.windowBegin(), whole);
}

TEST_F(GuiWindow, DraggingAnExpertToAnotherGpuChangesTheBalance) {
  open("quickstart");
  window.workbench().setField("/routing/sigma", Json(1.1));
  ASSERT_TRUE(waitIdle(window.workbench()));
  auto& placement = page<PlacementView>(window);
  PlacementBoard& board = placement.board();
  ASSERT_EQ(board.numRanks(), 128);
  const std::vector<double>& loads = board.rankLoads();
  const auto hottest =
      static_cast<int>(std::max_element(loads.begin(), loads.end()) - loads.begin());
  const auto coldest =
      static_cast<int>(std::min_element(loads.begin(), loads.end()) - loads.begin());
  const double before = board.imbalance();
  const std::vector<int> slots = board.slotExpert();
  // The lighter block of the hottest GPU, onto the column of the coldest.
  const int from = hottest * 2 + 1;
  const QPoint start = board.slotRect(from).center().toPoint();
  const QPoint end(board.slotRect(coldest * 2).center().toPoint().x(), 40);
  QTest::mousePress(&board, Qt::LeftButton, {}, start);
  QTest::mouseMove(&board, (start + end) / 2);
  QTest::mouseRelease(&board, Qt::LeftButton, {}, end);
  EXPECT_NE(board.slotExpert(), slots);
  EXPECT_LE(board.imbalance(), before);
  // Applied, the scenario has the balance that the board showed.
  QTemporaryDir folder;
  placement.applyTo(folder.filePath("placement.json").toStdString());
  ASSERT_TRUE(waitIdle(window.workbench()));
  EXPECT_TRUE(window.workbench().problems().empty()) << window.bannerText().toStdString();
  EXPECT_EQ(window.workbench().spec().placement.policy, PlacementKind::file);
  ASSERT_NE(window.workbench().pictures(), nullptr);
  EXPECT_EQ(window.workbench().pictures()->experts.slot_expert.front(), board.slotExpert());
}

TEST_F(GuiWindow, APointOfTheParetoPlotLoadsItsScenario) {
  open("quickstart");
  auto& pareto = page<ParetoView>(window);
  ASSERT_TRUE(waitFor([&pareto] { return !pareto.isRunning() && pareto.points().size() > 4; }));
  QApplication::processEvents();
  // The end of the front that is fastest for a user: the smallest batch.
  const int last = static_cast<int>(pareto.chart().spec().lines[0].x.size()) - 1;
  const QPointF at = pareto.chart().positionOf(0, last);
  QWidget* plot = pareto.chart().findChild<QWidget*>();
  ASSERT_NE(plot, nullptr);
  QTest::qWait(50);
  QTest::mouseClick(plot, Qt::LeftButton, {}, at.toPoint());
  EXPECT_EQ(window.workbench().spec().workload.batch_per_gpu, 1);
}

TEST_F(GuiWindow, AClickOnAnAlternativeTakesIt) {
  open("quickstart");
  auto& overview = page<Overview>(window);
  const std::vector<Bar>& bars = overview.whatIfs().bars();
  ASSERT_FALSE(bars.empty());
  overview.whatIfs().setFocus();
  QTest::keyClick(&overview.whatIfs(), Qt::Key_Down);
  QTest::keyClick(&overview.whatIfs(), Qt::Key_Return);
  EXPECT_EQ(window.workbench().undoStack().count(), 1);
}

TEST_F(GuiWindow, TheFilterFindsAKeyByItsDoc) {
  open("quickstart");
  window.form().filter()->setText("straggler");
  FieldEditor* found = nullptr;
  int visible = 0;
  for (FieldEditor* editor : window.form().findChildren<FieldEditor*>()) {
    if (editor->isVisible()) {
      ++visible;
      found = editor;
    }
  }
  ASSERT_EQ(visible, 1);
  EXPECT_EQ(found->field().pointer, "/runtime/straggler_factor");
}

TEST_F(GuiWindow, FilesAreToldApartByTheirContent) {
  open("quickstart", true);
  QTemporaryDir folder;
  const QString trace = folder.filePath("trace.json");
  write_text_file(trace.toStdString(),
                  R"({"traceEvents": [{"ph": "X", "name": "gemm", "cat": "experts", "ts": 1,)"
                  R"( "dur": 2, "pid": 0, "tid": 0}]})");
  EXPECT_TRUE(window.openFile(trace));
  EXPECT_EQ(window.currentView()->title(), "Timeline");
  EXPECT_EQ(window.currentView()->table().rowCount(), 1);
  const QString validation = folder.filePath("validation.json");
  write_text_file(validation.toStdString(),
                  R"({"schema": "moesim/validation/1", "groups": [], "rows": [{"suite": "compute",)"
                  R"( "group": "gemm", "row": "1", "measured": 2.0, "predicted": 1.9}]})");
  EXPECT_TRUE(window.openFile(validation));
  EXPECT_EQ(window.currentView()->title(), "Calibration");
  EXPECT_EQ(window.currentView()->table().rowCount(), 1);
  EXPECT_FALSE(window.openFile(folder.filePath("absent.json")));
  EXPECT_FALSE(window.workbench().problems().empty());
}

TEST_F(GuiWindow, TheTourAsksItsQuestionAndAnswersIt) {
  open("quickstart");
  window.startTour();
  ASSERT_NE(window.tour(), nullptr);
  const double even = *figure(window.workbench().answer()->result, "output_tokens_per_s_per_gpu");
  window.tour()->next();
  window.tour()->act();  // pin
  window.tour()->next();
  window.tour()->act();  // skew
  ASSERT_TRUE(waitIdle(window.workbench()));
  const double skewed = *figure(window.workbench().answer()->result, "output_tokens_per_s_per_gpu");
  EXPECT_LT(skewed, 0.7 * even);
  window.tour()->next();
  EXPECT_EQ(window.currentView()->title(), "Experts");
  window.tour()->next();
  window.tour()->act();  // copies of hot experts
  ASSERT_TRUE(waitIdle(window.workbench()));
  ASSERT_TRUE(window.workbench().problems().empty()) << window.bannerText().toStdString();
  EXPECT_GT(*figure(window.workbench().answer()->result, "output_tokens_per_s_per_gpu"),
            1.3 * skewed);
  window.tour()->next();
  window.tour()->next();
  EXPECT_TRUE(waitFor([this] { return window.tour() == nullptr; }, 5000));
}

}  // namespace
}  // namespace moesim::gui
