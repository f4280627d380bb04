// SPDX-License-Identifier: GPL-3.0-or-later
// Colours of the explorer: one light and one dark set that every widget, chart and painted view
// shares, and the colour maps of heatmaps.
//
// The sequential map rises evenly in lightness, so that equal steps of a load look equal and a grey
// print still reads. Series colours keep apart for the common forms of colour blindness (after
// Okabe & Ito, 2008).
#pragma once

#include <QColor>
#include <QPalette>
#include <QString>
#include <array>

class QApplication;

namespace moesim::gui {

struct Theme {
  bool dark = false;
  QColor window, panel, card, border, text, muted, accent, accentText, good, bad, warn, grid, pin;
  std::array<QColor, 8> series;

  QPalette palette() const;
  QString styleSheet() const;
};

/// The set in use.
const Theme& theme();
/// Switches the whole application; widgets are repainted.
void setDark(QApplication& application, bool dark);

/// A load between cold (0) and hot (1).
QRgb heatColor(double share);
/// A utilisation: calm below a half, warning above 0.8.
QColor loadColor(double utilisation);
/// A steady colour for an op kind or a name.
QColor kindColor(const QString& kind);
/// Black or white, whichever reads better on `background`.
QColor inkOn(const QColor& background);

}  // namespace moesim::gui
