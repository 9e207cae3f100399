// The thread that owns all scheduling and engine state, and the only door to it.
#ifndef TIDAL_SCHEDULER_SERVING_LOOP_H_
#define TIDAL_SCHEDULER_SERVING_LOOP_H_

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/step.h"
#include "scheduler/block_residency.h"
#include "scheduler/request.h"
#include "scheduler/request_queue.h"
#include "scheduler/scheduler_config.h"

namespace tidal {

// State after a step, for metrics and admission. Plain numbers.
struct LoopStats {
  int32_t running = 0;        // sequences that hold blocks
  int32_t waiting = 0;        // queued sequences, inbox included
  RequestQueue::State queue;  // the same in more detail
  // Of the steps in flight; none between steps.
  int32_t step_sequences = 0, step_tokens = 0;
  int32_t free_blocks = 0;  // free or evictable
  int32_t num_blocks = 0;
  double kv_cache_usage = 0;                    // 0 .. 1: blocks of live sequences over all blocks
  int64_t preemptions = 0;                      // totals since start, as the following
  int64_t prefix_queries = 0, prefix_hits = 0;  // tokens looked up, tokens found
  int64_t corrected_tokens = 0;
  int64_t corrupt_sequences = 0;
  int64_t prompt_computed = 0, prompt_cached = 0, generated = 0;  // tokens, as in SchedulerTotals
  int64_t steps = 0;
};

// Called on the loop thread; must be quick.
struct LoopObserver {
  std::function<void(const StepStats&, const LoopStats&)> on_step;  // also once when it turns idle
  std::function<void(const BlockUse&)> on_block_use;                // where there was any
  std::function<void(const Request&, const FinishInfo&)> on_finish;
  std::function<void(const absl::Status&)> on_failure;  // the executor broke; the loop has ended
};

// Thread-safe, except that Start() and Stop() are called once, by the owner.
class ServingLoop {
 public:
  using Clock = std::function<absl::Time()>;

  // `executor` outlives the loop and is used by its thread only, from Start() to Stop().
  // Precondition: config.Validate().
  ServingLoop(const SchedulerConfig& config, Executor* executor, LoopObserver observer);
  // With another clock than SteadyNow, for tests; called on any thread.
  ServingLoop(const SchedulerConfig& config, Executor* executor, LoopObserver observer,
              Clock clock);
  ~ServingLoop();  // stops

  void Start();

  // Queues a request. INVALID_ARGUMENT for one that could never finish (admission.h),
  // RESOURCE_EXHAUSTED when the queue is full, UNAVAILABLE when not started, draining, stopped or
  // broken. After an ok the request's stream always ends with a FinishInfo.
  absl::Status Submit(std::unique_ptr<Request> request);
  // The same for requests of one tenant of which none is wanted without the others.
  absl::Status Submit(std::vector<std::unique_ptr<Request>> requests);
  // What Submit() is bound to answer to so many requests whose prompts have at least so many
  // tokens; cheap, for refusing before a prompt is made.
  absl::Status CheckRoom(absl::string_view tenant, int32_t num_requests, int64_t prompt_tokens);

  // Ends a request at the next step (kCancelled). Unknown or ended ids are ignored.
  void Cancel(SequenceId id);

  // Refuses new requests, lets the others finish; cancels what is left at `deadline` (a
  // SteadyNow(), whatever the clock). Returns when nothing is left: true when everything finished
  // by itself. The loop still runs, idle.
  bool Drain(absl::Time deadline);

  // Ends the thread; what is left is cancelled.
  void Stop();

  LoopStats stats() const;
  // Time of the last completed step, or now while there is nothing to do; the watchdog's input.
  absl::Time last_progress() const;
  bool healthy() const;  // started, not stopped, executor not broken

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tidal

#endif  // TIDAL_SCHEDULER_SERVING_LOOP_H_
