// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/grid_model.h"

#include <algorithm>

#include "gui/text.h"
#include "sim/study/sweep_table.h"

namespace moesim::gui {

void GridModel::setGrid(Grid grid) {
  beginResetModel();
  grid_ = std::move(grid);
  endResetModel();
}

int GridModel::rowCount(const QModelIndex& parent) const {
  return parent.isValid() ? 0 : grid_.rows;
}

int GridModel::columnCount(const QModelIndex& parent) const {
  return parent.isValid() ? 0 : static_cast<int>(grid_.columns.size());
}

QVariant GridModel::data(const QModelIndex& index, int role) const {
  if (!index.isValid() || index.row() >= grid_.rows || index.column() >= grid_.columns.size()) {
    return {};
  }
  if (role == Qt::DisplayRole || role == Qt::EditRole) {
    const QVariant value = grid_.cell(index.row(), index.column());
    if (role == Qt::DisplayRole && value.typeId() == QMetaType::Double) {
      return numberText(value.toDouble());
    }
    return value;
  }
  if (role == Qt::TextAlignmentRole) {
    const QVariant value = grid_.cell(index.row(), index.column());
    const bool isNumber = value.typeId() == QMetaType::Double || value.typeId() == QMetaType::Int;
    return QVariant(
        static_cast<int>((isNumber ? Qt::AlignRight : Qt::AlignLeft) | Qt::AlignVCenter));
  }
  return {};
}

QVariant GridModel::headerData(int section, Qt::Orientation orientation, int role) const {
  if (role != Qt::DisplayRole) {
    return {};
  }
  if (orientation == Qt::Horizontal) {
    return section >= 0 && section < grid_.columns.size() ? grid_.columns[section] : QVariant();
  }
  return section >= 0 && section < grid_.rows && grid_.rowName ? QVariant(grid_.rowName(section))
                                                               : QVariant(section + 1);
}

QString csvText(const QAbstractItemModel& model, int maxRows) {
  std::string text;
  const int columns = model.columnCount();
  for (int c = 0; c < columns; ++c) {
    text.append(c > 0 ? "," : "");
    text.append(csv_field(model.headerData(c, Qt::Horizontal).toString().toStdString()));
  }
  text.append("\n");
  const int rows = std::min(model.rowCount(), maxRows);
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < columns; ++c) {
      const QVariant value = model.index(r, c).data(Qt::EditRole);
      const QString cell =
          value.typeId() == QMetaType::Double ? exactText(value.toDouble()) : value.toString();
      text.append(c > 0 ? "," : "");
      text.append(csv_field(cell.toStdString()));
    }
    text.append("\n");
  }
  return QString::fromStdString(text);
}

}  // namespace moesim::gui
