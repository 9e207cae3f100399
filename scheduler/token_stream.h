// The bounded outbox of one request: the serving loop pushes tokens, one consumer takes them.
#ifndef TIDAL_SCHEDULER_TOKEN_STREAM_H_
#define TIDAL_SCHEDULER_TOKEN_STREAM_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "engine/step.h"

namespace tidal {

enum class FinishReason : uint8_t {
  kStop,       // an end token or a stop token id
  kLength,     // max_tokens or the model's length reached
  kCancelled,  // by the client, or its deadline passed
  kError,      // status says why
};

// Everything known of a request once it has ended.
struct FinishInfo {
  FinishReason reason = FinishReason::kError;
  absl::Status status;      // ok for kStop and kLength
  TokenId stop_token = -1;  // the token that ended it, for kStop
  int32_t prompt_tokens = 0;
  int32_t cached_tokens = 0;  // of the prompt, found in the prefix cache
  int32_t output_tokens = 0;
  int32_t sparse_steps = 0, dense_steps = 0;  // decode steps by how they ran
  int32_t corrected_tokens = 0;
  int32_t preemptions = 0;
  absl::Time arrival, first_scheduled, first_token, finish;  // InfinitePast when it never happened
};

// Every sampled token is an event, the one that ends the request included (an end token, a stop
// token id): FinishInfo::stop_token names it, and whether it is shown is the consumer's business.
//
// Bounded by construction: a request makes at most max_tokens events and as many log probabilities
// as its prompt has tokens, so the producer never waits and a consumer that stops reading costs
// only its own request's memory.
// Thread-safe: one producer, one consumer.
class TokenStream {
 public:
  struct Events {
    std::vector<PromptLogprob> prompt_logprobs;  // of the next tokens of the prompt
    std::vector<SampledToken> tokens;            // after all of the prompt's
    std::optional<FinishInfo> finish;            // after it nothing follows
  };

  // Producer. Before all tokens.
  void PushPromptLogprobs(std::vector<PromptLogprob> logprobs);
  // Nothing may be pushed after Finish(), which must follow the last token: that one is
  // handed over with it, so that the consumer knows a token to be the last as soon as it has it.
  void Push(SampledToken token, bool is_last = false);
  void Finish(FinishInfo info);

  // Consumer: everything that has arrived, in order; empty when nothing has. Does not wait.
  Events TakeAll();

  // Consumer: `wake` runs once, as soon as there is something to take: at once on this thread when
  // there is already, else on the producer's thread, outside the lock; it must be quick and must
  // not block. Replaces an earlier unspent wake.
  void NotifyWhenReady(std::function<void()> wake);

  // Consumer, tests and command-line programs: waits for something to take.
  Events WaitAndTakeAll(absl::Duration timeout);

 private:
  bool HasEvents() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !pending_.prompt_logprobs.empty() || !pending_.tokens.empty() ||
           pending_.finish.has_value();
  }
  // Takes the armed wake, if there is one and something to take.
  std::function<void()> TakeWake() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::Mutex mutex_;
  Events pending_ ABSL_GUARDED_BY(mutex_);
  std::optional<SampledToken> last_ ABSL_GUARDED_BY(mutex_);  // until Finish()
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  std::function<void()> wake_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace tidal

#endif  // TIDAL_SCHEDULER_TOKEN_STREAM_H_
