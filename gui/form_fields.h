// SPDX-License-Identifier: GPL-3.0-or-later
// The keys of a scenario as rows of a form, out of the field tables: every name, unit, range and
// doc is stated there once in the whole program.
#pragma once

#include <QString>
#include <cstdint>
#include <string>
#include <vector>

#include "sim/input/scenario.h"

namespace moesim::gui {

struct FormField {
  std::string pointer;
  std::string section;  ///< key of the group, "" for the top
  const Field* field = nullptr;
};

/// Every leaf of the scenario's table, in its order.
const std::vector<FormField>& formFields();
/// The keys that the first section of the form repeats: what people ask about most.
const std::vector<std::string>& mainPointers();
const FormField* formField(const std::string& pointer);
/// Doc of a section from its field in the table.
QString sectionDoc(const std::string& section);

/// How far a slider goes: people drag within a usual range, the spin box takes all of the key's.
struct SliderScale {
  static constexpr int kSteps = 1000;
  double low = 0;
  double high = 1;
  bool isLogarithmic = false;
  bool isWhole = false;
  bool isPowerOfTwo = false;  ///< counts that only make sense doubled or halved

  double valueAt(int position) const;
  int positionOf(double value) const;
};
SliderScale sliderScale(const FormField& field);

/// What the tooltip of a field says: doc, unit, range, pointer.
QString fieldTip(const FormField& field);

}  // namespace moesim::gui
