// SPDX-License-Identifier: GPL-3.0-or-later
// The state behind the widgets: history, numbers of states, stale answers, problems, comparison.
#include "gui/workbench.h"

#include <QSignalSpy>
#include <cmath>

#include "gui/text.h"
#include "tests/gui/gui_fixture.h"

namespace moesim::gui {
namespace {

class GuiWorkbench : public testing::Test {
 protected:
  GuiWorkbench() : workbench(shippedCards()) {
    workbench.setWantsEvents(false);
    workbench.evaluator().setEventDelay(0);
  }
  Workbench workbench;
};

TEST_F(GuiWorkbench, UndoAndRedoWalkThroughTheScenariosStates) {
  ASSERT_TRUE(workbench.open("quickstart"));
  ASSERT_TRUE(workbench.setField("/workload/batch_per_gpu", Json(64)));
  ASSERT_TRUE(workbench.setField("/workload/batch_per_gpu", Json(32)));
  workbench.undoStack().undo();
  EXPECT_EQ(workbench.spec().workload.batch_per_gpu, 64);
  workbench.undoStack().undo();
  EXPECT_EQ(workbench.spec().workload.batch_per_gpu, 128);
  EXPECT_FALSE(workbench.isModified());
  workbench.undoStack().redo();
  EXPECT_EQ(workbench.spec().workload.batch_per_gpu, 64);
}

TEST_F(GuiWorkbench, OneDragIsOneStepOfTheHistory) {
  ASSERT_TRUE(workbench.open("quickstart"));
  for (int batch = 120; batch > 20; --batch) {
    ASSERT_TRUE(workbench.setField("/workload/batch_per_gpu", Json(batch), true));
  }
  EXPECT_EQ(workbench.undoStack().count(), 1);
  workbench.undoStack().undo();
  EXPECT_EQ(workbench.spec().workload.batch_per_gpu, 128);
}

TEST_F(GuiWorkbench, NoAnswerOfAnOlderStateArrivesAfterANewerOne) {
  ASSERT_TRUE(workbench.open("quickstart"));
  std::vector<std::uint64_t> seen;
  QObject::connect(&workbench, &Workbench::answerChanged, [&] {
    if (workbench.answer() != nullptr) {
      EXPECT_EQ(workbench.answer()->number, workbench.number());
      EXPECT_EQ(workbench.answer()->scenario->spec.workload.batch_per_gpu,
                workbench.spec().workload.batch_per_gpu);
      seen.push_back(workbench.answer()->number);
    }
  });
  for (int batch = 2; batch < 60; ++batch) {
    workbench.setField("/workload/batch_per_gpu", Json(batch));
    QApplication::processEvents(QEventLoop::AllEvents, 5);
  }
  ASSERT_TRUE(waitIdle(workbench));
  ASSERT_FALSE(seen.empty());
  EXPECT_EQ(seen.back(), workbench.number());
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_TRUE(workbench.answer()->isFinal);
}

TEST_F(GuiWorkbench, AProblemHasTheWordsOfTheCommandLineAndTheFieldsPointer) {
  ASSERT_TRUE(workbench.open("quickstart"));
  ASSERT_TRUE(waitIdle(workbench));
  workbench.setField("/parallelism/expert", Json(48));
  ASSERT_TRUE(waitIdle(workbench));
  std::string expected;
  try {
    resolve(workbench.spec(), workbench.cards(), workbench.file());
  } catch (const InputError& error) {
    expected = error.what();
  }
  ASSERT_FALSE(expected.empty());
  ASSERT_FALSE(workbench.problems().empty());
  EXPECT_EQ(InputError(workbench.problems()).what(), expected);
  EXPECT_EQ(workbench.problems().front().pointer.rfind("/parallelism", 0), 0U);
  EXPECT_EQ(workbench.answer(), nullptr) << "an old answer must not stand beside the problem";
  workbench.undoStack().undo();
  ASSERT_TRUE(waitIdle(workbench));
  EXPECT_TRUE(workbench.problems().empty());
  EXPECT_NE(workbench.answer(), nullptr);
}

TEST_F(GuiWorkbench, AValueOutsideTheRangeOfItsKeyIsRefusedAndNamed) {
  ASSERT_TRUE(workbench.open("quickstart"));
  EXPECT_FALSE(workbench.setField("/routing/sigma", Json(-3)));
  ASSERT_EQ(workbench.problems().size(), 1U);
  EXPECT_EQ(workbench.problems().front().pointer, "/routing/sigma");
  EXPECT_EQ(workbench.spec().routing.sigma, 0);
}

TEST_F(GuiWorkbench, TheCommandLineNamesExactlyWhatDiffersFromTheFile) {
  ASSERT_TRUE(workbench.open("quickstart"));
  EXPECT_FALSE(workbench.commandLine().contains("--set"));
  workbench.setField("/routing/sigma", Json(0.7));
  workbench.setField("/capacity/factor", Json(1.25));
  const QString line = workbench.commandLine();
  EXPECT_TRUE(line.startsWith("moesim run ")) << line.toStdString();
  EXPECT_TRUE(line.contains("--set /routing/sigma=0.7")) << line.toStdString();
  EXPECT_TRUE(line.contains("--set /capacity/factor=1.25")) << line.toStdString();
  EXPECT_EQ(line.count("--set"), 2) << line.toStdString();
}

TEST_F(GuiWorkbench, JsonTextThatDoesNotReadLeavesTheScenarioAsItWas) {
  ASSERT_TRUE(workbench.open("quickstart"));
  const Json before = workbench.json();
  EXPECT_FALSE(workbench.setJsonText("{\"schema\": \"moesim/scenario/1\", \"modle\": 3}"));
  EXPECT_EQ(workbench.json(), before);
  EXPECT_FALSE(workbench.problems().empty());
  EXPECT_TRUE(workbench.setJsonText(before.dump()));
}

TEST_F(GuiWorkbench, APinnedAnswerStaysWhileTheScenarioMovesOn) {
  ASSERT_TRUE(workbench.open("quickstart"));
  ASSERT_TRUE(waitIdle(workbench));
  workbench.pin();
  ASSERT_NE(workbench.pinned(), nullptr);
  const double before = *figure(workbench.pinned()->result, "output_tokens_per_s_per_gpu");
  workbench.setField("/workload/batch_per_gpu", Json(16));
  ASSERT_TRUE(waitIdle(workbench));
  EXPECT_EQ(*figure(workbench.pinned()->result, "output_tokens_per_s_per_gpu"), before);
  EXPECT_LT(*figure(workbench.answer()->result, "output_tokens_per_s_per_gpu"), before);
}

TEST_F(GuiWorkbench, WhereAllLayersTakeTooLongAPreviewOfAFewComesFirst) {
  workbench.evaluator().setPreviewBeyond(0);
  ASSERT_TRUE(workbench.open("quickstart"));
  ASSERT_TRUE(waitIdle(workbench));
  std::vector<std::int64_t> layers;
  QObject::connect(&workbench, &Workbench::answerChanged, &workbench, [&] {
    layers.push_back(workbench.answer()->previewLayers);
    if (layers.size() == 1) {
      workbench.pin();  // a preview is no baseline: the answer after it is
    }
  });
  ASSERT_TRUE(workbench.setField("/routing/sigma", Json(0.4)));
  ASSERT_TRUE(waitIdle(workbench));
  ASSERT_GE(layers.size(), 2u);
  EXPECT_EQ(layers.front(), 3);
  EXPECT_EQ(layers.back(), 0);
  ASSERT_NE(workbench.pinned(), nullptr);
  EXPECT_EQ(workbench.pinned()->previewLayers, 0);
  EXPECT_EQ(workbench.pinned()->number, workbench.number());
}

TEST(GuiText, ChangesAreAgainstThePinnedValue) {
  EXPECT_EQ(changeText(110, 100), "+10%");
  EXPECT_EQ(changeText(95, 100), "−5.0%");
  EXPECT_EQ(changeText(100, 100), "±0%");
  EXPECT_EQ(changeText(1, std::nullopt), "");
  EXPECT_EQ(changeText(1, 0.0), "");
}

}  // namespace
}  // namespace moesim::gui
