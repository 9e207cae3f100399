#include "engine/checkpoint/model_config.h"

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/json/json_file.h"
#include "engine/json/text_file.h"

namespace tidal {
namespace {

constexpr int64_t kMaxSize = 1 << 20;  // any one dimension
constexpr int64_t kMaxVocab = 1 << 22;
constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kDefaultMaxWindowLayers = 28;  // of the architectures that have this field

// Which layers have a sliding window.
enum class Windows : uint8_t {
  kNone,
  kAll,   // all, where sliding_window is a number
  kSome,  // with use_sliding_window: those that layer_types names, or all from max_window_layers on
};

// How an architecture differs from Llama. The biases that are not always there are switched by
// attention_bias (of q, k, v and o) and mlp_bias (of gate, up and down).
struct Architecture {
  const char* name;
  bool always_qkv_bias, may_attention_bias, may_mlp_bias;
  bool qk_norm;
  Windows windows;
  int32_t head_dim;  // where the file has none; 0 = hidden_size / num_attention_heads
};

constexpr Architecture kArchitectures[] = {
    {"LlamaForCausalLM", false, true, true, false, Windows::kNone, 0},
    {"MistralForCausalLM", false, false, false, false, Windows::kAll, 0},
    {"Qwen2ForCausalLM", true, false, false, false, Windows::kSome, 0},
    {"Qwen3ForCausalLM", false, true, false, true, Windows::kSome, 128},
};

absl::Status Unimplemented(const JsonFile& json, const std::string& field,
                           absl::string_view must_be) {
  return absl::UnimplementedError(json.Error(field, must_be).message());
}

absl::StatusOr<const Architecture*> ReadArchitecture(const JsonFile& json) {
  TIDAL_ASSIGN_OR_RETURN(const std::vector<std::string> names, json.Strings("architectures"));
  std::string known;
  for (const Architecture& architecture : kArchitectures) {
    for (const std::string& name : names) {
      if (name == architecture.name) return &architecture;
    }
    absl::StrAppend(&known, known.empty() ? "" : ", ", architecture.name);
  }
  return Unimplemented(json, "architectures", absl::StrCat("one of ", known));
}

// What we do not compute must be off.
absl::Status CheckFeatures(const JsonFile& json) {
  if (json.Has("quantization_config")) {
    return Unimplemented(json, "quantization_config", "absent (only bf16, fp16 and fp32 weights)");
  }
  TIDAL_ASSIGN_OR_RETURN(const std::string act, json.String("hidden_act", "silu"));
  if (act != "silu") return Unimplemented(json, "hidden_act", "\"silu\"");
  return absl::OkStatus();
}

absl::Status ReadBiases(const JsonFile& json, const Architecture& architecture,
                        ModelConfig* config) {
  config->qkv_bias = architecture.always_qkv_bias;
  if (architecture.may_attention_bias) {
    TIDAL_ASSIGN_OR_RETURN(config->o_bias, json.Bool("attention_bias", false));
    config->qkv_bias = config->o_bias;
  }
  if (architecture.may_mlp_bias) {
    TIDAL_ASSIGN_OR_RETURN(config->mlp_bias, json.Bool("mlp_bias", false));
  }
  return absl::OkStatus();
}

absl::Status ReadSizes(const JsonFile& json, ModelConfig* config) {
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

absl::Status ReadHeads(const JsonFile& json, int32_t default_head_dim, ModelConfig* config) {
  const int32_t heads = config->num_heads;
  TIDAL_ASSIGN_OR_RETURN(const int64_t kv_heads, json.Int("num_key_value_heads", 1, heads, heads));
  config->num_kv_heads = static_cast<int32_t>(kv_heads);
  if (heads % config->num_kv_heads != 0) {
    return json.Error("num_key_value_heads",
                      absl::StrCat("a divisor of num_attention_heads (", heads, ")"));
  }
  const bool derived = !json.Has("head_dim") && default_head_dim == 0;
  if (derived && config->hidden_size % heads != 0) {
    return json.Error("num_attention_heads",
                      absl::StrCat("a divisor of hidden_size (", config->hidden_size, ")"));
  }
  TIDAL_ASSIGN_OR_RETURN(
      const int64_t head_dim,
      json.Int("head_dim", 1, kMaxSize, derived ? config->hidden_size / heads : default_head_dim));
  config->head_dim = static_cast<int32_t>(head_dim);
  if (head_dim % 16 != 0 || head_dim > 256) {
    if (!derived) return json.Error("head_dim", "a multiple of 16, at most 256");
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

// layer_types, or what it is derived from: whether each layer has the window.
absl::StatusOr<std::vector<bool>> ReadWindowedLayers(const JsonFile& json, int32_t num_layers) {
  std::vector<bool> windowed(num_layers);
  if (!json.Has("layer_types")) {
    TIDAL_ASSIGN_OR_RETURN(const int64_t first,
                           json.Int("max_window_layers", 0, kMaxLayers, kDefaultMaxWindowLayers));
    for (int64_t i = first; i < num_layers; ++i) windowed[i] = true;
    return windowed;
  }
  TIDAL_ASSIGN_OR_RETURN(const std::vector<std::string> types, json.Strings("layer_types"));
  if (types.size() != windowed.size()) {
    return json.Error("layer_types", absl::StrCat("a list of ", num_layers, " types"));
  }
  for (int32_t i = 0; i < num_layers; ++i) {
    windowed[i] = types[i] == "sliding_attention";
    if (!windowed[i] && types[i] != "full_attention") {
      return Unimplemented(json, "layer_types", "of \"full_attention\" and \"sliding_attention\"");
    }
  }
  return windowed;
}

absl::Status ReadWindows(const JsonFile& json, Windows windows, ModelConfig* config) {
  if (windows == Windows::kNone) return absl::OkStatus();
  std::vector<bool> windowed(config->num_layers, true);
  if (windows == Windows::kAll) {
    if (!json.Has("sliding_window")) return absl::OkStatus();
  } else {
    TIDAL_ASSIGN_OR_RETURN(const bool on, json.Bool("use_sliding_window", false));
    if (!on) return absl::OkStatus();
    TIDAL_ASSIGN_OR_RETURN(windowed, ReadWindowedLayers(json, config->num_layers));
  }
  TIDAL_ASSIGN_OR_RETURN(const int64_t window, json.Int("sliding_window", 1, kMaxPositions));
  for (const bool on : windowed) {
    config->layer_windows.push_back(on ? static_cast<int32_t>(window) : 0);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& model_path) {
  TIDAL_ASSIGN_OR_RETURN(std::string text, ReadTextFile(model_path + "/config.json", 64 << 20));
  return ParseModelConfig(text, model_path + "/config.json");
}

absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view text, const std::string& file) {
  TIDAL_ASSIGN_OR_RETURN(const JsonFile json, JsonFile::Parse(text, file));
  ModelConfig config;
  TIDAL_ASSIGN_OR_RETURN(const Architecture* architecture, ReadArchitecture(json));
  config.architecture = architecture->name;
  config.qk_norm = architecture->qk_norm;
  TIDAL_RETURN_IF_ERROR(CheckFeatures(json));
  TIDAL_RETURN_IF_ERROR(ReadSizes(json, &config));
  TIDAL_RETURN_IF_ERROR(ReadHeads(json, architecture->head_dim, &config));
  TIDAL_RETURN_IF_ERROR(ReadBiases(json, *architecture, &config));
  TIDAL_RETURN_IF_ERROR(ReadWindows(json, architecture->windows, &config));
  TIDAL_ASSIGN_OR_RETURN(const double epsilon, json.Number("rms_norm_eps", 1e-12, 1));
  config.rms_norm_eps = static_cast<float>(epsilon);
  TIDAL_ASSIGN_OR_RETURN(config.rope, ParseRopeConfig(json, config.max_position_embeddings));
  TIDAL_ASSIGN_OR_RETURN(config.tie_word_embeddings, json.Bool("tie_word_embeddings", false));
  TIDAL_ASSIGN_OR_RETURN(config.eos_token_ids, json.TokenIds("eos_token_id", config.vocab_size));
  return config;
}

}  // namespace tidal
