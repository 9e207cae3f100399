#include "scheduler/scheduler.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "scheduler/token_budget.h"

namespace tidal {

Scheduler::Scheduler(const SchedulerConfig& config)
    : config_(config),
      blocks_(config.num_blocks, config.block_size, config.enable_prefix_caching),
      mask_threads_(config.mask_threads) {
  TIDAL_CHECK(config.Validate().ok());
  for (int32_t slot = config.max_num_seqs - 1; slot >= 0; --slot) free_slots_.push_back(slot);
}

Scheduler::~Scheduler() {
  for (Sequence* sequence : running_) blocks_.Free(sequence);
}

void Scheduler::Add(std::unique_ptr<Request> request) {
  const SequenceId id = request->id;
  auto sequence = std::make_unique<Sequence>(std::move(request), next_arrival_number_++);
  const Request& added = sequence->request();
  sequence->turn = fair_order_.Enter(added.priority, added.tenant, added.expected_tokens);
  Enqueue(sequence.get());
  AddTimeout(*sequence);
  TIDAL_CHECK(sequences_.emplace(id, std::move(sequence)).second);
}

void Scheduler::Abort(SequenceId id, const absl::Status& status, absl::Time now) {
  auto it = sequences_.find(id);
  if (it != sequences_.end()) Finish(it->second.get(), FinishReason::kCancelled, status, now);
}

void Scheduler::SetDraft(SequenceId id, absl::Span<const TokenId> draft) {
  TIDAL_CHECK(!step_in_flight());
  auto it = sequences_.find(id);
  if (it == sequences_.end() || it->second->status != SequenceStatus::kRunning) return;
  Sequence* sequence = it->second.get();
  sequence->draft.clear();
  if (sequence->request().constraint != nullptr) return;
  if (sequence->GetNextRun().is_decode()) sequence->draft.assign(draft.begin(), draft.end());
}

void Scheduler::AbortAll(FinishReason reason, const absl::Status& status, absl::Time now) {
  while (!running_.empty()) Finish(*running_.begin(), reason, status, now);
  while (!waiting_.empty()) Finish(*waiting_.begin(), reason, status, now);
}

StepInput Scheduler::Schedule(absl::Time now) {
  TIDAL_CHECK(rows_.empty());
  blocks_.SetNow(now);
  EndTimedOut(now);
  GrowRunning();
  MakeRoomForPriority();
  AdmitWaiting(now);
  PlanRows();
  TIDAL_CHECK(rows_.empty() == empty());
  return BuildStep(rows_);
}

void Scheduler::Enqueue(Sequence* sequence) {
  const Request& request = sequence->request();
  waiting_load_.Add(request.tenant, {1, request.expected_tokens});
  waiting_.insert(sequence);
}

void Scheduler::Dequeue(Sequence* sequence) {
  const Request& request = sequence->request();
  waiting_load_.Remove(request.tenant, {1, request.expected_tokens});
  waiting_.erase(sequence);
}

absl::Time Scheduler::TimeoutOf(const Sequence& sequence) const {
  const Request& request = sequence.request();
  const bool has_run = sequence.info.first_scheduled != absl::InfinitePast();
  if (has_run || config_.max_queue_time == absl::InfiniteDuration()) return request.deadline;
  return std::min(request.deadline, request.arrival + config_.max_queue_time);
}

void Scheduler::AddTimeout(const Sequence& sequence) {
  const absl::Time timeout = TimeoutOf(sequence);
  if (timeout != absl::InfiniteFuture()) timeouts_.emplace(timeout, sequence.id());
}

void Scheduler::RemoveTimeout(const Sequence& sequence) {
  timeouts_.erase({TimeoutOf(sequence), sequence.id()});
}

void Scheduler::EndTimedOut(absl::Time now) {
  while (AnyTimedOut(now)) {
    Sequence* sequence = sequences_.at(timeouts_.begin()->second).get();
    Finish(sequence, FinishReason::kCancelled,
           sequence->request().deadline <= now
               ? absl::DeadlineExceededError("the request's deadline passed")
               : absl::ResourceExhaustedError(absl::StrCat(
                     "the server is busy: the request waited for ",
                     absl::FormatDuration(config_.max_queue_time), " and was not begun")),
           now);
  }
}

QueueLoad Scheduler::startable() const {
  return {config_.max_num_seqs - num_running(),
          static_cast<int64_t>(blocks_.num_available()) * blocks_.block_size()};
}

void Scheduler::GrowRunning() {
  // Every step but the first of each sequence's blocks needs at most one more.
  for (auto it = running_.begin(); it != running_.end();) {
    Sequence* sequence = *it;
    if (!blocks_.NeedsBlock(*sequence)) {
      ++it;
      continue;
    }
    if (blocks_.num_available() > 0) {
      blocks_.Append(sequence);
      ++it;
      continue;
    }
    Sequence* victim = *running_.rbegin();
    TIDAL_CHECK(victim != *running_.begin());  // alone, a sequence fits
    const bool was_itself = victim == sequence;
    Preempt(victim);
    if (was_itself) break;  // it was the last
  }
}

std::vector<Sequence*> Scheduler::PriorityVictims() {
  if (waiting_.empty()) return {};
  Sequence* first = *waiting_.begin();
  const bool has_seat = num_running() < config_.max_num_seqs;
  if (has_seat && blocks_.CanAllocate(first, BlockReserve())) return {};
  // Blocks it would find in the prefix cache are not counted: they may be the victims' own.
  const int32_t needed = blocks_.BlocksFor(first->num_tokens());
  int32_t available = blocks_.num_available();
  int32_t left = num_running();
  std::vector<Sequence*> victims;
  for (auto it = running_.rbegin(); it != running_.rend(); ++it) {
    if ((*it)->request().priority <= first->request().priority) break;
    victims.push_back(*it);
    available += blocks_.NumExclusiveBlocks(**it);
    --left;
    if (needed + left <= available) return victims;
  }
  return {};
}

void Scheduler::MakeRoomForPriority() {
  for (Sequence* victim : PriorityVictims()) Preempt(victim);
}

void Scheduler::AdmitWaiting(absl::Time now) {
  if (waiting_.empty() || num_running() == config_.max_num_seqs) return;
  std::vector<Sequence*> chunks;  // running sequences that do not decode
  for (Sequence* sequence : running_) {
    if (!sequence->GetNextRun().is_decode()) chunks.push_back(sequence);
  }
  int32_t tokens = TokensForPrompts(chunks);
  std::vector<Sequence*> passed_over;  // for want of blocks
  int32_t num_skipped = 0;
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    Sequence* sequence = *it;
    if (tokens == 0 || num_running() == config_.max_num_seqs) return;
    const bool waits_for_prefix = WaitsForPrefix(sequence, chunks);
    if (waits_for_prefix || !blocks_.CanAllocate(sequence, BlockReserve())) {
      if (!waits_for_prefix) {
        if (sequence->times_overtaken >= kMaxOvertaken) return;
        passed_over.push_back(sequence);
      }
      if (++num_skipped == kMaxOvertaken) return;
      ++it;
      continue;
    }
    // A worse priority never overtakes a better one.
    if (!passed_over.empty() &&
        passed_over.front()->request().priority != sequence->request().priority) {
      return;
    }
    ++it;
    Admit(sequence, now);
    const NextRun run = sequence->GetNextRun();
    if (!run.is_decode()) chunks.push_back(sequence);
    tokens -= SureChunk(run.max_tokens, tokens, config_.block_size);
    for (Sequence* other : passed_over) ++other->times_overtaken;
  }
}

