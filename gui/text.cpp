// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/text.h"

#include <QHash>
#include <cmath>
#include <variant>

#include "sim/base/json.h"
#include "sim/base/quantity_text.h"

namespace moesim::gui {

QString numberText(double value) {
  return std::isfinite(value) ? text(plain_number_text(value, 4)) : QStringLiteral("–");
}

QString exactText(double value) {
  return std::isfinite(value) ? text(number_text(value)) : QString();
}

QString valueText(double value, const std::string& unit) {
  if (!std::isfinite(value)) {
    return QStringLiteral("–");
  }
  if (unit == "fraction") {
    return text(plain_number_text(value * 100, 3)) + QStringLiteral("%");
  }
  if (unit == "usd" || unit == "USD") {
    return QStringLiteral("$") + text(plain_number_text(value, 3));
  }
  if (unit.empty() || unit == "1/s" || unit == "tokens") {
    return text(plain_number_text(value, 4));
  }
  return text(quantity_text(value, unit));
}

QString bandText(const Metric& metric, const std::string& unit) {
  if (!metric.low || !metric.high) {
    return {};
  }
  return QStringLiteral("%1 – %2").arg(valueText(*metric.low, unit), valueText(*metric.high, unit));
}

QString changeText(double value, std::optional<double> pinned) {
  if (!pinned || !std::isfinite(value) || !std::isfinite(*pinned) || *pinned == 0) {
    return {};
  }
  const double change = (value / *pinned - 1) * 100;
  if (std::abs(change) < 0.05) {
    return QStringLiteral("±0%");
  }
  if (std::abs(change) >= 1000) {
    return QStringLiteral("×%1").arg(value / *pinned, 0, 'g', 3);
  }
  return QStringLiteral("%1%2%")
      .arg(change > 0 ? "+" : "−")
      .arg(std::abs(change), 0, 'f', std::abs(change) < 10 ? 1 : 0);
}

QString wordsOf(const std::string& name) { return text(name).replace('_', ' '); }

QString titleOf(const std::string& key) {
  static const QHash<QString, QString> kWords = {
      {"gpu", "GPU"},   {"gpus", "GPUs"}, {"kv", "KV"},    {"cpu", "CPU"}, {"slo", "SLO"},
      {"ttft", "TTFT"}, {"tpot", "TPOT"}, {"cv", "CV"},    {"sms", "SMs"}, {"mla", "MLA"},
      {"ffn", "FFN"},   {"usd", "USD"},   {"nvme", "NVMe"}};
  // Editors show the unit: a key's ending in it says nothing more.
  QString name = text(key);
  if (name.endsWith("_per_s")) {
    name.chop(1);
    name += "second";
  } else if (name.endsWith("_s")) {
    name.chop(2);
  }
  QStringList words = name.split('_', Qt::SkipEmptyParts);
  for (QString& word : words) {
    word = kWords.value(word, word);
  }
  QString title = words.join(' ');
  if (!title.isEmpty()) {
    title[0] = title[0].toUpper();
  }
  return title;
}

double mainValue(const NamedMetric& metric) {
  if (const Metric* plain = std::get_if<Metric>(&metric.value)) {
    return plain->value;
  }
  if (const Distribution* spread = std::get_if<Distribution>(&metric.value)) {
    return spread->mean.value;
  }
  double sum = 0;
  for (const auto& [name, part] : std::get<MetricGroup>(metric.value)) {
    sum += part.value;
  }
  return sum;
}

std::optional<double> figure(const SimulationResult& result, const std::string& name) {
  const NamedMetric* metric = result.find(name);
  return metric != nullptr ? std::optional<double>(mainValue(*metric)) : std::nullopt;
}

}  // namespace moesim::gui
