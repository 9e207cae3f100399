#include "engine/model_config.h"

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/json_fields.h"

namespace tidal {
namespace {

constexpr int64_t kMaxSize = 1 << 20;  // any one dimension
constexpr int64_t kMaxVocab = 1 << 22;
constexpr int64_t kMaxPositions = 1 << 24;
constexpr int64_t kMaxLayers = 1024;

// Architectures that are a stack of RMSNorm, grouped-query attention with rotary positions, and a
// SwiGLU MLP, with Llama's tensor names.
constexpr const char* kArchitectures[] = {"LlamaForCausalLM"};

absl::Status Unimplemented(const JsonFields& json, const std::string& field,
                           absl::string_view must_be) {
  return absl::UnimplementedError(json.Error(field, must_be).message());
}

absl::StatusOr<std::string> ReadArchitecture(const JsonFields& json) {
  TIDAL_ASSIGN_OR_RETURN(std::vector<std::string> names, json.Strings("architectures"));
  for (const std::string& name : names) {
    for (const char* known : kArchitectures) {
      if (name == known) return name;
    }
  }
  return Unimplemented(json, "architectures", "[\"LlamaForCausalLM\"]");
}

// What we do not compute must be off.
absl::Status CheckFeatures(const JsonFields& json) {
  for (const char* field : {"attention_bias", "mlp_bias"}) {
    TIDAL_ASSIGN_OR_RETURN(const bool on, json.Bool(field, false));
    if (on) return Unimplemented(json, field, "false (bias tensors are not supported)");
  }
  if (json.Has("rope_scaling")) {
    return Unimplemented(json, "rope_scaling", "null (scaled rotary positions are not supported)");
  }
  if (json.Has("quantization_config")) {
    return Unimplemented(json, "quantization_config", "absent (only bf16, fp16 and fp32 weights)");
  }
  TIDAL_ASSIGN_OR_RETURN(const double rotary, json.Number("partial_rotary_factor", 0, 1, 1.0));
  if (rotary != 1.0) return Unimplemented(json, "partial_rotary_factor", "1");
  TIDAL_ASSIGN_OR_RETURN(const std::string act, json.String("hidden_act", "silu"));
  if (act != "silu") return Unimplemented(json, "hidden_act", "\"silu\"");
  return absl::OkStatus();
}

absl::Status ReadSizes(const JsonFields& json, ModelConfig* config) {
  struct Field {
    const char* name;
    int64_t max;
    int32_t* out;
  };
  const Field fields[] = {
      {"vocab_size", kMaxVocab, &config->vocab_size},
      {"hidden_size", kMaxSize, &config->hidden_size},
      {"intermediate_size", kMaxSize, &config->intermediate_size},
      {"num_hidden_layers", kMaxLayers, &config->num_layers},
      {"num_attention_heads", kMaxSize, &config->num_heads},
      {"max_position_embeddings", kMaxPositions, &config->max_position_embeddings},
  };
  for (const Field& field : fields) {
    TIDAL_ASSIGN_OR_RETURN(const int64_t value, json.Int(field.name, 1, field.max));
    *field.out = static_cast<int32_t>(value);
  }
  return absl::OkStatus();
}

absl::Status ReadHeads(const JsonFields& json, ModelConfig* config) {
  const int32_t heads = config->num_heads;
  TIDAL_ASSIGN_OR_RETURN(const int64_t kv_heads, json.Int("num_key_value_heads", 1, heads, heads));
  config->num_kv_heads = static_cast<int32_t>(kv_heads);
  if (heads % config->num_kv_heads != 0) {
    return json.Error("num_key_value_heads",
                      absl::StrCat("a divisor of num_attention_heads (", heads, ")"));
  }
  if (!json.Has("head_dim") && config->hidden_size % heads != 0) {
    return json.Error("num_attention_heads",
                      absl::StrCat("a divisor of hidden_size (", config->hidden_size, ")"));
  }
  TIDAL_ASSIGN_OR_RETURN(const int64_t head_dim,
                         json.Int("head_dim", 1, kMaxSize, config->hidden_size / heads));
  config->head_dim = static_cast<int32_t>(head_dim);
  if (head_dim % 16 != 0 || head_dim > 256) {
    if (json.Has("head_dim")) return json.Error("head_dim", "a multiple of 16, at most 256");
    return json.Error("hidden_size", absl::StrCat("a multiple of 16 times, at most 256 times, "
                                                  "num_attention_heads (",
                                                  heads, ")"));
  }
  if (head_dim * (heads + 2 * kv_heads) > kMaxSize) {
    return json.Error("num_attention_heads", absl::StrCat("such that the heads have at most ",
                                                          kMaxSize, " elements together"));
  }
  return absl::OkStatus();
}

// Newer files keep theta in an object with the kind of scaling.
absl::StatusOr<double> ReadRopeTheta(const JsonFields& json) {
  if (!json.Has("rope_parameters")) return json.Number("rope_theta", 1, 1e12, 10000.0);
  TIDAL_ASSIGN_OR_RETURN(const JsonFields rope, json.Object("rope_parameters"));
  TIDAL_ASSIGN_OR_RETURN(const std::string type, rope.String("rope_type", "default"));
  if (type != "default") return Unimplemented(rope, "rope_type", "\"default\"");
  return rope.Number("rope_theta", 1, 1e12);
}

}  // namespace

absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& model_path) {
  TIDAL_ASSIGN_OR_RETURN(std::string text, ReadTextFile(model_path + "/config.json", 64 << 20));
  return ParseModelConfig(text, model_path + "/config.json");
}

absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view text, const std::string& file) {
  TIDAL_ASSIGN_OR_RETURN(const JsonFields json, JsonFields::Parse(text, file));
  ModelConfig config;
  TIDAL_ASSIGN_OR_RETURN(config.architecture, ReadArchitecture(json));
  TIDAL_RETURN_IF_ERROR(CheckFeatures(json));
  TIDAL_RETURN_IF_ERROR(ReadSizes(json, &config));
  TIDAL_RETURN_IF_ERROR(ReadHeads(json, &config));
  TIDAL_ASSIGN_OR_RETURN(const double epsilon, json.Number("rms_norm_eps", 1e-12, 1));
  config.rms_norm_eps = static_cast<float>(epsilon);
  TIDAL_ASSIGN_OR_RETURN(config.rope_theta, ReadRopeTheta(json));
  TIDAL_ASSIGN_OR_RETURN(config.tie_word_embeddings, json.Bool("tie_word_embeddings", false));
  TIDAL_ASSIGN_OR_RETURN(config.eos_token_ids, json.TokenIds("eos_token_id", config.vocab_size));
  return config;
}

}  // namespace tidal
