#include "engine/model/layer_plan.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"

namespace tidal {
namespace {

absl::Status BadPattern(absl::string_view field, const std::string& must_be,
                        absl::string_view pattern) {
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": must ", must_be, ", got \"", pattern, "\""));
}

}  // namespace

bool LayerPlan::has_reuse() const {
  return std::any_of(roles.begin(), roles.end(), [](LayerRole role) {
    return role == LayerRole::kReuse || role == LayerRole::kAnchor;
  });
}

LayerCounts CountLayers(const LayerPlan& plan, const std::vector<int32_t>& windows) {
  LayerCounts counts;
  for (size_t layer = 0; layer < plan.roles.size(); ++layer) {
    const LayerRole role = plan.roles[layer];
    const bool has_window = !windows.empty() && windows[layer] > 0;
    ++(has_window ? counts.windowed : role == LayerRole::kReuse ? counts.reuse : counts.whole);
    counts.selected += role == LayerRole::kReuse || role == LayerRole::kAnchor;
  }
  return counts;
}

absl::StatusOr<LayerPlan> ParseLayerPlan(absl::string_view pattern, int32_t num_layers,
                                         absl::string_view field) {
  if (pattern.size() != static_cast<size_t>(num_layers)) {
    return BadPattern(
        field, absl::StrCat("have one character for each of the ", num_layers, " layers"), pattern);
  }
  LayerPlan plan;
  for (char c : pattern) {
    switch (c) {
      case 'D':
        plan.roles.push_back(LayerRole::kDense);
        break;
      case 'S':
        plan.roles.push_back(LayerRole::kSelect);
        break;
      case 'R':
        plan.roles.push_back(LayerRole::kReuse);
        break;
      case 'A':
        plan.roles.push_back(LayerRole::kAnchor);
        break;
      default:
        return BadPattern(field, "consist of D, S, R and A", pattern);
    }
  }
  const size_t first = pattern.find_first_not_of('D');
  if (first != absl::string_view::npos && pattern[first] == 'R') {
    return BadPattern(field, "select (S or A) before the first R", pattern);
  }
  return plan;
}

std::string PatternWithWindows(std::string pattern, const std::vector<int32_t>& windows) {
  char moved = 'D';  // the selection that waits for a layer without a window
  for (size_t i = 0; i < windows.size(); ++i) {
    char& role = pattern[i];
    const bool selects = role == 'S' || role == 'A';
    if (windows[i] > 0) {
      if (selects) moved = role;
      role = 'D';
    } else {
      if (role == 'R' && moved != 'D') role = moved;
      if (role != 'D') moved = 'D';
    }
  }
  return pattern;
}

std::string PaperPattern(int32_t num_layers, int32_t reselection_layer) {
  TIDAL_CHECK(num_layers >= 4);
  TIDAL_CHECK(reselection_layer == -1 ||
              (reselection_layer >= 3 && reselection_layer < num_layers));
  if (reselection_layer < 0) return SelectingPattern(num_layers, {2});
  return SelectingPattern(num_layers, {2, reselection_layer});
}

std::string SelectingPattern(int32_t num_layers, const std::vector<int32_t>& layers) {
  TIDAL_CHECK(!layers.empty() && layers.front() >= 2 && layers.back() < num_layers);
  std::string pattern(num_layers, 'R');
  std::fill_n(pattern.begin(), layers.front(), 'D');
  for (const int32_t layer : layers) pattern[layer] = 'S';
  return pattern;
}

int32_t DefaultReselectionLayer(int32_t num_layers) {
  const auto layer = std::max(3, static_cast<int32_t>(std::lround(0.4 * num_layers)));
  return layer < num_layers - 1 ? layer : -1;
}

}  // namespace tidal
