// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/theme.h"

#include <QApplication>
#include <QHash>
#include <QStyleFactory>
#include <QWidget>
#include <algorithm>
#include <cmath>

namespace moesim::gui {
namespace {

Theme lightTheme() {
  Theme t;
  t.window = QColor(0xf3, 0xf5, 0xf8);
  t.panel = QColor(0xff, 0xff, 0xff);
  t.card = QColor(0xff, 0xff, 0xff);
  t.border = QColor(0xd5, 0xda, 0xe2);
  t.text = QColor(0x1b, 0x22, 0x2c);
  t.muted = QColor(0x5a, 0x66, 0x76);
  t.accent = QColor(0x1f, 0x6f, 0xeb);
  t.accentText = Qt::white;
  t.good = QColor(0x12, 0x7a, 0x4b);
  t.bad = QColor(0xc4, 0x2b, 0x2b);
  t.warn = QColor(0xa8, 0x62, 0x00);
  t.grid = QColor(0xe4, 0xe8, 0xee);
  t.pin = QColor(0x8a, 0x4f, 0xc8);
  t.series = {QColor(0x1f, 0x6f, 0xeb), QColor(0xd5, 0x5e, 0x00), QColor(0x00, 0x9e, 0x73),
              QColor(0xb8, 0x4a, 0x9c), QColor(0xc9, 0x92, 0x00), QColor(0x3f, 0xa7, 0xd6),
              QColor(0x6b, 0x5b, 0xd2), QColor(0x77, 0x77, 0x77)};
  return t;
}

Theme darkTheme() {
  Theme t;
  t.dark = true;
  t.window = QColor(0x14, 0x18, 0x1f);
  t.panel = QColor(0x1b, 0x20, 0x29);
  t.card = QColor(0x20, 0x26, 0x31);
  t.border = QColor(0x36, 0x3f, 0x4d);
  t.text = QColor(0xe8, 0xec, 0xf2);
  t.muted = QColor(0x9a, 0xa6, 0xb6);
  t.accent = QColor(0x5b, 0x9d, 0xff);
  t.accentText = QColor(0x0b, 0x12, 0x1c);
  t.good = QColor(0x4c, 0xc3, 0x8a);
  t.bad = QColor(0xff, 0x7b, 0x72);
  t.warn = QColor(0xe3, 0xb3, 0x41);
  t.grid = QColor(0x2c, 0x34, 0x40);
  t.pin = QColor(0xc7, 0x9a, 0xff);
  t.series = {QColor(0x5b, 0x9d, 0xff), QColor(0xff, 0x9e, 0x4a), QColor(0x3f, 0xd0, 0xa0),
              QColor(0xe0, 0x7f, 0xc8), QColor(0xf2, 0xcc, 0x4d), QColor(0x6f, 0xd0, 0xf5),
              QColor(0x9d, 0x8f, 0xff), QColor(0xaa, 0xaa, 0xaa)};
  return t;
}

Theme current = lightTheme();

/// Anchors of the sequential map, dark to bright; lightness rises by about 10 each.
constexpr std::array<std::array<int, 3>, 9> kHeat = {{{24, 17, 64},
                                                      {58, 25, 110},
                                                      {99, 32, 127},
                                                      {142, 41, 125},
                                                      {186, 54, 108},
                                                      {224, 79, 82},
                                                      {247, 121, 55},
                                                      {253, 174, 60},
                                                      {252, 237, 150}}};

}  // namespace

QPalette Theme::palette() const {
  QPalette p;
  p.setColor(QPalette::Window, window);
  p.setColor(QPalette::WindowText, text);
  p.setColor(QPalette::Base, panel);
  p.setColor(QPalette::AlternateBase, dark ? card : window);
  p.setColor(QPalette::Text, text);
  p.setColor(QPalette::PlaceholderText, muted);
  p.setColor(QPalette::Button, dark ? card : QColor(0xf8, 0xf9, 0xfb));
  p.setColor(QPalette::ButtonText, text);
  p.setColor(QPalette::BrightText, bad);
  p.setColor(QPalette::Highlight, accent);
  p.setColor(QPalette::HighlightedText, accentText);
  p.setColor(QPalette::Link, accent);
  p.setColor(QPalette::ToolTipBase, card);
  p.setColor(QPalette::ToolTipText, text);
  p.setColor(QPalette::Light, dark ? border : Qt::white);
  p.setColor(QPalette::Midlight, dark ? card : QColor(0xec, 0xef, 0xf3));
  p.setColor(QPalette::Mid, border);
  p.setColor(QPalette::Dark, dark ? QColor(0x0d, 0x10, 0x15) : QColor(0xb4, 0xbc, 0xc8));
  p.setColor(QPalette::Shadow, dark ? Qt::black : QColor(0x80, 0x88, 0x94));
  for (const QPalette::ColorRole role :
       {QPalette::WindowText, QPalette::Text, QPalette::ButtonText}) {
    p.setColor(QPalette::Disabled, role, muted.lighter(dark ? 80 : 130));
  }
  return p;
}

QString Theme::styleSheet() const {
  return QStringLiteral(
             "QToolTip { background: %1; color: %2; border: 1px solid %3; padding: 4px; }"
             "QListWidget#navigation { background: %4; border: none; outline: none; }"
             "QListWidget#navigation::item { padding: 7px 10px; border-radius: 6px; margin: 1px "
             "6px; }"
             "QListWidget#navigation::item:selected { background: %5; color: %6; }"
             "QLabel#viewTitle { font-size: 15pt; font-weight: 600; }"
             "QLabel#muted { color: %7; }"
             "QLabel#error { color: %8; }"
             "QFrame#banner { background: %9; border: 1px solid %8; border-radius: 6px; }"
             "QToolButton#section { border: none; font-weight: 600; text-align: left; padding: "
             "4px; }"
             "QScrollArea { border: none; background: transparent; }"
             "QSplitter::handle { background: %3; }")
      .arg(card.name(), text.name(), border.name(), window.name(), accent.name(), accentText.name(),
           muted.name(), bad.name(), dark ? QStringLiteral("#3a2326") : QStringLiteral("#fdecec"));
}

const Theme& theme() { return current; }

void setDark(QApplication& application, bool dark) {
  current = dark ? darkTheme() : lightTheme();
  application.setStyle(QStyleFactory::create(QStringLiteral("Fusion")));
  application.setPalette(current.palette());
  application.setStyleSheet(current.styleSheet());
  for (QWidget* widget : application.allWidgets()) {
    widget->update();
  }
}

QRgb heatColor(double share) {
  const double at = std::clamp(share, 0.0, 1.0) * static_cast<double>(kHeat.size() - 1);
  const auto low = std::min(static_cast<std::size_t>(at), kHeat.size() - 2);
  const double part = at - static_cast<double>(low);
  std::array<int, 3> rgb{};
  for (std::size_t i = 0; i < 3; ++i) {
    rgb[i] =
        static_cast<int>(std::lround(kHeat[low][i] + part * (kHeat[low + 1][i] - kHeat[low][i])));
  }
  return qRgb(rgb[0], rgb[1], rgb[2]);
}

QColor loadColor(double utilisation) {
  const Theme& t = theme();
  if (utilisation <= 0) {
    return t.border;
  }
  const QColor& from = utilisation < 0.5 ? t.good : t.warn;
  const QColor& to = utilisation < 0.5 ? t.warn : t.bad;
  const double part = std::clamp(utilisation < 0.5 ? utilisation * 2 : utilisation * 2 - 1, 0., 1.);
  const auto mix = [part](int a, int b) { return static_cast<int>(a + part * (b - a)); };
  return QColor(mix(from.red(), to.red()), mix(from.green(), to.green()),
                mix(from.blue(), to.blue()));
}

QColor kindColor(const QString& kind) {
  // Compute in cool colours, exchange in warm ones: overlap shows at a glance.
  static const QHash<QString, int> kHue = {{"attention", 215},  {"attention_projection", 195},
                                           {"experts", 150},    {"shared_experts", 165},
                                           {"dense_ffn", 130},  {"router", 265},
                                           {"dispatch", 28},    {"combine", 8},
                                           {"tensor_sync", 45}, {"norm", 235},
                                           {"embedding", 285},  {"lm_head", 305},
                                           {"host", 60},        {"expert_swap", 345}};
  const auto found = kHue.find(kind);
  const int hue = found != kHue.end() ? *found : static_cast<int>(qHash(kind) % 360);
  return QColor::fromHsv(hue, theme().dark ? 150 : 165, theme().dark ? 220 : 200);
}

QColor inkOn(const QColor& background) {
  const double light =
      0.299 * background.red() + 0.587 * background.green() + 0.114 * background.blue();
  return light > 140 ? QColor(0x12, 0x16, 0x1c) : QColor(Qt::white);
}

}  // namespace moesim::gui
