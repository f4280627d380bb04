// SPDX-License-Identifier: Apache-2.0
#include "sim/input/hf_config_grouping.h"

#include <algorithm>
#include <set>
#include <string>

namespace moesim {
namespace {

/// Splits "mla dense" into its two words.
std::pair<std::string, std::string> parts_of(const std::string& name) {
  const std::size_t space = name.find(' ');
  return {name.substr(0, space), name.substr(space + 1)};
}

void name_classes(std::vector<LayerClass>& classes) {
  std::set<std::string> mixers;
  std::set<std::string> ffns;
  for (const LayerClass& layer : classes) {
    mixers.insert(parts_of(layer.name).first);
    ffns.insert(parts_of(layer.name).second);
  }
  std::set<std::string> taken;
  for (LayerClass& layer : classes) {
    const auto [mixer, ffn] = parts_of(layer.name);
    std::string name = mixer + "_" + ffn;
    if (mixer == "none" || mixers.size() == 1) {
      name = ffn;
    } else if (ffn == "none" || ffns.size() == 1) {
      name = mixer;
    }
    std::string unique = name;
    for (int n = 2; !taken.insert(unique).second; ++n) {
      unique = name + "_" + std::to_string(n);
    }
    layer.name = unique;
  }
}

/// Runs that repeat the longest stretch first, periods of up to 16 layers.
std::vector<LayerRun> runs_of(const std::vector<std::size_t>& sequence,
                              const std::vector<LayerClass>& classes) {
  std::vector<LayerRun> runs;
  for (std::size_t at = 0; at < sequence.size();) {
    std::size_t best_period = 1;
    std::size_t best_repeats = 1;
    for (std::size_t period = 1; period <= 16 && at + period <= sequence.size(); ++period) {
      std::size_t repeats = 1;
      while (at + (repeats + 1) * period <= sequence.size() &&
             std::equal(sequence.begin() + static_cast<std::ptrdiff_t>(at),
                        sequence.begin() + static_cast<std::ptrdiff_t>(at + period),
                        sequence.begin() + static_cast<std::ptrdiff_t>(at + repeats * period))) {
        ++repeats;
      }
      if (repeats > 1 && repeats * period > best_repeats * best_period) {
        best_period = period;
        best_repeats = repeats;
      }
    }
    LayerRun run{static_cast<std::int64_t>(best_repeats), {}};
    for (std::size_t i = 0; i < best_period; ++i) {
      run.layers.push_back(classes[sequence[at + i]].name);
    }
    runs.push_back(std::move(run));
    at += best_period * best_repeats;
  }
  return runs;
}

}  // namespace

void group_layers(const std::vector<LayerClass>& layers, ModelCard& card) {
  std::vector<std::string> texts;  // what tells classes apart, names excluded
  std::vector<std::size_t> sequence;
  for (const LayerClass& layer : layers) {
    Json shape = write_object(layer);
    shape.set("name", "");
    shape.set("count", 1);
    const std::string text = shape.dump(-1);
    const auto found = std::find(texts.begin(), texts.end(), text);
    const auto index = static_cast<std::size_t>(found - texts.begin());
    if (found == texts.end()) {
      texts.push_back(text);
      card.layers.push_back(layer);
      card.layers.back().count = 0;
    }
    ++card.layers[index].count;
    sequence.push_back(index);
  }
  name_classes(card.layers);
  if (!std::is_sorted(sequence.begin(), sequence.end())) {
    card.order = runs_of(sequence, card.layers);
  }
}

}  // namespace moesim
