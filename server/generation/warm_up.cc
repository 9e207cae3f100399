#include "server/generation/warm_up.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "scheduler/request.h"
#include "scheduler/steady_time.h"

namespace tidal {
namespace {

constexpr int32_t kOutputTokens = 2;  // the first comes from the prompt, the second from decoding

absl::StatusOr<FinishInfo> RunRequest(int32_t prompt_tokens, const AttentionPolicy& attention,
                                      const EngineInfo& info, ServingLoop* loop,
                                      GenerationService* service) {
  auto request = std::make_unique<Request>();
  request->id = service->NewSequenceId();
  for (int32_t i = 0; i < prompt_tokens; ++i) request->prompt.push_back(i % info.vocab_size);
  request->sampling.temperature = 0;
  request->stop.max_tokens = kOutputTokens;
  request->attention = attention;
  request->cache_salt = "warm-up";  // no client's prompt begins like this
  request->arrival = SteadyNow();
  auto stream = std::make_shared<TokenStream>();
  request->stream = stream;
  TIDAL_RETURN_IF_ERROR(loop->Submit(std::move(request)));
  while (true) {
    TokenStream::Events events = stream->WaitAndTakeAll(absl::InfiniteDuration());
    if (!events.finish.has_value()) continue;
    if (loop->stats().corrupt_sequences > 0) {
      return absl::DataLossError(
          "the model computes no numbers: the logits of the warm-up are NaN or infinite. Its "
          "weights "
          "hold such values or lead to them, or what computes with them is broken");
    }
    if (!events.finish->status.ok()) return events.finish->status;
    return *std::move(events.finish);
  }
}

}  // namespace

absl::Status WarmUp(const EngineInfo& info, ServingLoop* loop, GenerationService* service) {
  const int32_t longest = info.max_model_len - kOutputTokens;
  AttentionPolicy full;
  TIDAL_RETURN_IF_ERROR(RunRequest(std::min(8, longest), full, info, loop, service).status());
  if (!info.tidal_available) return absl::OkStatus();

  AttentionPolicy tidal;
  tidal.mode = AttentionMode::kTidal;
  tidal.token_budget = 1;
  tidal.dense_below = std::max(tidal.token_budget, info.attention.dense_below);
  const int32_t prompt_tokens = std::min(tidal.dense_below + kOutputTokens, longest);
  TIDAL_ASSIGN_OR_RETURN(FinishInfo finish, RunRequest(prompt_tokens, tidal, info, loop, service));
  if (finish.sparse_steps == 0 && prompt_tokens > tidal.dense_below) {
    return absl::InternalError("the warm-up asked for a sparse step and got a dense one");
  }
  return absl::OkStatus();
}

}  // namespace tidal
