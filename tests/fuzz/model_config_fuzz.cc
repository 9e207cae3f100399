// libFuzzer entry: no config.json may crash its parser, and what it accepts can be used.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "engine/checkpoint/model_config.h"
#include "engine/model/layer_plan.h"
#include "engine/model/published_plans.h"
#include "engine/model/rope_table.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto config =
      tidal::ParseModelConfig({reinterpret_cast<const char*>(data), size}, "config.json");
  if (!config.ok()) return 0;
  if (config->max_context_len() < config->max_position_embeddings) __builtin_trap();
  if (!config->layer_windows.empty() && config->layer_windows.size() != config->num_layers) {
    __builtin_trap();
  }
  const std::string pattern(config->num_layers, 'D');
  if (tidal::PatternWithWindows(pattern, config->layer_windows) != pattern) __builtin_trap();
  for (const double frequency :
       tidal::RopeFrequencies(config->max_context_len(), config->head_dim, config->rope)) {
    if (!std::isfinite(frequency)) __builtin_trap();
  }
  tidal::FindPublishedPlan(*config);
  return 0;
}
