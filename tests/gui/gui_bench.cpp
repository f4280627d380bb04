// SPDX-License-Identifier: GPL-3.0-or-later
// The explorer's times, each by the real thing: slider steps through Qt's own events until the
// window has been painted with the new answer, frames of large pictures, start.
//
//     moesim_gui_bench [--csv]
//
// Prints one line a figure: name, median, 95th percentile, unit. Wall-clock times need an idle
// machine; the CPU seconds of the process stand beside them.
#include <QApplication>
#include <QElapsedTimer>
#include <QFile>
#include <QSlider>
#include <QStandardPaths>
#include <QTest>
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <random>

#include "gui/heatmap.h"
#include "gui/main_window.h"
#include "gui/theme.h"
#include "gui/timeline_canvas.h"
#include "gui/topology_canvas.h"

namespace {

using namespace moesim;
using namespace moesim::gui;

double cpuMs() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) * 1e-6;
}

double threadMs() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) * 1e-6;
}

double residentMb(const char* key) {
  QFile file("/proc/self/status");
  if (file.open(QIODevice::ReadOnly)) {
    for (const QByteArray& line : file.readAll().split('\n')) {
      if (line.startsWith(key)) {
        return line.mid(static_cast<int>(qstrlen(key))).simplified().split(' ').first().toDouble() /
               1024;
      }
    }
  }
  return 0;
}

void report(const char* name, std::vector<double> values, const char* unit = "ms") {
  std::sort(values.begin(), values.end());
  std::printf("%-64s median %9.2f  p95 %9.2f %s\n", name, values[values.size() / 2],
              values[values.size() * 95 / 100], unit);
  std::fflush(stdout);
}

/// Counts the repaints of a widget.
class PaintSpy : public QObject {
 public:
  explicit PaintSpy(QWidget* widget) { widget->installEventFilter(this); }
  int paints = 0;

 protected:
  bool eventFilter(QObject*, QEvent* event) override {
    paints += event->type() == QEvent::Paint ? 1 : 0;
    return false;
  }
};

/// One slider step: key event in, until headline cards were painted with the answer to it.
void benchSlider(MainWindow& window, const char* name, const std::string& pointer, int steps) {
  Workbench& workbench = window.workbench();
  QSlider* slider = window.form().editor(pointer)->slider();
  slider->setFocus();
  PaintSpy spy(&window.cards());
  std::vector<double> wall;
  std::vector<double> cpu;
  bool isDown = true;
  for (int step = 0; step < steps; ++step) {
    if (slider->value() <= slider->minimum() + slider->singleStep()) {
      isDown = false;
    } else if (slider->value() >= slider->maximum() * 8 / 10) {
      isDown = true;
    }
    const std::uint64_t before = workbench.number();
    QElapsedTimer timer;
    timer.start();
    const double startCpu = cpuMs();
    do {  // some steps round to the same value: then the next one counts
      QTest::keyClick(slider, isDown ? Qt::Key_Left : Qt::Key_Right);
    } while (workbench.number() == before);
    const int paints = spy.paints;
    while (window.headlines().shownNumber() != workbench.number() || spy.paints == paints) {
      QApplication::processEvents(QEventLoop::WaitForMoreEvents | QEventLoop::AllEvents, 5);
      if (timer.elapsed() > 60000) {
        std::printf("%s: no answer\n", name);
        return;
      }
    }
    wall.push_back(static_cast<double>(timer.nsecsElapsed()) * 1e-6);
    cpu.push_back(cpuMs() - startCpu);
  }
  report(name, wall);
  report("  CPU of it, all threads", cpu);
}

double paintMs(QWidget& widget, QPixmap& onto) {
  QElapsedTimer timer;
  timer.start();
  widget.render(&onto);
  return static_cast<double>(timer.nsecsElapsed()) * 1e-6;
}

void benchCanvas(const char* name, QWidget& widget, const std::function<void(int)>& change) {
  QPixmap picture(widget.size());
  std::vector<double> times;
  std::vector<double> cpu;
  for (int i = 0; i < 60; ++i) {
    change(i);
    const double before = threadMs();
    times.push_back(paintMs(widget, picture));
    cpu.push_back(threadMs() - before);
  }
  report(name, times);
  report("  CPU of it", cpu);
}

Timeline millionSpans() {
  Timeline timeline;
  timeline.kinds = {"attention", "dispatch", "experts", "combine"};
  timeline.streams = {"compute", "communication"};
  std::mt19937_64 random(1);
  for (std::uint32_t gpu = 0; gpu < 64; ++gpu) {
    for (std::uint8_t stream = 0; stream < 2; ++stream) {
      std::int64_t now = 0;
      for (int i = 0; i < 7813; ++i) {
        Span span;
        span.start = SimTime(now);
        now += 2000000 + static_cast<std::int64_t>(random() % 8000000);
        span.end = SimTime(now);
        now += static_cast<std::int64_t>(random() % 500000);
        span.device = gpu;
        span.stream = stream;
        span.kind = static_cast<std::uint16_t>(random() % 4);
        span.label = timeline.labels.intern("layer " + std::to_string(i % 61));
        timeline.spans.push_back(span);
      }
    }
  }
  return timeline;
}

}  // namespace

