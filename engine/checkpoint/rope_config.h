// How a model turns positions into angles: rotary embeddings and the ways to stretch them.
#ifndef TIDAL_ENGINE_CHECKPOINT_ROPE_CONFIG_H_
#define TIDAL_ENGINE_CHECKPOINT_ROPE_CONFIG_H_

#include <cstdint>

#include "absl/status/statusor.h"

namespace tidal {

class JsonFile;

inline constexpr int64_t kMaxPositions = 1 << 24;  // that a model may be made for

enum class RopeType : uint8_t {
  kDefault,
  kLinear,   // all frequencies divided by `factor`
  kDynamic,  // a larger theta beyond the original length (NTK-aware): see RopeFrequencies()
  kYarn,     // low frequencies divided, high ones kept, and attention sharpened (arXiv 2309.00071)
  kLlama3,   // low frequencies divided, high ones kept: Llama 3.1 and 3.2
};

struct RopeConfig {
  RopeType type = RopeType::kDefault;
  double theta = 10000;
  double factor = 1;
  int32_t original_length =
      0;  // tokens of the contexts before stretching; 0 with kDefault, kLinear
  // kLlama3: wavelengths that fit less than `low` times into the original length are stretched,
  // those that fit more than `high` times are kept.
  double low_freq_factor = 1, high_freq_factor = 4;
  // kYarn: the same limits, `slow` and `fast`, as turns over the original length.
  double beta_fast = 32, beta_slow = 1;
  bool truncate = true;         // rounds the limits to whole dimensions
  double attention_factor = 1;  // of cosines and sines, so squared in the scores

  // The longest context these positions are made for, in tokens, by a file that says
  // `max_position_embeddings`. Files with kLinear and kLlama3 give the stretched length there,
  // those with kDynamic the original one, and kYarn's either.
  int32_t MaxContextLen(int32_t max_position_embeddings) const;
};

// From config.json: the object "rope_parameters", or "rope_scaling" with "rope_theta" beside it.
// INVALID_ARGUMENT (a field), UNIMPLEMENTED (another kind of stretching, or only a part of each
// head rotated).
absl::StatusOr<RopeConfig> ParseRopeConfig(const JsonFile& json, int32_t max_position_embeddings);

}  // namespace tidal

#endif  // TIDAL_ENGINE_CHECKPOINT_ROPE_CONFIG_H_
