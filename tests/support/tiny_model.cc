#include "tests/support/tiny_model.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace tidal {
namespace {

class Generator {
 public:
  explicit Generator(uint32_t seed) : random_(seed) {}

  // Uniform with this standard deviation. (The standard's normal distribution differs between
  // libraries.)
  std::vector<float> Values(int64_t count, double deviation) {
    std::vector<float> values(count);
    for (float& value : values) {
      const double unit = random_() / 4294967295.0 * 2 - 1;
      value = static_cast<float>(unit * deviation * std::sqrt(3.0));
    }
    return values;
  }

 private:
  std::mt19937 random_;
};

std::string ShardName(int32_t shard, int32_t count) {
  char name[64];
  std::snprintf(name, sizeof(name), "model-%05d-of-%05d.safetensors", shard + 1, count);
  return name;
}

void WriteShards(const std::string& folder, const TinyModelSpec& spec,
                 const std::vector<TensorToWrite>& tensors) {
  std::vector<std::vector<TensorToWrite>> shards(spec.num_shards);
  std::vector<std::string> map;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const int32_t shard = static_cast<int32_t>(i % spec.num_shards);
    shards[shard].push_back(tensors[i]);
    map.push_back(
        absl::StrCat("\"", tensors[i].name, "\":\"", ShardName(shard, spec.num_shards), "\""));
  }
  for (int32_t shard = 0; shard < spec.num_shards; ++shard) {
    WriteFile(folder + "/" + ShardName(shard, spec.num_shards), SafetensorsBytes(shards[shard]));
  }
  WriteFile(folder + "/model.safetensors.index.json",
            absl::StrCat("{\"metadata\":{},\"weight_map\":{", absl::StrJoin(map, ","), "}}"));
}

}  // namespace

std::string TinyConfigJson(const TinyModelSpec& spec) {
  return absl::StrCat(
      R"({"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_act":"silu",)",
      R"("rms_norm_eps":1e-5,"rope_theta":10000.0,"rope_scaling":null,"eos_token_id":1,)",
      "\"num_hidden_layers\":", spec.num_layers, ",\"hidden_size\":", spec.hidden_size,
      ",\"intermediate_size\":", spec.intermediate_size,
      ",\"num_attention_heads\":", spec.num_heads, ",\"num_key_value_heads\":", spec.num_kv_heads,
      ",\"head_dim\":", spec.head_dim, ",\"vocab_size\":", spec.vocab_size,
      ",\"max_position_embeddings\":", spec.max_position_embeddings,
      ",\"tie_word_embeddings\":", spec.tie_word_embeddings ? "true" : "false", "}");
}

std::vector<TensorToWrite> TinyTensors(const TinyModelSpec& spec) {
  Generator generator(spec.seed);
  std::vector<TensorToWrite> tensors;
  const auto matrix = [&](const std::string& name, int64_t rows, int64_t columns, double gain) {
    tensors.push_back(
        {name,
         spec.type,
         {rows, columns},
         generator.Values(rows * columns, gain / std::sqrt(static_cast<double>(columns)))});
  };
  const auto norm = [&](const std::string& name) {
    TensorToWrite tensor = {
        name, spec.type, {spec.hidden_size}, generator.Values(spec.hidden_size, 0.1)};
    for (float& value : tensor.values) value += 1;
    tensors.push_back(std::move(tensor));
  };
  const int64_t hidden = spec.hidden_size, mlp = spec.intermediate_size;
  const int64_t q = int64_t{spec.num_heads} * spec.head_dim;
  const int64_t kv = int64_t{spec.num_kv_heads} * spec.head_dim;
  matrix("model.embed_tokens.weight", spec.vocab_size, hidden, std::sqrt(hidden));
  for (int32_t i = 0; i < spec.num_layers; ++i) {
    const std::string prefix = absl::StrCat("model.layers.", i, ".");
    norm(prefix + "input_layernorm.weight");
    // Larger q and k: attention that is not flat, so that what is selected matters.
    matrix(prefix + "self_attn.q_proj.weight", q, hidden, 1.6);
    matrix(prefix + "self_attn.k_proj.weight", kv, hidden, 1.6);
    matrix(prefix + "self_attn.v_proj.weight", kv, hidden, 1);
    matrix(prefix + "self_attn.o_proj.weight", hidden, q, 1);
    norm(prefix + "post_attention_layernorm.weight");
    matrix(prefix + "mlp.gate_proj.weight", mlp, hidden, 1);
    matrix(prefix + "mlp.up_proj.weight", mlp, hidden, 1);
    matrix(prefix + "mlp.down_proj.weight", hidden, mlp, 1);
  }
  norm("model.norm.weight");
  if (!spec.tie_word_embeddings) matrix("lm_head.weight", spec.vocab_size, hidden, 2);
  return tensors;
}

TinyModel::TinyModel(const TinyModelSpec& spec) {
  const std::vector<TensorToWrite> tensors = TinyTensors(spec);
  WriteFile(FilePath("config.json"), TinyConfigJson(spec));
  if (spec.num_shards > 1) {
    WriteShards(path(), spec, tensors);
  } else {
    WriteFile(FilePath("model.safetensors"), SafetensorsBytes(tensors));
  }
  if (!spec.tidal_json.empty()) WriteFile(FilePath("tidal.json"), spec.tidal_json);
}

}  // namespace tidal
