#include "scheduler/queue_budget.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tidal {
namespace {

constexpr double kFadeSeconds = 10;  // how long the rate remembers
constexpr double kFirstGuess = 256;  // tokens of an output, before one was seen
constexpr double kOutputWeight = 1.0 / 32;
constexpr double kWaitShare = 0.5;  // of the longest wait, for which requests are let in

}  // namespace

QueueBudget::QueueBudget(const SchedulerConfig& config)
    : max_requests_(config.max_queued_requests),
      max_tokens_(config.max_queued_tokens),
      max_wait_(config.max_queue_time),
      cache_tokens_(static_cast<int64_t>(config.num_blocks) * config.block_size),
      output_tokens_(kFirstGuess) {}

void QueueBudget::OnStep(int64_t tokens, absl::Duration elapsed, bool full) {
  const auto served = static_cast<double>(tokens);
  refused_tokens_ = full ? std::max(0.0, refused_tokens_ - served) : 0;
  const double seconds = absl::ToDoubleSeconds(elapsed);
  if (!full || seconds <= 0) return;
  const double fade = std::exp(-seconds / kFadeSeconds);
  recent_tokens_ = recent_tokens_ * fade + served;
  recent_seconds_ = recent_seconds_ * fade + seconds;
}

void QueueBudget::OnOutput(int32_t tokens) {
  output_tokens_ += (tokens - output_tokens_) * kOutputWeight;
}

void QueueBudget::OnRefusal(int64_t tokens) {
  // More would not change RetryAfter().
  const double most = std::max(rate(), 1.0) * absl::ToDoubleSeconds(kLongestRetry);
  refused_tokens_ = std::min(refused_tokens_ + static_cast<double>(tokens), most);
}

int64_t QueueBudget::ExpectedTokens(int64_t prompt_tokens, int64_t max_tokens) const {
  return prompt_tokens + std::min(max_tokens, std::max<int64_t>(1, std::llround(output_tokens_)));
}

bool QueueBudget::HasRoom(const TenantLoads& waiting, const QueueLoad& startable,
                          absl::string_view tenant, const QueueLoad& wanted) const {
  const QueueLoad all = waiting.total() + wanted;
  if (all.requests <= startable.requests && all.tokens <= startable.tokens) return true;
  if (waiting.total().requests == 0) return true;
  if (Fits(all, /*shares=*/1)) return true;
  const QueueLoad own = waiting.Of(tenant);
  return Fits(own + wanted, waiting.num_tenants() + (own.requests == 0 ? 1 : 0));
}

bool QueueBudget::Fits(const QueueLoad& load, int32_t shares) const {
  return load.requests <= max_requests_ / shares && load.tokens <= token_limit() / shares;
}

absl::Duration QueueBudget::RetryAfter() const {
  if (rate() == 0) return kShortestRetry;
  const absl::Duration wait = absl::Seconds(refused_tokens_ / rate());
  return std::clamp(absl::Ceil(wait, absl::Seconds(1)), kShortestRetry, kLongestRetry);
}

int64_t QueueBudget::token_limit() const {
  if (max_tokens_ > 0) return max_tokens_;
  if (max_wait_ == absl::InfiniteDuration()) return std::numeric_limits<int64_t>::max();
  if (rate() == 0) return cache_tokens_;
  return std::llround(rate() * absl::ToDoubleSeconds(max_wait_) * kWaitShare);
}

double QueueBudget::rate() const {
  return recent_seconds_ > 0 ? recent_tokens_ / recent_seconds_ : 0;
}

}  // namespace tidal
