#include "scheduler/serving_loop.h"

#include <cstdint>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/check.h"
#include "scheduler/admission.h"
#include "scheduler/invariants.h"
#include "scheduler/request_queue.h"
#include "scheduler/scheduler.h"
#include "scheduler/steady_time.h"

namespace tidal {

// Threads: Submit(), Cancel(), Drain() and the readers touch queue_ and what mutex_ guards; all
// else belongs to the loop's thread.
class ServingLoop::Impl {
 public:
  Impl(const SchedulerConfig& config, Executor* executor, LoopObserver observer, Clock clock)
      : config_(config),
        executor_(executor),
        observer_(std::move(observer)),
        clock_(std::move(clock)),
        queue_(config),
        scheduler_(config) {
    last_progress_ = clock_();
    CollectStats();
  }

  void Start() {
    TIDAL_CHECK(!thread_.joinable());
    {
      absl::MutexLock lock(&mutex_);
      healthy_ = true;
      last_progress_ = clock_();
    }
    queue_.Open();
    thread_ = std::thread([this] { Run(); });
  }

  absl::Status Submit(std::vector<std::unique_ptr<Request>> requests) {
    for (const auto& request : requests) {
      TIDAL_CHECK(request != nullptr && request->stream != nullptr);
      if (absl::Status status = CheckAdmissible(*request, config_); !status.ok()) return status;
    }
    NoteWakeUp();
    return queue_.Submit(std::move(requests));
  }

  absl::Status CheckRoom(absl::string_view tenant, int32_t num_requests, int64_t prompt_tokens) {
    return queue_.CheckRoom(tenant, num_requests, prompt_tokens);
  }

  void Cancel(SequenceId id) {
    NoteWakeUp();
    queue_.Cancel(id);
  }

  bool Drain(absl::Time deadline) {
    Close("the server is shutting down");
    if (queue_.WaitUntilNoneLeft(deadline)) return true;
    queue_.CancelAll(absl::UnavailableError("the server shut down before the request ended"));
    queue_.WaitUntilNoneLeft(absl::InfiniteFuture());
    return false;
  }

  void Stop() {
    if (!thread_.joinable()) return;
    Close("the server has stopped");
    queue_.Stop();
    thread_.join();
    absl::MutexLock lock(&mutex_);
    healthy_ = false;
  }

  LoopStats stats() const {
    absl::MutexLock lock(&mutex_);
    LoopStats stats = stats_;
    stats.queue = queue_.state();
    stats.waiting = stats.queue.waiting.requests;
    stats.step_sequences = step_sequences_;
    stats.step_tokens = step_tokens_;
    return stats;
  }

  absl::Time last_progress() const {
    absl::MutexLock lock(&mutex_);
    return idle_ && !queue_.HasWork() ? clock_() : last_progress_;
  }

  bool healthy() const {
    absl::MutexLock lock(&mutex_);
    return healthy_;
  }

 private:
  void Run() {
    while (DrainInbox()) {
      if (scheduler_.step_in_flight() || !scheduler_.empty()) {
        LaunchSteps();
        if (!FinishStep()) return;
      } else {
        Publish({});
        WaitForWork();
      }
    }
    while (scheduler_.step_in_flight()) {
      if (!FinishStep()) return;
    }
    EndAll(FinishReason::kCancelled, absl::UnavailableError("the server has stopped"));
  }

  // One step of every running sequence, where none is in flight; and the one after it, where it can
  // be known already.
  void LaunchSteps() {
    if (!scheduler_.step_in_flight()) {
      const StepInput input = scheduler_.Schedule(clock_());
      if (!input.sequences.empty()) Launch(input);  // empty: all passed their deadlines
      GiveMasks();
    }
    if (!config_.overlap || !executor_->can_run_ahead()) return;
    if (auto ahead = scheduler_.ScheduleAhead(clock_())) Launch(*ahead);
  }

  void Launch(const StepInput& input) {
    {
      absl::MutexLock lock(&mutex_);
      step_sequences_ = static_cast<int32_t>(input.sequences.size());
      step_tokens_ = 0;
      for (const auto& sequence : input.sequences) step_tokens_ += sequence.num_new_tokens;
    }
    executor_->Launch(input);
    awaits_masks_ = input.masked();
  }

