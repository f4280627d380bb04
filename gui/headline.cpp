// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/headline.h"

#include <array>
#include <initializer_list>

#include "gui/text.h"

namespace moesim::gui {
namespace {

const NamedMetric* firstOf(const SimulationResult& result,
                           std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (const NamedMetric* metric = result.find(name)) {
      return metric;
    }
  }
  return nullptr;
}

/// Fills a card from a metric; a distribution shows its median and names its 99th percentile.
Headline cardOf(QString title, const NamedMetric* metric, const SimulationResult* pinned,
                bool moreIsBetter) {
  Headline card;
  card.title = std::move(title);
  card.moreIsBetter = moreIsBetter;
  if (metric == nullptr) {
    card.detail = QStringLiteral("does not apply");
    return card;
  }
  card.metric = metric->name;
  card.unit = metric->unit;
  const NamedMetric* before = pinned != nullptr ? pinned->find(metric->name) : nullptr;
  const auto take = [&card](const Metric& figure) {
    card.value = figure.value;
    card.low = figure.low;
    card.high = figure.high;
    card.basis = text(choice_name(figure.basis));
    card.isExtrapolated = figure.extrapolated;
  };
  if (const Metric* plain = std::get_if<Metric>(&metric->value)) {
    take(*plain);
  } else if (const Distribution* spread = std::get_if<Distribution>(&metric->value)) {
    take(spread->p50);
    card.detail = QStringLiteral("median; p99 ") + valueText(spread->p99.value, metric->unit);
  } else {
    card.value = mainValue(*metric);
    const MetricGroup& group = std::get<MetricGroup>(metric->value);
    if (!group.empty()) {
      card.basis = text(choice_name(group.front().second.basis));
    }
  }
  if (before != nullptr && before->value.index() == metric->value.index()) {
    if (const Distribution* spread = std::get_if<Distribution>(&before->value)) {
      card.pinned = spread->p50.value;
    } else {
      card.pinned = mainValue(*before);
    }
  }
  return card;
}

}  // namespace

std::vector<Headline> headlinesOf(const SimulationResult& result, const SimulationResult* pinned,
                                  double availableBytes) {
  std::vector<Headline> cards;
  const NamedMetric* throughput =
      firstOf(result, {"output_tokens_per_s_per_gpu", "input_tokens_per_s_per_gpu"});
  const bool isInput = throughput != nullptr && throughput->name == "input_tokens_per_s_per_gpu";
  cards.push_back(
      cardOf(isInput ? QStringLiteral("Prompt tokens/s/GPU") : QStringLiteral("Tokens/s/GPU"),
             throughput, pinned, true));
  const NamedMetric* goodput =
      firstOf(result, {"goodput_tokens_per_s_per_gpu", "goodput_requests_per_s"});
  if (goodput != nullptr) {
    cards.push_back(cardOf(goodput->name == "goodput_requests_per_s"
                               ? QStringLiteral("Goodput, requests/s")
                               : QStringLiteral("Goodput/s/GPU"),
                           goodput, pinned, true));
  } else {
    Headline card = cardOf(QStringLiteral("Goodput/s/GPU"), throughput, pinned, true);
    card.metric.clear();
    card.low.reset();
    card.high.reset();
    card.detail = QStringLiteral("nothing is dropped");
    cards.push_back(card);
  }
  cards.push_back(cardOf(QStringLiteral("TPOT"), result.find("tpot_s"), pinned, false));
  cards.push_back(cardOf(QStringLiteral("TTFT"), result.find("ttft_s"), pinned, false));
  const NamedMetric* price =
      firstOf(result, {"usd_per_million_output_tokens", "usd_per_million_input_tokens"});
  Headline money = cardOf(price != nullptr && price->name == "usd_per_million_input_tokens"
                              ? QStringLiteral("$/M prompt tokens")
                              : QStringLiteral("$/M tokens"),
                          price, pinned, false);
  if (price != nullptr) {
    money.unit = "usd";
  }
  cards.push_back(money);
  Headline memory =
      cardOf(QStringLiteral("Memory/GPU"), result.find("memory_bytes"), pinned, false);
  if (!memory.metric.empty() && availableBytes > 0) {
    memory.detail = QStringLiteral("of ") + valueText(availableBytes, "bytes");
    memory.isOutOfBounds = memory.value > availableBytes;
  }
  cards.push_back(memory);
  Headline dropped = cardOf(QStringLiteral("Dropped tokens"), result.find("dropped_token_fraction"),
                            pinned, false);
  if (dropped.metric.empty()) {
    dropped.detail = QStringLiteral("no capacity limit");
  }
  cards.push_back(dropped);
  return cards;
}

HeadlineModel::HeadlineModel(Workbench& workbench, QObject* parent)
    : QAbstractTableModel(parent), workbench_(workbench) {
  connect(&workbench_, &Workbench::answerChanged, this, &HeadlineModel::refresh);
  connect(&workbench_, &Workbench::pinChanged, this, &HeadlineModel::refresh);
  connect(&workbench_, &Workbench::picturesChanged, this, &HeadlineModel::refresh);
}

void HeadlineModel::refresh() {
  beginResetModel();
  const Answer* answer = workbench_.answer();
  if (answer == nullptr) {
    headlines_.clear();
    number_ = 0;
  } else {
    const Pictures* pictures = workbench_.pictures();
    headlines_ = headlinesOf(
        answer->result, workbench_.pinned() != nullptr ? &workbench_.pinned()->result : nullptr,
        pictures != nullptr ? pictures->available_bytes : 0);
    number_ = answer->number;
    fidelity_ = answer->fidelity;
  }
  endResetModel();
}

int HeadlineModel::rowCount(const QModelIndex& parent) const {
  return parent.isValid() ? 0 : static_cast<int>(headlines_.size());
}

int HeadlineModel::columnCount(const QModelIndex& parent) const {
  return parent.isValid() ? 0 : kColumns;
}

QVariant HeadlineModel::data(const QModelIndex& index, int role) const {
  if (!index.isValid() || (role != Qt::DisplayRole && role != Qt::EditRole)) {
    return {};
  }
  const Headline& card = headlines_[static_cast<std::size_t>(index.row())];
  const bool isShown = role == Qt::DisplayRole;
  const auto number = [&](std::optional<double> value) {
    return !value    ? QVariant()
           : isShown ? QVariant(valueText(*value, card.unit))
                     : QVariant(*value);
  };
  const bool applies = !card.metric.empty() || card.detail == QStringLiteral("nothing is dropped");
  switch (index.column()) {
    case kFigure:
      return card.title;
    case kValue:
      return applies ? number(card.value) : QVariant(isShown ? QStringLiteral("–") : QString());
    case kLow:
      return number(card.low);
    case kHigh:
      return number(card.high);
    case kPinned:
      return number(card.pinned);
    case kChange:
      return changeText(card.value, card.pinned);
    default:
      return card.isExtrapolated ? card.basis + tr(", extrapolated") : card.basis;
  }
}

QVariant HeadlineModel::headerData(int section, Qt::Orientation orientation, int role) const {
  static const std::array<const char*, kColumns> kNames = {"Figure", "Value",  "Low",  "High",
                                                           "Pinned", "Change", "Basis"};
  if (role != Qt::DisplayRole || section < 0) {
    return {};
  }
  if (orientation == Qt::Horizontal) {
    return section < kColumns ? QVariant(kNames[static_cast<std::size_t>(section)]) : QVariant();
  }
  return section + 1;
}

}  // namespace moesim::gui
