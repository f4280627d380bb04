// SPDX-License-Identifier: Apache-2.0
// The shipped cards by id: which files there are, where they lie, and the hash of each text.
//
// Layout under the root: models/<id>.json, hardware_profiles/<id>.json (devices),
// hardware_profiles/cluster_<x>.json (clusters), hardware_profiles/curves/<device>.<software>.json
// (fitted curves), scenarios/**/<id>.json. `open` only lists names;
// texts are read when asked for, so an unreadable card hurts only who uses it. An id that contains
// "/" or ends in ".json" is a path of the user's own file. A card is read once a library: resolving
// a hundred thousand scenarios costs no file access; open the library anew to see edited files.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "sim/base/field_table.h"
#include "sim/input/cluster_profile.h"
#include "sim/input/hardware_profile.h"

namespace moesim {

/// A file of fitted curves: hardware_profiles/curves/DEVICE.SOFTWARE.json.
struct CurveFile {
  std::string device;    ///< "h100_sxm"
  std::string software;  ///< "trtllm-1.3.0rc20"
  std::string path;
};
struct ModelCard;

enum class CardKind { model, device, cluster, scenario };
std::span<const Choice<CardKind>> choices_of(CardKind);

class CardLibrary {
 public:
  /// Holds no cards.
  CardLibrary();
  /// Lists the cards under `root`; folders that are missing hold no cards. Throws InputError when
  /// `root` itself is no folder or two scenarios share an id.
  static CardLibrary open(const std::string& root);

  const std::string& root() const { return root_; }
  /// Ids in alphabetical order.
  std::vector<std::string> ids(CardKind kind) const;
  /// The file behind `id`. Throws InputError at `file`#`pointer` (where the id was written) naming
  /// the nearest id, or all of them.
  std::string path(CardKind kind, const std::string& id, const std::string& file = "",
                   const std::string& pointer = "") const;
  /// Every file of fitted curves, in order of device and software.
  const std::shared_ptr<const std::vector<CurveFile>>& curve_files() const { return curve_files_; }
  /// `text_hash` of the card's text. Throws as `path` does.
  std::uint64_t hash(CardKind kind, const std::string& id) const;

  // The cards themselves, shared and thread-safe; all throw InputError.
  std::shared_ptr<const ModelCard> shared_model(const std::string& id, const std::string& file = "",
                                                const std::string& pointer = "") const;
  std::shared_ptr<const DeviceProfile> shared_device(const std::string& id,
                                                     const std::string& file = "",
                                                     const std::string& pointer = "") const;
  std::shared_ptr<const ClusterProfile> shared_cluster(const std::string& id,
                                                       const std::string& file = "",
                                                       const std::string& pointer = "") const;

  /// Loads a device profile. Throws InputError.
  DeviceProfile device(const std::string& id, const std::string& file = "",
                       const std::string& pointer = "") const;
  /// Loads a cluster profile whose devices all exist. Throws InputError.
  ClusterProfile cluster(const std::string& id, const std::string& file = "",
                         const std::string& pointer = "") const;

 private:
  struct Loaded;

  std::string root_;
  std::map<CardKind, std::map<std::string, std::string>> paths_;
  std::shared_ptr<const std::vector<CurveFile>> curve_files_;
  std::shared_ptr<Loaded> loaded_;
};

}  // namespace moesim