  // Of the newest step, once the one before it is committed; it computes meanwhile.
  void GiveMasks() {
    if (!std::exchange(awaits_masks_, false)) return;
    executor_->Sample(scheduler_.FillMasks());
  }

  // Waits for the older step in flight, if there is one, and tells what came of it. False when the
  // executor broke.
  bool FinishStep() {
    StepStats stats;
    if (scheduler_.step_in_flight()) {
      absl::StatusOr<StepOutput> output = executor_->Collect();
      if (!output.ok()) return Fail(output.status());
      scheduler_.Commit(*output, clock_());
      GiveMasks();
      stats = output->stats;
    }
#ifndef NDEBUG
    CheckInvariants(scheduler_.Snapshot());
#endif
    Publish(stats);
    return true;
  }

  // False when asked to stop.
  bool DrainInbox() {
    RequestQueue::Inbox inbox = queue_.TakeAll();
    for (auto& request : inbox.submitted) scheduler_.Add(std::move(request));
    const absl::Time now = clock_();
    for (SequenceId id : inbox.cancelled) {
      scheduler_.Abort(id, absl::CancelledError("cancelled by the client"), now);
    }
    if (inbox.cancel_all) scheduler_.AbortAll(FinishReason::kCancelled, *inbox.cancel_all, now);
    return !inbox.stop;
  }

  // Tells observer and streams what happened. The numbers come first, so whoever sees the end of a
  // stream sees them up to date.
  void Publish(const StepStats& step) {
    SchedulerEvents events = scheduler_.TakeEvents();
    MeasureQueue(step, events);
    const LoopStats stats = CollectStats();
    if (observer_.on_step) observer_.on_step(step, stats);
    if (observer_.on_block_use && !events.blocks.empty()) observer_.on_block_use(events.blocks);
    for (auto& event : events.prompt_logprobs) {
      event.stream->PushPromptLogprobs(std::move(event.logprobs));
    }
    for (auto& event : events.tokens) event.stream->Push(std::move(event.token), event.is_last);
    for (auto& event : events.finishes) {
      if (observer_.on_finish) observer_.on_finish(*event.request, event.info);
      event.request->stream->Finish(std::move(event.info));
    }
    queue_.ReportEnded(static_cast<int32_t>(events.finishes.size()));
  }

  // What the queue's limits follow. Prompt tokens found in the prefix cache count as served.
  void MeasureQueue(const StepStats& step, const SchedulerEvents& events) {
    for (const auto& event : events.finishes) {
      if (event.info.status.ok()) queue_.ReportOutput(event.info.output_tokens);
    }
    queue_.ReportWaiting(scheduler_.waiting_load(), scheduler_.startable());
    const int64_t hits = scheduler_.totals().prefix_hits;
    const int64_t served = step.prefill_tokens + step.decode_rows + hits - measured_hits_;
    measured_hits_ = hits;
    queue_.ReportStep(served, clock_() - last_progress(), /*full=*/scheduler_.num_waiting() > 0);
  }

  LoopStats CollectStats() {
    const BlockManager& blocks = scheduler_.blocks();
    const SchedulerTotals& totals = scheduler_.totals();
    LoopStats stats;
    stats.running = scheduler_.num_running();
    stats.queue = queue_.state();
    stats.waiting = stats.queue.waiting.requests;
    stats.free_blocks = blocks.num_available();
    stats.num_blocks = blocks.num_blocks();
    stats.kv_cache_usage = 1.0 - static_cast<double>(stats.free_blocks) / stats.num_blocks;
    stats.preemptions = totals.preemptions;
    stats.prefix_queries = totals.prefix_queries;
    stats.prefix_hits = totals.prefix_hits;
    stats.corrected_tokens = totals.corrected_tokens;
    stats.corrupt_sequences = totals.corrupt_sequences;
    stats.prompt_computed = totals.prompt_computed;
    stats.prompt_cached = totals.prompt_cached;
    stats.generated = totals.generated;
    stats.steps = totals.steps;
    absl::MutexLock lock(&mutex_);
    stats_ = stats;
    last_progress_ = clock_();
    if (!scheduler_.step_in_flight()) step_sequences_ = step_tokens_ = 0;
    return stats;
  }