// What decode rows and the sure chunks of running sequences leave of the step.
int32_t Scheduler::TokensForPrompts(const std::vector<Sequence*>& chunks) const {
  int32_t tokens = config_.max_num_batched_tokens;
  tokens -= num_running() - static_cast<int32_t>(chunks.size());
  for (const Sequence* sequence : chunks) {
    tokens -= SureChunk(sequence->GetNextRun().max_tokens, tokens, config_.block_size);
  }
  return tokens;
}

// A collision of hashes could make it wait for a better served sequence in vain, until that one's
// prompt is computed: rule 4 promises no more.
bool Scheduler::WaitsForPrefix(Sequence* sequence, const std::vector<Sequence*>& chunks) const {
  if (!config_.enable_prefix_caching || sequence->wants_prompt_logprobs()) return false;
  for (Sequence* other : chunks) {
    if (!ServedBefore()(other, sequence)) continue;
    if (other->request().cache_salt != sequence->request().cache_salt) continue;
    // Is it about to compute a block that this one could take over, and has not got yet?
    const int32_t begin = other->num_exact_tokens();
    const int32_t end =
        std::min({begin / config_.block_size * config_.block_size + config_.block_size,
                  other->dense_until(), sequence->num_tokens() - 1});
    if (end % config_.block_size != 0 || end <= begin) continue;
    if (blocks_.EqualPrefixes(sequence, other, end / config_.block_size)) return true;
  }
  return false;
}