int main(int argc, char** argv) {
  if (qEnvironmentVariableIsEmpty("QT_QPA_PLATFORM")) {
    qputenv("QT_QPA_PLATFORM", "offscreen");
  }
  QElapsedTimer sinceStart;
  sinceStart.start();
  QStandardPaths::setTestModeEnabled(true);
  QApplication application(argc, argv);
  setDark(application, false);
  auto cards = std::make_shared<const CardLibrary>(CardLibrary::open(MOESIM_SOURCE_DIR));
  MainWindow window(cards, {.remembersState = false, .offersTour = false});
  window.workbench().setWantsEvents(false);
  window.workbench().open("quickstart");
  window.show();
  QApplication::processEvents();
  std::printf("%-64s %9.2f ms\n", "start: window shown and taking input",
              static_cast<double>(sinceStart.nsecsElapsed()) * 1e-6);
  while (window.workbench().answer() == nullptr) {
    QApplication::processEvents(QEventLoop::WaitForMoreEvents, 5);
  }
  QApplication::processEvents();
  std::printf("%-64s %9.2f ms\n", "start: first answer painted",
              static_cast<double>(sinceStart.nsecsElapsed()) * 1e-6);
  while (window.workbench().isBusy()) {
    QApplication::processEvents(QEventLoop::WaitForMoreEvents, 5);
  }
  std::printf("%-64s %9.1f MB\n", "memory: default scenario, everything computed but events",
              residentMb("VmRSS:"));

  benchSlider(window, "slider: batch per GPU, 300 steps, key to painted answer",
              "/workload/batch_per_gpu", 300);
  benchSlider(window, "slider: context tokens, 300 steps", "/workload/context_tokens", 300);
  benchSlider(window, "slider: skew of the routing, 300 steps", "/routing/sigma", 300);

  QElapsedTimer opening;
  const Timeline timeline = millionSpans();
  opening.start();
  TimelineCanvas canvas;
  canvas.resize(1600, 900);
  canvas.setIndex(std::make_shared<const TimelineIndex>(timeline));
  QPixmap first(canvas.size());
  canvas.render(&first);
  std::printf("%-64s %9.2f ms\n", "timeline: open 1,000,064 spans, first frame painted",
              static_cast<double>(opening.nsecsElapsed()) * 1e-6);
  benchCanvas("timeline: frame of 1,000,064 spans, everything in view", canvas, [](int) {});
  benchCanvas("timeline: frame while zooming", canvas,
              [&canvas](int i) { QTest::keyClick(&canvas, i < 30 ? Qt::Key_W : Qt::Key_S); });

  std::mt19937 random(2);
  Heatmap heatmap;
  heatmap.resize(1200, 800);
  const auto cells = [&random](int rows, int columns) {
    HeatmapData made;
    made.rows = rows;
    made.columns = columns;
    for (int i = 0; i < rows * columns; ++i) {
      made.values.push_back(static_cast<float>(random() % 1000) / 500);
    }
    made.high = 2;
    return made;
  };
  const HeatmapData experts = cells(61, 256);
  benchCanvas("heatmap: 61 x 256, repaint", heatmap, [&](int) { heatmap.setData(experts); });
  const HeatmapData matrix = cells(256, 256);
  benchCanvas("matrix: 256 x 256, repaint", heatmap, [&](int) { heatmap.setData(matrix); });

  auto pictures = std::make_shared<LayerPictures>();
  ScenarioSpec large =
      load_scenario_spec(std::string(MOESIM_SOURCE_DIR) + "/scenarios/quickstart.json");
  large.nodes = 144;
  large.parallelism.expert.reset();
  large.placement.policy = PlacementKind::lpt;  // 256 experts in 1,152 slots, one a GPU
  large.placement.slots = 1152;
  try {
    const DeploymentPicture deployment(resolve(large, *cards, ""));
    pictures->traffic = deployment.traffic(0, 0.05);
  } catch (const InputError& error) {
    std::printf("topology: %s\n", error.what());
  }
  if (pictures->traffic.nodes.empty()) {
    return 0;
  }
  const auto shared = std::shared_ptr<const LayerPictures>(pictures);
  TopologyCanvas topology;
  topology.resize(1200, 800);
  topology.setTraffic(shared);
  benchCanvas("topology: 1,152 GPUs, repaint", topology,
              [&topology](int i) { topology.setMarkedGpu(i); });
  benchCanvas("topology: 1,152 GPUs, first paint of new loads", topology,
              [&](int) { topology.setTraffic(shared); });
  std::printf("%-64s %9.1f MB\n", "memory: most at any time", residentMb("VmHWM:"));
  return 0;
}
