// Which layers read the whole context and which only selected tokens.
#ifndef TIDAL_ENGINE_MODEL_LAYER_PLAN_H_
#define TIDAL_ENGINE_MODEL_LAYER_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tidal {

// What a layer does with a sparse decode row; all other rows are dense in every layer.
enum class LayerRole : uint8_t {
  kDense,   // D: attends to the whole context
  kSelect,  // S: the same, and selects the tokens that later layers read
  kReuse,   // R: attends to the tokens of the last selection
  kAnchor,  // A: selects, then attends to the tokens it selected
};

struct LayerPlan {
  std::vector<LayerRole> roles;  // one a layer

  bool has_reuse() const;  // some layer reads selected tokens only
};

// How many layers read what of a decode row's context.
struct LayerCounts {
  int32_t windowed = 0;  // have a window
  int32_t whole = 0;     // read all of it
  int32_t reuse = 0;     // read all of a dense row's, and selected tokens of a sparse one's
  int32_t selected =
      0;  // read selected tokens of a sparse row's: these, and anchors beside the rest
};

// `windows` as in PatternWithWindows().
LayerCounts CountLayers(const LayerPlan& plan, const std::vector<int32_t>& windows);

// From one character a layer. INVALID_ARGUMENT "FIELD: ..." for another length or character, or
// when the first layer that is not dense selects nothing.
absl::StatusOr<LayerPlan> ParseLayerPlan(absl::string_view pattern, int32_t num_layers,
                                         absl::string_view field);

// The pattern for a model some of whose layers see only their last `windows[layer]` > 0 tokens
// (0 = all; empty = no such layer). Such a layer is dense: it reads no more than its window anyway,
// and what lies in it says nothing of the whole context. If it was to select, the next layer
// without a window does so in its place.
std::string PatternWithWindows(std::string pattern, const std::vector<int32_t>& windows);

// The published schedule: D at 0 and 1, S at 2 and at `reselection_layer` (3 .. num_layers - 1; or
// -1 = none), R elsewhere. num_layers >= 4.
std::string PaperPattern(int32_t num_layers, int32_t reselection_layer);

// S at `layers` (ascending, 2 .. num_layers - 1; not empty), D before the first, R elsewhere.
std::string SelectingPattern(int32_t num_layers, const std::vector<int32_t>& layers);

// Where the published schedule selects again when nothing is known of the model: round(0.4 *
// layers), and at least 3; -1 where there is no such layer.
int32_t DefaultReselectionLayer(int32_t num_layers);

}  // namespace tidal

#endif  // TIDAL_ENGINE_MODEL_LAYER_PLAN_H_