void Scheduler::Admit(Sequence* sequence, absl::Time now) {
  const Request& request = sequence->request();
  Dequeue(sequence);
  fair_order_.Serve(request.priority, request.tenant, sequence->turn);
  const int32_t cached = blocks_.Allocate(sequence);
  sequence->ResetComputed(cached);
  sequence->status = SequenceStatus::kRunning;
  sequence->slot = free_slots_.back();
  sequence->new_in_slot = true;
  free_slots_.pop_back();
  sequence->times_overtaken = 0;
  running_.insert(sequence);
  if (sequence->info.first_scheduled != absl::InfinitePast()) return;  // was preempted
  RemoveTimeout(*sequence);
  sequence->info.first_scheduled = now;
  AddTimeout(*sequence);
  sequence->info.cached_tokens = cached;
  const bool looked_up = config_.enable_prefix_caching && !sequence->wants_prompt_logprobs();
  if (looked_up) totals_.prefix_queries += sequence->num_prompt_tokens();
  totals_.prefix_hits += cached;
}

void Scheduler::PlanRows() {
  std::vector<Row> chunks;
  for (Sequence* sequence : running_) {
    const NextRun run = sequence->GetNextRun();
    (run.is_decode() ? rows_ : chunks)
        .push_back({sequence, run.max_tokens, run.kind, Wanted::kNone});
  }
  int32_t tokens = config_.max_num_batched_tokens - static_cast<int32_t>(rows_.size());
  tokens -= PlanDrafts(chunks.empty() ? tokens : tokens / 2, static_cast<int32_t>(chunks.size()));
  std::stable_partition(chunks.begin(), chunks.end(),
                        [](const Row& row) { return row.sequence->num_output_tokens() > 0; });
  std::vector<int32_t> wanted;
  for (const Row& row : chunks) wanted.push_back(row.num_tokens);
  const std::vector<int32_t> granted = DivideTokens(tokens, config_.block_size, wanted);
  for (size_t i = 0; i < chunks.size(); ++i) {
    chunks[i].num_tokens = granted[i];
    if (granted[i] > 0) rows_.push_back(chunks[i]);
  }
  for (Row& row : rows_) {
    const Sequence& sequence = *row.sequence;
    if (row.kind == RowKind::kVerify) {
      row.wanted = Wanted::kAllTokens;
    } else if (sequence.generates() &&
               sequence.num_computed_tokens() + row.num_tokens == sequence.num_tokens()) {
      row.wanted = Wanted::kLastToken;
    }
  }
}

int32_t Scheduler::PlanDrafts(int32_t tokens, int32_t num_chunks) {
  const int32_t results = std::max(config_.max_sampled_tokens, config_.max_num_seqs);
  const int32_t most = std::min(tokens, results - static_cast<int32_t>(rows_.size()) - num_chunks);
  int32_t used = 0;
  for (Row& row : rows_) {
    Sequence* sequence = row.sequence;
    std::vector<TokenId>& draft = sequence->draft;
    if (draft.empty()) continue;
    const int32_t limits[] = {static_cast<int32_t>(draft.size()), kMaxVerifyTokens - 1,
                              sequence->NumTokensLeft(config_.max_model_len) - 1, most - used};
    draft.resize(std::max(*std::min_element(std::begin(limits), std::end(limits)), 0));
    // Nobody is preempted for a guess.
    while (blocks_.NeedsBlock(*sequence, static_cast<int32_t>(draft.size()))) {
      if (blocks_.num_available() > 0) {
        blocks_.Append(sequence);
      } else {
        draft.pop_back();
      }
    }
    const auto size = static_cast<int32_t>(draft.size());
    used += size;
    row.num_tokens = 1 + size;
    if (size == 0) row.kind = RowKind::kDecode;
  }
  totals_.drafted += used;
  return used;
}

