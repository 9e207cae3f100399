#include "scheduler/admission.h"

#include <cstdint>

#include "absl/strings/str_cat.h"

namespace tidal {

absl::Status CheckAdmissible(const Request& request, const SchedulerConfig& config) {
  const StopCriteria& stop = request.stop;
  if (request.prompt.empty()) {
    return absl::InvalidArgumentError("prompt: must be at least 1 token, got 0");
  }
  if (stop.max_tokens < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_tokens: must be at least 0, got ", stop.max_tokens));
  }
  if (stop.min_tokens < 0 || stop.min_tokens > stop.max_tokens) {
    return absl::InvalidArgumentError(absl::StrCat(
        "min_tokens: must be in [0, max_tokens = ", stop.max_tokens, "], got ", stop.min_tokens));
  }
  if (stop.min_tokens > 0 && stop.stop_token_ids.size() > SamplingParams::kMaxBannedTokens) {
    return absl::InvalidArgumentError(absl::StrCat(
        "min_tokens: needs at most ", SamplingParams::kMaxBannedTokens,
        " tokens that end the output, the model's included, got ", stop.stop_token_ids.size()));
  }
  if (request.attention.mode == AttentionMode::kTidal && request.attention.token_budget < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("attention.budget: must be at least 1, got ", request.attention.token_budget));
  }
  const int64_t total = static_cast<int64_t>(request.prompt.size()) + stop.max_tokens;
  if (total > config.max_model_len) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_tokens: prompt and max_tokens together must be at most ", config.max_model_len,
        " tokens, got ", request.prompt.size(), " + ", stop.max_tokens));
  }
  // The last token is never computed, so it needs no room.
  const int64_t capacity = static_cast<int64_t>(config.num_blocks) * config.block_size;
  if (total - 1 > capacity) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_tokens: prompt and max_tokens together must be at most ", capacity + 1,
        " tokens (the whole KV cache), got ", request.prompt.size(), " + ", stop.max_tokens));
  }
  return absl::OkStatus();
}

}  // namespace tidal
