// From a profile's name and the model's tidal.json to the attention settings in force.
#ifndef TIDAL_ENGINE_MODEL_ATTENTION_PROFILE_H_
#define TIDAL_ENGINE_MODEL_ATTENTION_PROFILE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/attention_config.h"
#include "engine/checkpoint/model_config.h"

namespace tidal {

// What stands in tidal.json beside a model's weights. Every field is optional there.
struct TidalFile {
  SparseAttentionConfig config;  // pattern empty when the file has none
  // Where the published schedule selects again in this model; for the profile "paper" only.
  std::optional<int32_t> reselection_layer;
};

// INVALID_ARGUMENT for an unknown field or a value outside its range; `file` is for messages.
absl::StatusOr<TidalFile> ParseTidalFile(absl::string_view text, const std::string& file,
                                         int32_t num_layers);

struct ResolvedAttention {
  SparseAttentionConfig config;
  std::string source;  // for the log
  // Somebody who knows the model chose the plan: its folder, whose tidal.json says where to select,
  // or the operator, who named a profile. Any other plan is for requests that ask for it.
  bool chosen = false;
};

// `profile` is
//   "default":   tidal.json's plan; without one as "published", but chosen by nobody; dense for
//                fewer than 4 layers;
//   "published": the published schedule with sets shared by all heads, re-selecting where
//                tidal.json or, for a model of this shape, published_plans.h says, else at
//                round(0.4 * layers);
//   "quality":   the same, with all selecting layers of published_plans.h;
//   "paper":     the published schedule as published: sets per KV head by the largest raw q.k, no
//                sinks, no recency;
//   "dense":     every layer dense;
//   a pattern:   with tidal.json's other settings.
// INVALID_ARGUMENT names the field ("attention_profile" or the file's).
absl::StatusOr<ResolvedAttention> ResolveAttention(const std::string& profile,
                                                   const std::string& model_path,
                                                   const ModelConfig& model);

}  // namespace tidal

#endif  // TIDAL_ENGINE_MODEL_ATTENTION_PROFILE_H_