  void WaitForWork() {
    SetIdle(true);
    queue_.WaitForWork();
    SetIdle(false);
  }

  void SetIdle(bool idle) {
    absl::MutexLock lock(&mutex_);
    idle_ = idle;
    last_progress_ = clock_();
  }

  // The clock of a loop that slept starts when it is woken, not when it fell asleep.
  void NoteWakeUp() {
    absl::MutexLock lock(&mutex_);
    if (idle_ && !queue_.HasWork()) last_progress_ = clock_();
  }

  bool Fail(const absl::Status& cause) {
    const absl::Status status =
        absl::UnavailableError(absl::StrCat("the model stopped working: ", cause.message()));
    {
      absl::MutexLock lock(&mutex_);
      healthy_ = false;
      broken_ = status;
    }
    queue_.Close(status);
    EndAll(FinishReason::kError, status);
    if (observer_.on_failure) observer_.on_failure(cause);
    return false;
  }

  // The queue is closed: nothing comes after what is taken here.
  void EndAll(FinishReason reason, const absl::Status& status) {
    DrainInboxForEnd();
    scheduler_.AbortAll(reason, status, clock_());
    Publish({});
  }

  void DrainInboxForEnd() {
    for (auto& request : queue_.TakeAll().submitted) scheduler_.Add(std::move(request));
  }

  // A broken loop stays broken, whatever closes it later.
  void Close(absl::string_view reason) {
    absl::MutexLock lock(&mutex_);
    queue_.Close(broken_.ok() ? absl::UnavailableError(reason) : broken_);
  }

  const SchedulerConfig config_;
  Executor* const executor_;
  const LoopObserver observer_;
  const Clock clock_;
  RequestQueue queue_;
  Scheduler scheduler_;
  bool awaits_masks_ = false;  // the newest step does
  int64_t measured_hits_ = 0;  // of the prefix cache, in what MeasureQueue() has reported

  mutable absl::Mutex mutex_;  // taken before the queue's
  LoopStats stats_ ABSL_GUARDED_BY(mutex_);
  int32_t step_sequences_ ABSL_GUARDED_BY(mutex_) = 0;  // of the step launched last, in flight
  int32_t step_tokens_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Time last_progress_ ABSL_GUARDED_BY(mutex_);
  bool idle_ ABSL_GUARDED_BY(mutex_) = false;
  bool healthy_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status broken_ ABSL_GUARDED_BY(mutex_);  // ok until the executor broke

  std::thread thread_;  // last: joined by Stop() before anything else goes
};

ServingLoop::ServingLoop(const SchedulerConfig& config, Executor* executor, LoopObserver observer)
    : ServingLoop(config, executor, std::move(observer), SteadyNow) {}

ServingLoop::ServingLoop(const SchedulerConfig& config, Executor* executor, LoopObserver observer,
                         Clock clock)
    : impl_(std::make_unique<Impl>(config, executor, std::move(observer), std::move(clock))) {}

ServingLoop::~ServingLoop() { Stop(); }

void ServingLoop::Start() { impl_->Start(); }
absl::Status ServingLoop::Submit(std::unique_ptr<Request> request) {
  std::vector<std::unique_ptr<Request>> requests;
  requests.push_back(std::move(request));
  return impl_->Submit(std::move(requests));
}
absl::Status ServingLoop::Submit(std::vector<std::unique_ptr<Request>> requests) {
  return impl_->Submit(std::move(requests));
}
absl::Status ServingLoop::CheckRoom(absl::string_view tenant, int32_t num_requests,
                                    int64_t prompt_tokens) {
  return impl_->CheckRoom(tenant, num_requests, prompt_tokens);
}
void ServingLoop::Cancel(SequenceId id) { impl_->Cancel(id); }
bool ServingLoop::Drain(absl::Time deadline) { return impl_->Drain(deadline); }
void ServingLoop::Stop() { impl_->Stop(); }
LoopStats ServingLoop::stats() const { return impl_->stats(); }
absl::Time ServingLoop::last_progress() const { return impl_->last_progress(); }
bool ServingLoop::healthy() const { return impl_->healthy(); }

}  // namespace tidal
