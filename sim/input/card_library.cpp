// SPDX-License-Identifier: Apache-2.0
#include "sim/input/card_library.h"

#include <algorithm>
#include <filesystem>
#include <mutex>
#include <shared_mutex>
#include <string_view>
#include <system_error>
#include <tuple>

#include "sim/base/text_hash.h"
#include "sim/input/model_card.h"

namespace moesim {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxCardBytes = 64u << 20;

bool is_card_file(const fs::directory_entry& entry) {
  const std::string name = entry.path().filename().string();
  std::error_code error;
  return entry.is_regular_file(error) && name.ends_with(".json") &&
         !name.ends_with(".schema.json") &&
         !name.ends_with(".plan.json");  // a request to the planner
}

bool is_path(const std::string& id) {
  return id == "-" || id.find('/') != std::string::npos || id.ends_with(".json");
}

void add_card(std::map<std::string, std::string>& cards, const fs::path& path) {
  const auto [known, fresh] = cards.emplace(path.stem().string(), path.string());
  if (!fresh) {
    throw InputError(path.string(), "", "shares its name with " + known->second,
                     "give every card a name of its own");
  }
}

/// Values by id, each made once; makers may run twice when two threads ask at the same moment.
template <class T>
class Memo {
 public:
  template <class Make>
  T get(const std::string& id, const Make& make) {
    {
      const std::shared_lock lock(mutex_);
      if (const auto known = values_.find(id); known != values_.end()) {
        return known->second;
      }
    }
    T value = make();
    const std::unique_lock lock(mutex_);
    return values_.emplace(id, std::move(value)).first->second;
  }

 private:
  std::shared_mutex mutex_;
  std::map<std::string, T, std::less<>> values_;
};

}  // namespace

struct CardLibrary::Loaded {
  Memo<std::shared_ptr<const ModelCard>> models;
  Memo<std::shared_ptr<const DeviceProfile>> devices;
  Memo<std::shared_ptr<const ClusterProfile>> clusters;
  Memo<std::uint64_t> hashes[4];
};

std::span<const Choice<CardKind>> choices_of(CardKind) {
  static constexpr Choice<CardKind> kChoices[] = {
      {CardKind::model, "model", "a model card in models/"},
      {CardKind::device, "device", "a device profile in hardware_profiles/"},
      {CardKind::cluster, "cluster", "a cluster profile in hardware_profiles/"},
      {CardKind::scenario, "scenario", "a scenario in scenarios/"},
  };
  return kChoices;
}

CardLibrary::CardLibrary() : loaded_(std::make_shared<Loaded>()) {}

CardLibrary CardLibrary::open(const std::string& root) {
  CardLibrary library;
  library.root_ = root;
  std::error_code error;
  if (!fs::is_directory(root, error)) {
    throw InputError(root, "", "is no folder",
                     "give the folder that holds models/ and hardware_profiles/");
  }
  const fs::path base = fs::path(root).lexically_normal();
  for (const auto& entry : fs::directory_iterator(base / "models", error)) {
    if (is_card_file(entry)) {
      add_card(library.paths_[CardKind::model], entry.path());
    }
  }
  for (const auto& entry : fs::directory_iterator(base / "hardware_profiles", error)) {
    if (is_card_file(entry)) {
      const bool cluster = entry.path().filename().string().starts_with("cluster_");
      add_card(library.paths_[cluster ? CardKind::cluster : CardKind::device], entry.path());
    }
  }
  std::vector<CurveFile> curve_files;
  for (const auto& entry : fs::directory_iterator(base / "hardware_profiles" / "curves", error)) {
    const std::string stem = entry.path().stem().string();
    const std::size_t dot = stem.find('.');
    if (is_card_file(entry) && dot != std::string::npos) {
      curve_files.push_back({stem.substr(0, dot), stem.substr(dot + 1), entry.path().string()});
    }
  }
  std::sort(curve_files.begin(), curve_files.end(), [](const CurveFile& a, const CurveFile& b) {
    return std::tie(a.device, a.software) < std::tie(b.device, b.software);
  });
  library.curve_files_ = std::make_shared<const std::vector<CurveFile>>(std::move(curve_files));
  for (const auto& entry : fs::recursive_directory_iterator(base / "scenarios", error)) {
    if (is_card_file(entry)) {
      add_card(library.paths_[CardKind::scenario], entry.path());
    }
  }
  return library;
}

std::vector<std::string> CardLibrary::ids(CardKind kind) const {
  std::vector<std::string> ids;
  if (const auto cards = paths_.find(kind); cards != paths_.end()) {
    for (const auto& [id, path] : cards->second) {
      ids.push_back(id);
    }
  }
  return ids;
}

std::string CardLibrary::path(CardKind kind, const std::string& id, const std::string& file,
                              const std::string& pointer) const {
  if (is_path(id)) {
    return id;
  }
  if (const auto cards = paths_.find(kind); cards != paths_.end()) {
    if (const auto card = cards->second.find(id); card != cards->second.end()) {
      return card->second;
    }
  }
  const std::vector<std::string> known = ids(kind);
  const std::string nearest = nearest_word(id, known);
  std::string allowed = "allowed: a path, or one of";
  for (const std::string& candidate : known) {
    allowed += (candidate == known.front() ? " " : ", ") + candidate;
  }
  if (known.empty()) {
    allowed = "there are none under " + root_;
  }
  throw InputError(file, pointer, "no " + choice_name(kind) + " is called \"" + id + "\"",
                   nearest.empty() ? allowed : "did you mean \"" + nearest + "\"?");
}

std::uint64_t CardLibrary::hash(CardKind kind, const std::string& id) const {
  return loaded_->hashes[static_cast<std::size_t>(kind)].get(
      id, [&] { return text_hash(read_text_file(path(kind, id), kMaxCardBytes)); });
}

std::shared_ptr<const ModelCard> CardLibrary::shared_model(const std::string& id,
                                                           const std::string& file,
                                                           const std::string& pointer) const {
  return loaded_->models.get(id, [&] {
    return std::make_shared<const ModelCard>(
        load_model_card(path(CardKind::model, id, file, pointer)));
  });
}

std::shared_ptr<const DeviceProfile> CardLibrary::shared_device(const std::string& id,
                                                                const std::string& file,
                                                                const std::string& pointer) const {
  return loaded_->devices.get(
      id, [&] { return std::make_shared<const DeviceProfile>(device(id, file, pointer)); });
}

std::shared_ptr<const ClusterProfile> CardLibrary::shared_cluster(
    const std::string& id, const std::string& file, const std::string& pointer) const {
  return loaded_->clusters.get(
      id, [&] { return std::make_shared<const ClusterProfile>(cluster(id, file, pointer)); });
}

DeviceProfile CardLibrary::device(const std::string& id, const std::string& file,
                                  const std::string& pointer) const {
  return load_device_profile(path(CardKind::device, id, file, pointer));
}

ClusterProfile CardLibrary::cluster(const std::string& id, const std::string& file,
                                    const std::string& pointer) const {
  const std::string card = path(CardKind::cluster, id, file, pointer);
  ClusterProfile cluster = load_cluster_profile(card);
  Diagnostics diagnostics;
  for (std::size_t i = 0; i < cluster.node_groups.size(); ++i) {
    try {
      path(CardKind::device, cluster.node_groups[i].device, card,
           "/node_groups/" + std::to_string(i) + "/device");
    } catch (const InputError& unknown) {
      diagnostics.add(unknown.diagnostics().front());
    }
  }
  diagnostics.throw_if_any();
  return cluster;
}

}  // namespace moesim
