// Policy: which sequences run which of their tokens in the next step, with which blocks.
#ifndef TIDAL_SCHEDULER_SCHEDULER_H_
#define TIDAL_SCHEDULER_SCHEDULER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/step.h"
#include "scheduler/block_manager.h"
#include "scheduler/fair_order.h"
#include "scheduler/invariants.h"
#include "scheduler/mask_threads.h"
#include "scheduler/queue_load.h"
#include "scheduler/request.h"
#include "scheduler/scheduler_config.h"
#include "scheduler/sequence.h"

namespace tidal {

// What happened since it was last asked; the serving loop passes it on to the streams.
struct SchedulerEvents {
  struct Token {
    std::shared_ptr<TokenStream> stream;
    SampledToken token;
    bool is_last = false;  // its request is among the finishes
  };
  struct Finish {
    std::unique_ptr<Request> request;
    FinishInfo info;
  };
  struct PromptLogprobs {
    std::shared_ptr<TokenStream> stream;
    std::vector<PromptLogprob> logprobs;  // of the prompt tokens after those of earlier events
  };
  std::vector<PromptLogprobs> prompt_logprobs;  // before the tokens of their requests
  std::vector<Token> tokens;                    // in the order they were sampled
  std::vector<Finish> finishes;                 // after all tokens of their requests
  BlockUse blocks;
};

// Totals since start.
struct SchedulerTotals {
  int64_t preemptions = 0;
  int64_t prefix_queries = 0, prefix_hits = 0;  // prompt tokens looked up, found; first admissions
  int64_t corrected_tokens = 0;
  int64_t corrupt_sequences = 0;  // ended because their logits were no numbers
  int64_t steps = 0;
  // Of sequences whose first token has come: prompt tokens that were computed, and that were found
  // in the prefix cache; and all tokens sampled.
  int64_t prompt_computed = 0, prompt_cached = 0, generated = 0;
  int64_t drafted = 0, accepted = 0;  // tokens of drafts that were verified, that turned out right
};

// The rules, in the order Schedule() applies them:
//  1. Requests past their deadline end, and those that waited for too long.
//  2. Running sequences get the block their newest token needs, best served first; where none is
//     available the worst served running sequence (ServedBefore: lowest priority, then last turn)
//     is preempted: it loses its blocks and goes back to its place in the queue, and its tokens are
//     recomputed later.
//  3. If the first in the queue has a strictly better priority than running sequences and does not
//     fit, those are preempted from the worst, provided that makes it fit.
//  4. Waiting sequences are admitted in order while tokens of the step, seats and blocks last; an
//     admitted one takes the blocks of all its tokens at once. One that does not fit may be
//     overtaken by later ones of its priority, kMaxOvertaken times; then the queue waits for it.
//     So neither a huge prompt nor a stream of small ones can starve the other. A prompt whose
//     beginning a better served sequence is just computing waits to share it.
//  5. Decode rows come first, one token each: there are fewer than the step has tokens, so neither
//     decode nor prefill can starve. Drafts make verify rows of them, as far as there are tokens,
//     half of what is left where chunks wait, and blocks that nobody else wants. The rest is
//     divided among chunks (token_budget.h): sequences that already stream, then by ServedBefore.
// A sequence alone always fits (admission.h), and the best served one is never preempted for
// another, so every request ends.
//
// While a step is in flight ScheduleAhead() may give the one after it, and then two are in flight.
// Nothing that the rules would have done is left out or done earlier for that; at most a request
// is admitted one step later.
//
// Not thread-safe: the serving loop's thread owns it.
class Scheduler {
 public:
  static constexpr int32_t kMaxOvertaken = 16;

  explicit Scheduler(const SchedulerConfig& config);
  ~Scheduler();  // what is left is dropped without an event

  // Precondition: CheckAdmissible(), and an id that is not in use.
  void Add(std::unique_ptr<Request> request);
  // Ends a sequence with this status and kCancelled. Unknown ids are ignored. What steps in flight
  // compute for it is ignored too.
  void Abort(SequenceId id, const absl::Status& status, absl::Time now);
  // Tokens that may follow those of a sequence: the next step verifies them, as many as fit, and
  // what turns out right comes in that step. Whatever a draft says, it changes no result, other
  // than that its rows are dense. Ignored of sequences that do not decode or are constrained.
  // Precondition: no step is in flight.
  void SetDraft(SequenceId id, absl::Span<const TokenId> draft);
  // Ends every sequence.
  void AbortAll(FinishReason reason, const absl::Status& status, absl::Time now);

  // The next step; empty only when there is no sequence. Its views are valid until something else
  // is called. Precondition: no step is in flight; this one is then, unless it is empty.
  StepInput Schedule(absl::Time now);
  // The same for the step after the one in flight, where that is decode rows only and it is certain
  // now what comes after it, whatever tokens it samples: schedule_ahead.cc has the conditions.
  // Otherwise nothing, and nothing has changed.
  std::optional<StepInput> ScheduleAhead(absl::Time now);
  // What the sequences of the step in flight may sample. Precondition: the one before it has been
  // committed.
  // Good until it is called again.
  const StepMasks& FillMasks();
  // Records what the older step in flight computed: the only place where sequences advance.
  void Commit(const StepOutput& output, absl::Time now);

