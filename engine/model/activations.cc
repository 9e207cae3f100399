#include "engine/model/activations.h"

#include <utility>

#include "engine/base/status_macros.h"
#include "engine/checkpoint/shard.h"

namespace tidal {

absl::StatusOr<Activations> Activations::Create(const ModelConfig& model, const MemoryPlan& plan,
                                                Device* device) {
  const int64_t tokens = plan.max_num_batched_tokens, logit_rows = plan.max_sampled_tokens;
  const auto matmul = static_cast<int64_t>(SizeOf(device->info().matmul_type));
  const int64_t real = sizeof(float), ranked = model.shard.size > 1 ? 1 : 0;
  Activations a;
  struct Entry {
    DeviceBuffer* buffer;
    int64_t bytes;
    const char* name;
  };
  const Entry entries[] = {
      {&a.residual, tokens * model.hidden_size * real, "residual stream"},
      {&a.normed, tokens * model.hidden_size * matmul, "normed activations"},
      {&a.qkv, tokens * model.qkv_size() * real, "qkv activations"},
      {&a.q, tokens * model.q_size() * static_cast<int64_t>(sizeof(bfloat16)), "q activations"},
      {&a.attention, tokens * model.q_size() * matmul, "attention activations"},
      {&a.gate_up, tokens * 2 * model.intermediate_size * real, "gate-up activations"},
      {&a.mlp, tokens * model.intermediate_size * matmul, "mlp activations"},
      {&a.last_residual, logit_rows * model.hidden_size * real, "last residual rows"},
      {&a.last_attention, logit_rows * model.q_size() * matmul, "last attention rows"},
      {&a.logits, logit_rows * model.vocab_size * real, "logits"},
      {&a.partial, ranked * tokens * model.hidden_size * real, "partial sums"},
      {&a.part_logits, ranked * logit_rows * VocabularyRows(model).count * real, "part of logits"},
  };
  for (const Entry& entry : entries) {
    TIDAL_ASSIGN_OR_RETURN(*entry.buffer, DeviceBuffer::Allocate(device, entry.bytes, entry.name));
  }
  return a;
}

}  // namespace tidal
