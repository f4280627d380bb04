// SPDX-License-Identifier: GPL-3.0-or-later
// A table over data that a view already holds: the twin of a painted picture, for screen readers,
// copying and CSV.
//
// Cells are computed when asked for, so a million rows cost nothing until they are looked at.
#pragma once

#include <QAbstractTableModel>
#include <QStringList>
#include <functional>

namespace moesim::gui {

struct Grid {
  QStringList columns;
  int rows = 0;
  std::function<QVariant(int row, int column)> cell;  ///< display text or number
  std::function<QString(int row)> rowName;            ///< optional: text of the row's header
};

class GridModel : public QAbstractTableModel {
  Q_OBJECT
 public:
  using QAbstractTableModel::QAbstractTableModel;

  void setGrid(Grid grid);
  const Grid& grid() const { return grid_; }

  int rowCount(const QModelIndex& parent = {}) const override;
  int columnCount(const QModelIndex& parent = {}) const override;
  QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;
  QVariant headerData(int section, Qt::Orientation orientation,
                      int role = Qt::DisplayRole) const override;

 private:
  Grid grid_;
};

/// Header and rows as CSV (RFC 4180); numbers in the shortest form that reads back equal.
QString csvText(const QAbstractItemModel& model, int maxRows = 2000000);

}  // namespace moesim::gui
