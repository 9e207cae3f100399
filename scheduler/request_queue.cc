#include "scheduler/request_queue.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"

namespace tidal {

RequestQueue::RequestQueue(int32_t capacity)
    : capacity_(capacity), closed_(absl::UnavailableError("the server has not started")) {}

absl::Status RequestQueue::Submit(std::unique_ptr<Request> request) {
  absl::MutexLock lock(&mutex_);
  if (!closed_.ok()) return closed_;
  if (NumWaitingLocked() >= capacity_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the queue is full: ", capacity_, " requests are waiting"));
  }
  inbox_.submitted.push_back(std::move(request));
  ++num_live_;
  return absl::OkStatus();
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
  num_waiting_ += static_cast<int32_t>(inbox_.submitted.size());
  return std::exchange(inbox_, Inbox{});
}

void RequestQueue::WaitForWork() {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(this, &RequestQueue::HasWorkLocked));
}

void RequestQueue::ReportWaiting(int32_t num_waiting) {
  absl::MutexLock lock(&mutex_);
  num_waiting_ = num_waiting;
}

void RequestQueue::ReportEnded(int32_t num_ended) {
  absl::MutexLock lock(&mutex_);
  num_live_ -= num_ended;
  TIDAL_CHECK(num_live_ >= 0);
}

bool RequestQueue::WaitUntilNoneLeft(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithDeadline(absl::Condition(this, &RequestQueue::NoneLeft), deadline);
}

int32_t RequestQueue::num_waiting() const {
  absl::MutexLock lock(&mutex_);
  return NumWaitingLocked();
}

bool RequestQueue::HasWork() const {
  absl::MutexLock lock(&mutex_);
  return HasWorkLocked();
}

int32_t RequestQueue::NumWaitingLocked() const {
  return num_waiting_ + static_cast<int32_t>(inbox_.submitted.size());
}

bool RequestQueue::HasWorkLocked() const {
  return !inbox_.submitted.empty() || !cancelled_.empty() || inbox_.cancel_all.has_value() ||
         inbox_.stop;
}

}  // namespace tidal
