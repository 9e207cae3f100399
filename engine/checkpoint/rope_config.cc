#include "engine/checkpoint/rope_config.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "engine/base/status_macros.h"
#include "engine/json/json_file.h"

namespace tidal {
namespace {

constexpr double kMinTheta = 2, kMaxTheta = 1e12;
constexpr double kMaxFactor = 1e4;

struct NamedType {
  const char* name;
  RopeType type;
};
constexpr NamedType kTypes[] = {{"default", RopeType::kDefault},
                                {"linear", RopeType::kLinear},
                                {"dynamic", RopeType::kDynamic},
                                {"yarn", RopeType::kYarn},
                                {"llama3", RopeType::kLlama3}};

// Older files call it "type". One that gives a factor and not what it is for is a mistake.
absl::StatusOr<RopeType> ReadType(const JsonFile& rope) {
  const std::string field = rope.Has("rope_type") || !rope.Has("type") ? "rope_type" : "type";
  if (!rope.Has(field) && !rope.Has("factor")) return RopeType::kDefault;
  TIDAL_ASSIGN_OR_RETURN(const std::string name, rope.String(field));
  for (const NamedType& known : kTypes) {
    if (name == known.name) return known.type;
  }
  return absl::UnimplementedError(
      rope.Error(field, "\"default\", \"linear\", \"dynamic\", \"yarn\" or \"llama3\"").message());
}

absl::Status CheckWholeHeads(const JsonFile& json) {
  TIDAL_ASSIGN_OR_RETURN(const double part, json.Number("partial_rotary_factor", 0, 1, 1.0));
  if (part == 1.0) return absl::OkStatus();
  return absl::UnimplementedError(json.Error("partial_rotary_factor", "1").message());
}

// How much attention is sharpened for contexts that are `factor` times longer.
double YarnScale(double factor, double weight) {
  return factor <= 1 ? 1.0 : 0.1 * weight * std::log(factor) + 1.0;
}

absl::Status ReadYarn(const JsonFile& rope, RopeConfig* config) {
  TIDAL_ASSIGN_OR_RETURN(config->beta_fast, rope.Number("beta_fast", 1e-3, 1e6, 32.0));
  TIDAL_ASSIGN_OR_RETURN(config->beta_slow, rope.Number("beta_slow", 1e-3, 1e6, 1.0));
  if (config->beta_fast <= config->beta_slow) {
    return rope.Error("beta_fast", "greater than beta_slow");
  }
  TIDAL_ASSIGN_OR_RETURN(config->truncate, rope.Bool("truncate", true));
  // Both of these, or neither, change what follows from the factor.
  TIDAL_ASSIGN_OR_RETURN(const double mscale, rope.Number("mscale", 0, 100, 0.0));
  TIDAL_ASSIGN_OR_RETURN(const double mscale_all, rope.Number("mscale_all_dim", 0, 100, 0.0));
  const double derived = mscale != 0 && mscale_all != 0 ? YarnScale(config->factor, mscale) /
                                                              YarnScale(config->factor, mscale_all)
                                                        : YarnScale(config->factor, 1);
  TIDAL_ASSIGN_OR_RETURN(config->attention_factor,
                         rope.Number("attention_factor", 1e-3, 1e3, derived));
  return absl::OkStatus();
}

absl::Status ReadLlama3(const JsonFile& rope, RopeConfig* config) {
  TIDAL_ASSIGN_OR_RETURN(config->low_freq_factor, rope.Number("low_freq_factor", 1e-3, 1e6));
  TIDAL_ASSIGN_OR_RETURN(config->high_freq_factor, rope.Number("high_freq_factor", 1e-3, 1e6));
  if (config->high_freq_factor > config->low_freq_factor) return absl::OkStatus();
  return rope.Error("high_freq_factor", "greater than low_freq_factor");
}

}  // namespace

int32_t RopeConfig::MaxContextLen(int32_t max_position_embeddings) const {
  if (type != RopeType::kDynamic && type != RopeType::kYarn) return max_position_embeddings;
  const auto stretched =
      static_cast<int32_t>(std::min<double>(factor * original_length, kMaxPositions));
  return std::max(max_position_embeddings, stretched);
}

absl::StatusOr<RopeConfig> ParseRopeConfig(const JsonFile& json, int32_t max_position_embeddings) {
  RopeConfig config;
  TIDAL_ASSIGN_OR_RETURN(config.theta,
                         json.Number("rope_theta", kMinTheta, kMaxTheta, config.theta));
  TIDAL_RETURN_IF_ERROR(CheckWholeHeads(json));
  const char* const field = json.Has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  if (!json.Has(field)) return config;

  TIDAL_ASSIGN_OR_RETURN(const JsonFile rope, json.Object(field));
  TIDAL_ASSIGN_OR_RETURN(config.theta,
                         rope.Number("rope_theta", kMinTheta, kMaxTheta, config.theta));
  TIDAL_RETURN_IF_ERROR(CheckWholeHeads(rope));
  for (const char* layers : {"full_attention", "sliding_attention"}) {
    if (!rope.Has(layers)) continue;
    return absl::UnimplementedError(
        rope.Error(layers, "absent (all layers have the same positions)").message());
  }
  TIDAL_ASSIGN_OR_RETURN(config.type, ReadType(rope));
  if (config.type == RopeType::kDefault) return config;
  TIDAL_ASSIGN_OR_RETURN(config.factor, rope.Number("factor", 1, kMaxFactor));
  if (config.type == RopeType::kLinear) return config;
  config.original_length = max_position_embeddings;
  if (config.type == RopeType::kDynamic) return config;
  TIDAL_ASSIGN_OR_RETURN(const int64_t original, rope.Int("original_max_position_embeddings", 1,
                                                          kMaxPositions, max_position_embeddings));
  config.original_length = static_cast<int32_t>(original);
  TIDAL_RETURN_IF_ERROR(config.type == RopeType::kYarn ? ReadYarn(rope, &config)
                                                       : ReadLlama3(rope, &config));
  return config;
}

}  // namespace tidal
