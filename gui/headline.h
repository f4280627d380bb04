// SPDX-License-Identifier: GPL-3.0-or-later
// The headline figures of an answer, in the order of the cards: which metric of the result each one
// is, its band, the pinned figure beside it.
//
// Goodput stands beside throughput always: where nothing is dropped and no request misses a promise
// the card repeats the throughput and says so.
#pragma once

#include <QAbstractTableModel>
#include <vector>

#include "gui/workbench.h"

namespace moesim::gui {

struct Headline {
  QString title;
  std::string metric;  ///< of the result; "": the figure does not apply
  std::string unit;
  double value = 0;
  std::optional<double> low, high, pinned;
  QString detail;  ///< second line where there is no band
  QString basis;
  bool isExtrapolated = false;
  bool moreIsBetter = true;
  bool isOutOfBounds = false;  ///< memory that does not fit
};

/// The cards of a result; `pinned` may be null.
std::vector<Headline> headlinesOf(const SimulationResult& result, const SimulationResult* pinned,
                                  double availableBytes);

class HeadlineModel : public QAbstractTableModel {
  Q_OBJECT
 public:
  enum Column { kFigure, kValue, kLow, kHigh, kPinned, kChange, kBasis, kColumns };
  explicit HeadlineModel(Workbench& workbench, QObject* parent = nullptr);

  const std::vector<Headline>& headlines() const { return headlines_; }
  std::uint64_t shownNumber() const { return number_; }
  Fidelity fidelity() const { return fidelity_; }
  void refresh();

  int rowCount(const QModelIndex& parent = {}) const override;
  int columnCount(const QModelIndex& parent = {}) const override;
  QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;
  QVariant headerData(int section, Qt::Orientation orientation,
                      int role = Qt::DisplayRole) const override;

 private:
  Workbench& workbench_;
  std::vector<Headline> headlines_;
  std::uint64_t number_ = 0;
  Fidelity fidelity_ = Fidelity::analytic;
};

}  // namespace moesim::gui
