// The defaults a model's authors give for generation: generation_config.json.
#ifndef TIDAL_ENGINE_CHECKPOINT_GENERATION_CONFIG_H_
#define TIDAL_ENGINE_CHECKPOINT_GENERATION_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/ids.h"

namespace tidal {

// What the file does not say is empty. Ranges are those of SamplingParams.
struct GenerationConfig {
  std::optional<bool> do_sample;  // false = greedy, whatever the temperature
  std::optional<float> temperature;
  std::optional<int32_t> top_k;
  std::optional<float> top_p;
  std::optional<float> min_p;
  std::optional<float> repetition_penalty;
  std::optional<int32_t> max_new_tokens;
  std::optional<std::vector<TokenId>> eos_token_ids;  // in place of config.json's
};

// Reads MODEL_PATH/generation_config.json; where there is no such file, it says nothing.
// INVALID_ARGUMENT names the field, the value and the limit.
absl::StatusOr<GenerationConfig> ReadGenerationConfig(const std::string& model_path,
                                                      int32_t vocab_size);

}  // namespace tidal

#endif  // TIDAL_ENGINE_CHECKPOINT_GENERATION_CONFIG_H_
