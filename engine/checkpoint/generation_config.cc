#include "engine/checkpoint/generation_config.h"

#include <limits>

#include "engine/base/status_macros.h"
#include "engine/json/json_file.h"

namespace tidal {
namespace {

absl::Status ReadFloat(const JsonFile& json, const char* field, double min, double max,
                       std::optional<float>* out) {
  if (!json.Has(field)) return absl::OkStatus();
  TIDAL_ASSIGN_OR_RETURN(const double value, json.Number(field, min, max));
  *out = static_cast<float>(value);
  return absl::OkStatus();
}

absl::Status ReadInt(const JsonFile& json, const char* field, int64_t min,
                     std::optional<int32_t>* out) {
  if (!json.Has(field)) return absl::OkStatus();
  TIDAL_ASSIGN_OR_RETURN(const int64_t value,
                         json.Int(field, min, std::numeric_limits<int32_t>::max()));
  *out = static_cast<int32_t>(value);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GenerationConfig> ReadGenerationConfig(const std::string& model_path,
                                                      int32_t vocab_size) {
  constexpr double kSmallest = std::numeric_limits<float>::min();  // for "greater than 0"
  GenerationConfig config;
  absl::StatusOr<JsonFile> file = JsonFile::Read(model_path + "/generation_config.json");
  if (absl::IsNotFound(file.status())) return config;
  if (!file.ok()) return file.status();
  const JsonFile& json = *file;
  if (json.Has("do_sample")) {
    TIDAL_ASSIGN_OR_RETURN(config.do_sample, json.Bool("do_sample"));
  }
  TIDAL_RETURN_IF_ERROR(ReadFloat(json, "temperature", 0, 2, &config.temperature));
  TIDAL_RETURN_IF_ERROR(ReadInt(json, "top_k", -1, &config.top_k));
  TIDAL_RETURN_IF_ERROR(ReadFloat(json, "top_p", kSmallest, 1, &config.top_p));
  TIDAL_RETURN_IF_ERROR(ReadFloat(json, "min_p", 0, 1, &config.min_p));
  TIDAL_RETURN_IF_ERROR(
      ReadFloat(json, "repetition_penalty", kSmallest, 2, &config.repetition_penalty));
  TIDAL_RETURN_IF_ERROR(ReadInt(json, "max_new_tokens", 1, &config.max_new_tokens));
  if (json.Has("eos_token_id")) {
    TIDAL_ASSIGN_OR_RETURN(config.eos_token_ids, json.TokenIds("eos_token_id", vocab_size));
  }
  return config;
}

}  // namespace tidal
