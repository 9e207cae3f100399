#include "scheduler/token_stream.h"

#include <iterator>
#include <utility>

#include "engine/base/check.h"

namespace tidal {

void TokenStream::PushPromptLogprobs(std::vector<PromptLogprob> logprobs) {
  std::function<void()> wake;
  {
    absl::MutexLock lock(&mutex_);
    TIDAL_CHECK(!finished_ && !last_.has_value());
    pending_.prompt_logprobs.insert(pending_.prompt_logprobs.end(),
                                    std::make_move_iterator(logprobs.begin()),
                                    std::make_move_iterator(logprobs.end()));
    wake = TakeWake();
  }
  if (wake) wake();
}

void TokenStream::Push(SampledToken token, bool is_last) {
  std::function<void()> wake;
  {
    absl::MutexLock lock(&mutex_);
    TIDAL_CHECK(!finished_ && !last_.has_value());
    if (is_last) {
      last_ = std::move(token);
      return;
    }
    pending_.tokens.push_back(std::move(token));
    wake = TakeWake();
  }
  if (wake) wake();
}

void TokenStream::Finish(FinishInfo info) {
  std::function<void()> wake;
  {
    absl::MutexLock lock(&mutex_);
    TIDAL_CHECK(!finished_);
    finished_ = true;
    if (last_.has_value()) pending_.tokens.push_back(*std::exchange(last_, std::nullopt));
    pending_.finish = std::move(info);
    wake = TakeWake();
  }
  if (wake) wake();
}

TokenStream::Events TokenStream::TakeAll() {
  absl::MutexLock lock(&mutex_);
  return std::exchange(pending_, Events{});
}

void TokenStream::NotifyWhenReady(std::function<void()> wake) {
  {
    absl::MutexLock lock(&mutex_);
    wake_ = std::move(wake);
    wake = TakeWake();
  }
  if (wake) wake();
}

TokenStream::Events TokenStream::WaitAndTakeAll(absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  mutex_.AwaitWithTimeout(absl::Condition(this, &TokenStream::HasEvents), timeout);
  return std::exchange(pending_, Events{});
}

std::function<void()> TokenStream::TakeWake() {
  return HasEvents() ? std::exchange(wake_, nullptr) : nullptr;
}

}  // namespace tidal
