// Which layers should select in published models, as the literature reports: for folders without a
// tidal.json, by architecture and shape, which fine-tuned models share with the one they come from.
#ifndef TIDAL_ENGINE_MODEL_PUBLISHED_PLANS_H_
#define TIDAL_ENGINE_MODEL_PUBLISHED_PLANS_H_

#include <cstdint>
#include <vector>

#include "engine/checkpoint/model_config.h"

namespace tidal {

struct PublishedPlan {
  const char* models;         // "Llama-3-8B, Llama-3.1-8B"
  int32_t reselection_layer;  // where the published schedule selects again
  // All selecting layers of a plan that reads more for accuracy; empty where none is known.
  std::vector<int32_t> quality_layers;
};

// Null when nothing is known of models of this shape. The result is static.
const PublishedPlan* FindPublishedPlan(const ModelConfig& config);

}  // namespace tidal

#endif  // TIDAL_ENGINE_MODEL_PUBLISHED_PLANS_H_
