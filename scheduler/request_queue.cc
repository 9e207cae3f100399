#include "scheduler/request_queue.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/base/check.h"
#include "scheduler/queue_limit.h"
#include "scheduler/retry_after.h"
#include "scheduler/steady_time.h"

namespace tidal {
namespace {

constexpr absl::Duration kDrainPoll = absl::Milliseconds(2);

}  // namespace

RequestQueue::RequestQueue(const SchedulerConfig& config)
    : config_(config),
      budget_(config),
      closed_(absl::UnavailableError("the server has not started")) {}

absl::Status RequestQueue::Submit(std::vector<std::unique_ptr<Request>> requests) {
  TIDAL_CHECK(!requests.empty());
  absl::MutexLock lock(&mutex_);
  QueueLoad wanted;
  for (auto& request : requests) {
    request->expected_tokens = budget_.ExpectedTokens(static_cast<int64_t>(request->prompt.size()),
                                                      request->stop.max_tokens);
    wanted += {1, request->expected_tokens};
  }
  if (absl::Status status = CheckRoomLocked(requests.front()->tenant, wanted); !status.ok()) {
    return status;
  }
  waiting_.Add(requests.front()->tenant, wanted);
  for (auto& request : requests) inbox_.submitted.push_back(std::move(request));
  num_live_ += wanted.requests;
  return absl::OkStatus();
}

absl::Status RequestQueue::CheckRoom(absl::string_view tenant, int32_t num_requests,
                                     int64_t prompt_tokens) {
  absl::MutexLock lock(&mutex_);
  const int64_t tokens = budget_.ExpectedTokens(prompt_tokens, /*max_tokens=*/1);
  return CheckRoomLocked(tenant, {num_requests, num_requests * tokens});
}

absl::Status RequestQueue::CheckRoomLocked(absl::string_view tenant, const QueueLoad& wanted) {
  if (!closed_.ok()) return closed_;
  if (budget_.HasRoom(waiting_, startable_, tenant, wanted)) return absl::OkStatus();
  const QueueLoad& waiting = waiting_.total();
  ++refusals_;
  // What was refused before its prompt was known is taken to be as large as what waits.
  const int64_t usual = wanted.requests * waiting.tokens / waiting.requests;
  budget_.OnRefusal(std::max(wanted.tokens, usual));
  const bool too_many = waiting.requests + wanted.requests > config_.max_queued_requests;
  return WithQueueLimit(WithRetryAfter(absl::ResourceExhaustedError(absl::StrCat(
                                           "the queue is full: ", waiting.requests, " requests of ",
                                           waiting.tokens, " tokens are waiting")),
                                       absl::ToInt64Seconds(budget_.RetryAfter())),
                        too_many ? QueueLimit::kRequests : QueueLimit::kTokens);
}

void RequestQueue::Cancel(SequenceId id) {
  absl::MutexLock lock(&mutex_);
  if (num_live_ > 0) cancelled_.insert(id);
}

void RequestQueue::CancelAll(absl::Status status) {
  absl::MutexLock lock(&mutex_);
  inbox_.cancel_all = std::move(status);
}

void RequestQueue::Stop() {
  absl::MutexLock lock(&mutex_);
  inbox_.stop = true;
}

void RequestQueue::Open() {
  absl::MutexLock lock(&mutex_);
  closed_ = absl::OkStatus();
}

void RequestQueue::Close(absl::Status reason) {
  TIDAL_CHECK(!reason.ok());
  absl::MutexLock lock(&mutex_);
  closed_ = std::move(reason);
}

RequestQueue::Inbox RequestQueue::TakeAll() {
  absl::MutexLock lock(&mutex_);
  inbox_.cancelled.assign(cancelled_.begin(), cancelled_.end());
  cancelled_.clear();
  return std::exchange(inbox_, Inbox{});
}

void RequestQueue::WaitForWork() {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(this, &RequestQueue::HasWorkLocked));
}

void RequestQueue::ReportWaiting(const TenantLoads& waiting, const QueueLoad& startable) {
  absl::MutexLock lock(&mutex_);
  waiting_ = waiting;
  for (const auto& request : inbox_.submitted) {
    waiting_.Add(request->tenant, {1, request->expected_tokens});
  }
  startable_ = startable;
}

void RequestQueue::ReportStep(int64_t tokens, absl::Duration elapsed, bool full) {
  absl::MutexLock lock(&mutex_);
  budget_.OnStep(tokens, elapsed, full);
}

void RequestQueue::ReportOutput(int32_t tokens) {
  absl::MutexLock lock(&mutex_);
  budget_.OnOutput(tokens);
}

void RequestQueue::ReportEnded(int32_t num_ended) {
  absl::MutexLock lock(&mutex_);
  num_live_ -= num_ended;
  TIDAL_CHECK(num_live_ >= 0);
}

bool RequestQueue::WaitUntilNoneLeft(absl::Time deadline) {
  // A mutex waits by the wall clock, which may be set meanwhile; a sleep does not.
  while (!NoneLeft()) {
    if (SteadyNow() >= deadline) return false;
    absl::SleepFor(kDrainPoll);
  }
  return true;
}

bool RequestQueue::NoneLeft() const {
  absl::MutexLock lock(&mutex_);
  return num_live_ == 0;
}

RequestQueue::State RequestQueue::state() const {
  absl::MutexLock lock(&mutex_);
  State state;
  state.waiting = waiting_.total();
  state.request_limit = config_.max_queued_requests;
  state.token_limit = budget_.token_limit();
  state.tokens_per_second = budget_.rate();
  state.retry_after = budget_.RetryAfter();
  state.refusals = refusals_;
  return state;
}

bool RequestQueue::HasWork() const {
  absl::MutexLock lock(&mutex_);
  return HasWorkLocked();
}

bool RequestQueue::HasWorkLocked() const {
  return !inbox_.submitted.empty() || !cancelled_.empty() || inbox_.cancel_all.has_value() ||
         inbox_.stop;
}

}  // namespace tidal