StepInput Scheduler::BuildStep(const std::vector<Row>& rows) {
  StepInput input;
  input.sequences.reserve(rows.size());
  for (const Row& row : rows) {
    Sequence& sequence = *row.sequence;
    SequenceBlocks& blocks = sequence.blocks;
    input.sequences.push_back({
        .id = sequence.id(),
        .slot = sequence.slot,
        .new_in_slot = std::exchange(sequence.new_in_slot, false),
        .kind = row.kind,
        .wanted = row.wanted,
        .tokens = sequence.tokens(),
        .num_prompt_tokens = sequence.num_prompt_tokens(),
        // A pending token is computed by a decode row, whose other tokens are computed by then.
        .num_computed_tokens = sequence.num_computed_tokens() + row.num_pending_tokens,
        .num_new_tokens = row.num_tokens,
        .block_table = blocks.table,
        .num_sent_blocks =
            std::exchange(blocks.num_sent, static_cast<int32_t>(blocks.table.size())),
        .sampling = &sequence.request().sampling,
        .attention = sequence.request().attention,
        .num_pending_tokens = row.num_pending_tokens,
        .draft = sequence.draft,
        .masked = row.wanted != Wanted::kNone && sequence.request().constraint != nullptr,
        .prompt_logprobs = sequence.PromptLogprobsOf(row.num_tokens),
    });
  }
  return input;
}

void Scheduler::StopRunning(Sequence* sequence) {
  running_.erase(sequence);
  sequence->draft.clear();
  blocks_.Free(sequence);
  free_slots_.push_back(std::exchange(sequence->slot, Sequence::kNoSlot));
}

void Scheduler::Preempt(Sequence* sequence) {
  StopRunning(sequence);
  sequence->ResetComputed(0);
  sequence->status = SequenceStatus::kWaiting;
  ++sequence->info.preemptions;
  ++totals_.preemptions;
  const Request& request = sequence->request();
  fair_order_.Return(request.priority, request.tenant, sequence->turn);
  Enqueue(sequence);
}

// Also while steps that run it are in flight. They still write the blocks and the slot it gives
// back, but steps run in the order they are launched: whoever gets them writes them later.
void Scheduler::Finish(Sequence* sequence, FinishReason reason, absl::Status status,
                       absl::Time now) {
  for (std::vector<Row>* rows : {&rows_, &ahead_rows_}) {
    for (Row& row : *rows) {
      if (row.sequence == sequence) row.sequence = nullptr;
    }
  }
  if (sequence->status == SequenceStatus::kRunning) {
    StopRunning(sequence);
  } else {
    Dequeue(sequence);
    fair_order_.Leave(sequence->request().priority, sequence->request().tenant);
  }
  RemoveTimeout(*sequence);
  FinishInfo info = std::move(sequence->info);
  info.reason = reason;
  info.status = std::move(status);
  info.output_tokens = sequence->num_output_tokens();
  info.finish = now;
  const SequenceId id = sequence->id();
  events_.finishes.push_back({sequence->TakeRequest(), std::move(info)});
  sequences_.erase(id);
}

SchedulerEvents Scheduler::TakeEvents() {
  events_.blocks = blocks_.residency().TakeUse();
  return std::exchange(events_, SchedulerEvents{});
}

SchedulerSnapshot Scheduler::Snapshot() const {
  SchedulerSnapshot snapshot;
  snapshot.block_size = config_.block_size;
  snapshot.max_num_seqs = config_.max_num_seqs;
  snapshot.max_model_len = config_.max_model_len;
  snapshot.ref_counts = blocks_.allocator().ref_counts();
  snapshot.free_blocks = blocks_.allocator().free_blocks();
  snapshot.parked_blocks = blocks_.prefix_cache().ParkedBlocks();
  snapshot.free_slots = free_slots_;
  for (BlockId block = 0; block < blocks_.num_blocks(); ++block) {
    snapshot.is_published.push_back(blocks_.prefix_cache().IsEntry(block));
  }
  for (const Queue* queue : {&running_, &waiting_}) {
    auto& copies = queue == &running_ ? snapshot.running : snapshot.waiting;
    for (const Sequence* sequence : *queue) {
      copies.push_back(SnapshotOf(*sequence));
      if (sequence->blocks.match.empty()) continue;
      copies.back().recalled_match = blocks_.RecalledMatch(*sequence);
      copies.back().fresh_match = blocks_.FreshMatch(*sequence);
    }
  }
  snapshot.num_sequences = static_cast<int32_t>(sequences_.size());
  return snapshot;
}

}  // namespace tidal
