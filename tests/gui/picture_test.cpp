// SPDX-License-Identifier: GPL-3.0-or-later
// Pictures by their structure, not by pixels: what must be bright is bright, longer is longer, both
// colour sets draw, nothing is cut off, files hold what was on the screen.
#include <QAbstractButton>
#include <QComboBox>
#include <QFile>
#include <QImage>
#include <QLabel>
#include <QSet>
#include <QTemporaryDir>

#include "gui/bars.h"
#include "gui/heatmap.h"
#include "gui/theme.h"
#include "gui/timeline_canvas.h"
#include "tests/gui/gui_fixture.h"

namespace moesim::gui {
namespace {

QImage grab(QWidget& widget) {
  QImage image(widget.size(), QImage::Format_RGB32);
  widget.render(&image);
  return image;
}

int coloursOf(const QImage& image) {
  QSet<QRgb> colours;
  for (int y = 0; y < image.height(); y += 2) {
    for (int x = 0; x < image.width(); x += 2) {
      colours.insert(image.pixel(x, y));
    }
  }
  return static_cast<int>(colours.size());
}

TEST(GuiPicture, AHotCellIsBrighterThanItsNeighboursEvenWhenCellsAreSmallerThanPixels) {
  Heatmap map;
  map.resize(400, 300);
  for (const int count : {20, 2000}) {
    HeatmapData cells;
    cells.rows = count;
    cells.columns = count;
    cells.values.assign(static_cast<std::size_t>(count) * static_cast<std::size_t>(count), 0.1F);
    cells.values[static_cast<std::size_t>(count) * static_cast<std::size_t>(count / 2) +
                 static_cast<std::size_t>(count / 2)] = 1;
    map.setData(cells);
    const QImage image = grab(map);
    const QRectF area = map.cellArea(map.size());
    const QRgb hot = heatColor(1);
    int found = 0;
    QPoint sum;
    for (int y = static_cast<int>(area.top()); y < static_cast<int>(area.bottom()); ++y) {
      for (int x = static_cast<int>(area.left()); x < static_cast<int>(area.right()); ++x) {
        if (image.pixel(x, y) == hot) {
          ++found;
          sum += QPoint(x, y);
        }
      }
    }
    ASSERT_GT(found, 0) << count << " cells a side";
    EXPECT_NEAR(sum.x() / found, area.center().x(), area.width() / count + 3);
    EXPECT_NEAR(sum.y() / found, area.center().y(), area.height() / count + 3);
  }
}

TEST(GuiPicture, ABarOfTwiceTheValueIsTwiceAsLong) {
  Bars bars;
  bars.resize(500, 120);
  Bar one;
  one.value = 1;
  one.color = QColor(255, 0, 0);
  Bar two;
  two.value = 2;
  two.color = QColor(0, 0, 255);
  bars.setBars({one, two});
  const QImage image = grab(bars);
  int red = 0;
  int blue = 0;
  for (int y = 0; y < image.height(); ++y) {
    int redHere = 0;
    int blueHere = 0;
    for (int x = 0; x < image.width(); ++x) {
      redHere += image.pixelColor(x, y) == QColor(255, 0, 0) ? 1 : 0;
      blueHere += image.pixelColor(x, y) == QColor(0, 0, 255) ? 1 : 0;
    }
    red = std::max(red, redHere);
    blue = std::max(blue, blueHere);
  }
  ASSERT_GT(red, 20);
  EXPECT_NEAR(blue, 2 * red, 4);
}

TEST(GuiPicture, ASliceCoversItsShareOfTheLane) {
  Timeline timeline;
  timeline.kinds = {"experts"};
  timeline.streams = {"compute"};
  Span span;
  span.start = SimTime(0);
  span.end = SimTime(250000);
  timeline.spans.push_back(span);
  span.start = SimTime(750000);
  span.end = SimTime(1000000);
  timeline.spans.push_back(span);
  TimelineCanvas canvas;
  canvas.resize(600, 120);
  canvas.setIndex(std::make_shared<const TimelineIndex>(timeline));
  const QImage image = grab(canvas);
  const QRgb color = kindColor("experts").rgb();
  int most = 0;
  for (int y = 0; y < image.height(); ++y) {
    int here = 0;
    for (int x = 0; x < image.width(); ++x) {
      here += image.pixel(x, y) == color ? 1 : 0;
    }
    most = std::max(most, here);
  }
  // Half of the time is covered; the lane starts after the names.
  EXPECT_NEAR(most, (600 - 158) / 2, 8);
}

TEST(TimelinePicture, ItsLegendNamesEveryKindThatOccursAndNoOtherInAsManyLinesAsItNeeds) {
  // Nine kinds occur and one does not. 300 px hold at most three names in a line.
  Timeline timeline;
  timeline.kinds = {"embedding", "norm",    "attention", "router",  "dispatch",
                    "experts",   "combine", "dense_ffn", "lm_head", "expert_swap"};
  timeline.streams = {"compute"};
  for (std::uint16_t kind = 0; kind < 9; ++kind) {
    Span span;
    span.kind = kind;
    span.start = SimTime(kind * 1000);
    span.end = SimTime(kind * 1000 + 1);  // under a pixel: the lane shows almost nothing
    timeline.spans.push_back(span);
  }
  TimelineCanvas canvas;
  canvas.resize(300, 240);
  canvas.setIndex(std::make_shared<const TimelineIndex>(timeline));
  const QImage image = grab(canvas);
  // A key is a filled square of 11 px; below the lanes, which end where the legend begins.
  const auto keys = [&](const char* kind) {
    const QRgb color = kindColor(kind).rgb();
    int pixels = 0;
    for (int y = 100; y < image.height(); ++y) {
      for (int x = 0; x < image.width(); ++x) {
        pixels += image.pixel(x, y) == color ? 1 : 0;
      }
    }
    return pixels;
  };
  for (std::size_t kind = 0; kind < 9; ++kind) {
    EXPECT_GE(keys(timeline.kinds[kind].c_str()), 121) << timeline.kinds[kind];
  }
  EXPECT_EQ(keys("expert_swap"), 0);
}

TEST_F(GuiWindow, EveryPageDrawsInLightAndDark) {
  open("quickstart", true);
  for (const bool dark : {false, true}) {
    window.setDarkTheme(dark);
    for (int page = 0; page < static_cast<int>(window.views().size()); ++page) {
      window.showView(page);
      QApplication::processEvents();
      const QImage image = grab(*window.currentView());
      EXPECT_GT(coloursOf(image), 8) << window.currentView()->title().toStdString();
      // Most of a page is its background.
      int background = 0;
      int light = 0;
      for (int y = 0; y < image.height(); y += 4) {
        for (int x = 0; x < image.width(); x += 4) {
          light += qGray(image.pixel(x, y)) > 128 ? 1 : 0;
          ++background;
        }
      }
      const QString title = window.currentView()->title();
      if (title != "Experts" && title != "Network" && title != "Timeline" && title != "Placement") {
        EXPECT_EQ(light > background / 2, !dark) << title.toStdString();
      }
    }
  }
  window.setDarkTheme(false);
}

TEST_F(GuiWindow, NoTextIsCutOffAtTheSmallestAndALargeSize) {
  open("quickstart");
  for (const QSize size : {QSize(1280, 800), QSize(2560, 1440)}) {
    window.resize(size);
    for (int page = 0; page < static_cast<int>(window.views().size()); ++page) {
      window.showView(page);
      QApplication::processEvents();
      EXPECT_EQ(window.size(), size) << "page " << page << " is wider than the window";
      for (QWidget* widget : window.findChildren<QWidget*>()) {
        const auto* label = qobject_cast<QLabel*>(widget);
        const auto* button = qobject_cast<QAbstractButton*>(widget);
        const bool isText = (label != nullptr && !label->wordWrap() && !label->text().isEmpty()) ||
                            (button != nullptr && !button->text().isEmpty());
        if (!widget->isVisible() || !isText || widget->objectName() == "section") {
          continue;
        }
        const QString words = label != nullptr ? label->text() : button->text();
        EXPECT_GE(widget->width() + 1, widget->minimumSizeHint().width())
            << words.toStdString() << " on page " << page << " at " << size.width();
        EXPECT_GE(widget->height() + 1, widget->minimumSizeHint().height())
            << words.toStdString() << " on page " << page << " at " << size.width();
      }
    }
  }
}

TEST_F(GuiWindow, EveryPageIsWrittenAsPngSvgPdfAndCsv) {
  open("quickstart", true);
  QTemporaryDir folder;
  for (int page = 0; page < static_cast<int>(window.views().size()); ++page) {
    window.showView(page);
    QApplication::processEvents();
    for (const char* suffix : {"png", "svg", "pdf", "csv"}) {
      const QString path = folder.filePath(QStringLiteral("page%1.%2").arg(page).arg(suffix));
      window.currentView()->exportTo(path);
      QFile file(path);
      ASSERT_TRUE(file.open(QIODevice::ReadOnly)) << path.toStdString();
      const QByteArray content = file.readAll();
      const QByteArray head = content.left(200);
      if (QByteArray(suffix) == "png") {
        QImage image;
        ASSERT_TRUE(image.loadFromData(content));
        EXPECT_GE(image.width(), 2 * 400) << "pictures are written at twice the screen's size";
        // No experts are swapped here, so that page has nothing to draw.
        const bool isEmpty = window.currentView()->title() == "Hot swap";
        EXPECT_TRUE(isEmpty || coloursOf(image) > 1) << window.currentView()->title().toStdString();
      } else if (QByteArray(suffix) == "svg") {
        EXPECT_TRUE(head.contains("<?xml")) << window.currentView()->title().toStdString();
        EXPECT_TRUE(content.contains("</svg>"));
      } else if (QByteArray(suffix) == "pdf") {
        EXPECT_TRUE(head.startsWith("%PDF"));
      } else {
        EXPECT_EQ(content.count('\n') > 1, window.currentView()->table().rowCount() > 0);
      }
    }
  }
  EXPECT_THROW(window.currentView()->exportTo(folder.filePath("page.xyz")), InputError);
  EXPECT_THROW(window.currentView()->exportTo(folder.filePath("no/such/folder/page.svg")),
               InputError);
}

}  // namespace
}  // namespace moesim::gui
