#include "engine/model/published_plans.h"

#include <string>

namespace tidal {
namespace {

struct Shape {
  const char* architecture;
  int32_t num_layers, hidden_size, intermediate_size, num_heads, num_kv_heads;

  bool Fits(const ModelConfig& config) const {
    return config.architecture == architecture && config.num_layers == num_layers &&
           config.hidden_size == hidden_size && config.intermediate_size == intermediate_size &&
           config.num_heads == num_heads && config.num_kv_heads == num_kv_heads;
  }
};

struct Entry {
  Shape shape;
  PublishedPlan plan;
};

// Re-selection layers of Llama 2 and 3 from TidalDecode (arXiv 2410.05076), of Qwen3 from
// LessIsMore (arXiv 2508.07101), whose shared sets, sinks and recency are our defaults; quality
// layers from Kascade (arXiv 2512.16391).
const std::vector<Entry>& Entries() {
  static const auto* const entries = new std::vector<Entry>{
      {{"LlamaForCausalLM", 32, 4096, 11008, 32, 32}, {"Llama-2-7B, LongChat-7B", 7, {}}},
      {{"LlamaForCausalLM", 32, 4096, 14336, 32, 8},
       {"Llama-3-8B, Llama-3.1-8B", 13, {2, 8, 13, 14}}},
      {{"LlamaForCausalLM", 28, 3072, 8192, 24, 8}, {"Llama-3.2-3B", 13, {}}},
      {{"LlamaForCausalLM", 80, 8192, 28672, 64, 8}, {"Llama-3-70B, Llama-3.1-70B", 14, {}}},
      {{"Qwen3ForCausalLM", 36, 2560, 9728, 32, 8}, {"Qwen3-4B", 20, {}}},
      {{"Qwen3ForCausalLM", 36, 4096, 12288, 32, 8}, {"Qwen3-8B", 12, {2, 7, 14, 23}}},
      {{"Qwen3ForCausalLM", 40, 5120, 17408, 40, 8}, {"Qwen3-14B", 12, {}}},
  };
  return *entries;
}

}  // namespace

const PublishedPlan* FindPublishedPlan(const ModelConfig& config) {
  for (const Entry& entry : Entries()) {
    if (entry.shape.Fits(config)) return &entry.plan;
  }
  return nullptr;
}

}  // namespace tidal