  SchedulerEvents TakeEvents();

  bool empty() const { return sequences_.empty(); }
  bool step_in_flight() const { return !rows_.empty(); }
  int32_t num_running() const { return static_cast<int32_t>(running_.size()); }
  int32_t num_waiting() const { return static_cast<int32_t>(waiting_.size()); }
  const TenantLoads& waiting_load() const { return waiting_load_; }
  // What could be admitted at once: seats and tokens of free cache.
  QueueLoad startable() const;
  const SchedulerTotals& totals() const { return totals_; }
  const BlockManager& blocks() const { return blocks_; }
  SchedulerSnapshot Snapshot() const;

 private:
  using Queue = std::set<Sequence*, ServedBefore>;

  // A sequence's part of a step in flight.
  struct Row {
    Sequence* sequence;  // null when it has ended
    int32_t num_tokens;
    RowKind kind;
    Wanted wanted;
    int32_t num_pending_tokens = 0;  // as in ScheduledSequence
  };

  // Puts a sequence into the queue, takes it out.
  void Enqueue(Sequence* sequence);
  void Dequeue(Sequence* sequence);

  // When the sequence ends, whatever it does; changes once, when it is first admitted.
  absl::Time TimeoutOf(const Sequence& sequence) const;
  void AddTimeout(const Sequence& sequence);
  void RemoveTimeout(const Sequence& sequence);
  bool AnyTimedOut(absl::Time now) const {
    return !timeouts_.empty() && timeouts_.begin()->first <= now;
  }
  void EndTimedOut(absl::Time now);
  void GrowRunning();
  // Whom rule 3 preempts, in this order.
  std::vector<Sequence*> PriorityVictims();
  void MakeRoomForPriority();
  void AdmitWaiting(absl::Time now);
  void Admit(Sequence* sequence, absl::Time now);
  int32_t TokensForPrompts(const std::vector<Sequence*>& chunks) const;
  bool WaitsForPrefix(Sequence* sequence, const std::vector<Sequence*>& chunks) const;
  // Blocks an admission leaves available: each running sequence wants its next one soon, and a
  // sequence preempted right after its prompt was computed has computed it for nothing.
  int32_t BlockReserve() const { return num_running(); }
  void PlanRows();
  // Cuts the drafts of the decode rows to what fits: `tokens` of the step, which they return as
  // far as they take them, and results, one of which each of `num_chunks` may want.
  int32_t PlanDrafts(int32_t tokens, int32_t num_chunks);
  // From here on the slots of the rows hold what their sequences have.
  static StepInput BuildStep(const std::vector<Row>& rows);
  bool CorrectionIsDue(int32_t num_inexact_tokens) const {
    return config_.correction_period > 0 && num_inexact_tokens >= config_.correction_period;
  }
  bool WouldAdmitOrPreempt(bool some_end);

  void CommitRow(const Row& row, const SequenceOutput& output, absl::Time now);
  // Says whether they are numbers.
  bool TakePromptLogprobs(Sequence* sequence, const std::vector<PromptLogprob>& logprobs);
  // Of a sequence that generates nothing: its prompt is computed.
  void FinishPrompt(Sequence* sequence, absl::Time now);
  void CountPrompt(const FinishInfo& info);
  // `count` more tokens are in the cache, and full exact blocks can be found there.
  void Advance(Sequence* sequence, int32_t count, bool ran_sparse);
  // Takes over a token that was sampled after all the sequence has. Says whether it goes on.
  bool CommitToken(Sequence* sequence, const SampledToken& token, bool ran_sparse, absl::Time now);
  bool CorrectIfDue(Sequence* sequence);
  void EndCorrupt(Sequence* sequence, absl::Time now);
  // Takes a running sequence's blocks and slot away.
  void StopRunning(Sequence* sequence);
  void Preempt(Sequence* sequence);
  void Finish(Sequence* sequence, FinishReason reason, absl::Status status, absl::Time now);

  const SchedulerConfig config_;
  BlockManager blocks_;
  absl::flat_hash_map<SequenceId, std::unique_ptr<Sequence>> sequences_;
  Queue waiting_, running_;
  std::vector<int32_t> free_slots_;  // those no running sequence has; the last is given next
  TenantLoads waiting_load_;         // of waiting_
  FairOrder fair_order_;
  std::set<std::pair<absl::Time, SequenceId>> timeouts_;  // of those that have one
  std::vector<Row> rows_, ahead_rows_;  // of the older and of the newer step in flight
  int64_t next_arrival_number_ = 0;
  SchedulerEvents events_;
  SchedulerTotals totals_;
  StepMasks masks_;  // of the step that was masked last: its memory is used again
  MaskThreads mask_threads_;
};

}  // namespace tidal

#endif  // TIDAL_SCHEDULER_SCHEDULER_H_
