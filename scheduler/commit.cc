// Scheduler::Commit(): what a step's tokens make of its sequences. They advance nowhere else.
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "engine/base/check.h"
#include "scheduler/scheduler.h"

namespace tidal {
namespace {

// How the constraint of a sequence, which may be null, ends it with its newest token, if it does.
std::optional<FinishReason> EndByConstraint(TokenConstraint* constraint, TokenId token) {
  if (constraint == nullptr) return std::nullopt;
  if (!constraint->Accept(token)) return FinishReason::kError;
  return constraint->complete() ? std::optional(FinishReason::kStop) : std::nullopt;
}

}  // namespace

void Scheduler::Commit(const StepOutput& output, absl::Time now) {
  TIDAL_CHECK(!rows_.empty() && output.sequences.size() == rows_.size());
  const std::vector<Row> rows = std::exchange(rows_, std::exchange(ahead_rows_, {}));
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].sequence != nullptr) CommitRow(rows[i], output.sequences[i], now);
  }
  ++totals_.steps;
}

void Scheduler::CommitRow(const Row& row, const SequenceOutput& output, absl::Time now) {
  Sequence* sequence = row.sequence;
  const std::vector<TokenId> draft = std::exchange(sequence->draft, {});
  const auto num_sampled = static_cast<int32_t>(output.sampled.size());
  TIDAL_CHECK(num_sampled == NumWanted(row.wanted, row.num_tokens));
  TIDAL_CHECK(!output.ran_sparse || row.kind == RowKind::kDecode);
  const PromptSpan scored = sequence->PromptLogprobsOf(row.num_tokens);
  TIDAL_CHECK(static_cast<int32_t>(output.prompt_logprobs.size()) == scored.count);
  if (!TakePromptLogprobs(sequence, output.prompt_logprobs)) return EndCorrupt(sequence, now);
  if (num_sampled == 0) {
    Advance(sequence, row.num_tokens, /*ran_sparse=*/false);
    const bool is_whole = sequence->num_computed_tokens() == sequence->num_tokens();
    if (is_whole && !sequence->generates()) FinishPrompt(sequence, now);
    return;
  }
  const int32_t accepted = NumAccepted(output.sampled, draft);
  totals_.accepted += accepted - 1;
  for (int32_t i = 0; i < accepted; ++i) {
    const SampledToken& token = output.sampled[i];
    if (token.corrupt()) return EndCorrupt(sequence, now);
    // In the cache are the tokens before the first result, and with each later one a right guess.
    Advance(sequence, i == 0 ? row.num_tokens - (num_sampled - 1) : 1, output.ran_sparse);
    if (!CommitToken(sequence, token, output.ran_sparse, now)) return;
    if (CorrectIfDue(sequence)) break;
  }
  if (row.kind == RowKind::kVerify) blocks_.TakeBackUnused(sequence);
}

bool Scheduler::TakePromptLogprobs(Sequence* sequence, const std::vector<PromptLogprob>& logprobs) {
  if (logprobs.empty()) return true;
  for (const PromptLogprob& logprob : logprobs) {
    if (logprob.corrupt()) return false;
  }
  sequence->AdvancePromptLogprobs(static_cast<int32_t>(logprobs.size()));
  events_.prompt_logprobs.push_back({sequence->request().stream, logprobs});
  return true;
}

void Scheduler::FinishPrompt(Sequence* sequence, absl::Time now) {
  CountPrompt(sequence->info);
  Finish(sequence, FinishReason::kLength, absl::OkStatus(), now);
}

void Scheduler::CountPrompt(const FinishInfo& info) {
  totals_.prompt_computed += info.prompt_tokens - info.cached_tokens;
  totals_.prompt_cached += info.cached_tokens;
}

void Scheduler::Advance(Sequence* sequence, int32_t count, bool ran_sparse) {
  sequence->AdvanceComputed(count, ran_sparse);
  blocks_.Publish(sequence);
}

bool Scheduler::CommitToken(Sequence* sequence, const SampledToken& token, bool ran_sparse,
                            absl::Time now) {
  FinishInfo& info = sequence->info;
  // A token after the first is one decode step, however its row came about; what a preemption made
  // run again was counted when it ran first.
  if (sequence->num_output_tokens() == 0) {
    info.first_token = now;
    CountPrompt(info);
  } else {
    ++(ran_sparse ? info.sparse_steps : info.dense_steps);
  }
  ++totals_.generated;
  events_.tokens.push_back({sequence->request().stream, token});
  std::optional<FinishReason> reason = sequence->AppendToken(token.id, config_.max_model_len);
  // Before a stop token, which it may forbid, and lengths: what is complete was not cut off.
  const auto end = EndByConstraint(sequence->request().constraint.get(), token.id);
  if (end.has_value()) reason = end;
  if (!reason) return true;
  events_.tokens.back().is_last = true;
  if (*reason == FinishReason::kStop) info.stop_token = token.id;
  Finish(sequence, *reason,
         *reason == FinishReason::kError
             ? absl::InternalError("no token goes on with the structure that the request asks for")
             : absl::OkStatus(),
         now);
  return false;
}

bool Scheduler::CorrectIfDue(Sequence* sequence) {
  if (!CorrectionIsDue(sequence->num_inexact_tokens())) return false;
  const int32_t corrected = sequence->BeginCorrection();
  sequence->info.corrected_tokens += corrected;
  totals_.corrected_tokens += corrected;
  return true;
}

// Its keys and values led to logits that are no numbers, so no other sequence may start from them:
// who would, computes them anew, and fails by itself only if the fault is in the model.
void Scheduler::EndCorrupt(Sequence* sequence, absl::Time now) {
  ++totals_.corrupt_sequences;
  blocks_.Withdraw(*sequence);
  Finish(sequence, FinishReason::kError,
         absl::InternalError("the model computed no numbers for this request: its logits are NaN "
                             "or infinite"),
         now);
}

}  // namespace tidal
