// One generation: its tokens, how far they are computed, and how exactly. Knows nothing of queues,
// of other sequences, or of devices.
#ifndef TIDAL_SCHEDULER_SEQUENCE_H_
#define TIDAL_SCHEDULER_SEQUENCE_H_

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "engine/base/ids.h"
#include "engine/step.h"
#include "scheduler/request.h"

namespace tidal {

enum class SequenceStatus : uint8_t {
  kWaiting,  // holds no blocks: new, or preempted
  kRunning,  // holds blocks for all its tokens
};

// What the next step may run of a sequence.
struct NextRun {
  int32_t max_tokens;  // >= 1; exactly one of a decode row
  RowKind kind;

  // Is it one new token, and what a draft adds to it?
  bool is_decode() const { return kind != RowKind::kPrefill; }
};

// The blocks of a sequence. Written by BlockManager only.
struct SequenceBlocks {
  std::vector<BlockId> table;    // token t is row t % block_size of block table[t / block_size]
  std::vector<uint64_t> hashes;  // of each full block, chained from the first
  int32_t num_published = 0;     // the first so many of `table` are prefix cache entries
  int32_t num_sent = 0;          // the first so many of `table` are in the sequence's slot
  // While it waits: the prefix cache's entries that it found or held last, and the version of the
  // cache when it last looked.
  std::vector<BlockId> match;
  int64_t match_version = 0;
};

// Exactness. A token's KV is exact when dense attention over exact KV produced it. A decode row
// that ran sparse is not, nor is any row after it until a correction. Two numbers tell all:
//   dense_until      tokens before it are run densely, in chunks: all that are known when the
//                    sequence is admitted, also after a preemption, or when a correction is begun
//   first_sparse     the first computed position that is not exact
// So a sequence that lost its blocks goes on from exact KV, whatever it had (docs/
// sparse_attention.md says what that changes).
//
// Not thread-safe: owned by the scheduler.
class Sequence {
 public:
  // `arrival_number` orders sequences of one priority and turn: lower is earlier, never reused.
  Sequence(std::unique_ptr<Request> request, int64_t arrival_number);

  SequenceId id() const { return request_->id; }
  const Request& request() const { return *request_; }
  std::unique_ptr<Request> TakeRequest() { return std::move(request_); }  // last call of its life
  int64_t arrival_number() const { return arrival_number_; }

  absl::Span<const TokenId> tokens() const { return tokens_; }
  int32_t num_tokens() const { return static_cast<int32_t>(tokens_.size()); }
  int32_t num_prompt_tokens() const { return num_prompt_tokens_; }
  int32_t num_output_tokens() const { return num_tokens() - num_prompt_tokens_; }
  int32_t num_computed_tokens() const { return num_computed_tokens_; }
  int32_t dense_until() const { return dense_until_; }

  // Computed leading tokens with exact KV.
  int32_t num_exact_tokens() const { return std::min(num_computed_tokens_, first_sparse_); }
  // Computed tokens without.
  int32_t num_inexact_tokens() const { return num_computed_tokens_ - num_exact_tokens(); }

  // num_inexact_tokens() after a decode row, at most.
  int32_t MostInexactTokens() const;

  // A sequence with a draft that decodes is verified.
  // Precondition: num_computed_tokens() < num_tokens(), which holds for every live sequence.
  NextRun GetNextRun() const;

  // `count` more tokens are in the cache; `ran_sparse` only for a decode row.
  void AdvanceComputed(int32_t count, bool ran_sparse);
  // The prompt's tokens whose log probabilities are wanted of a row that runs the next `count`
  // tokens: those not handed on yet that follow one of them. None of them when none were asked for.
  PromptSpan PromptLogprobsOf(int32_t count) const;
  // The first of the prompt's tokens whose log probability is still wanted; else their number.
  int32_t next_prompt_logprob() const { return next_prompt_logprob_; }
  // Are there log probabilities of the prompt to come?
  bool wants_prompt_logprobs() const { return next_prompt_logprob_ < num_prompt_tokens_; }
  // `count` more of them were handed on.
  void AdvancePromptLogprobs(int32_t count);
  // Does it say anything, or is its prompt all that is computed?
  bool generates() const { return request_->stop.max_tokens > 0; }
  // How many more tokens its lengths allow: at least 1 of a live one that generates.
  int32_t NumTokensLeft(int32_t max_model_len) const {
    return std::min(request_->stop.max_tokens - num_output_tokens(), max_model_len - num_tokens());
  }
  // Would it end with one more token, whichever?
  bool EndsByLength(int32_t max_model_len) const { return NumTokensLeft(max_model_len) <= 1; }
  // Appends a sampled token; says why it ends the generation, if it does.
  std::optional<FinishReason> AppendToken(TokenId token, int32_t max_model_len);
  // Rewinds to the first inexact token; all tokens known now will be run densely. Returns how many
  // had been decoded sparsely.
  int32_t BeginCorrection();
  // The cache holds only the first `num_cached_tokens` tokens, all exact, and those that follow
  // will be run densely: after an admission, and with 0 after a preemption.
  void ResetComputed(int32_t num_cached_tokens);

  SequenceStatus status = SequenceStatus::kWaiting;
  int32_t slot = kNoSlot;    // while it runs (ScheduledSequence::slot)
  bool new_in_slot = false;  // no step has named the slot yet
  int64_t turn = 0;          // among those of its priority (fair_order.h); set once, when it comes
  SequenceBlocks blocks;
  std::vector<TokenId> draft;   // what may follow tokens(): for the next step only
  int32_t times_overtaken = 0;  // admissions of later requests while this one did not fit
  FinishInfo info;              // counts and times so far; reason and status at the end

  static constexpr int32_t kNoSlot = -1;

 private:
  static constexpr int32_t kNone = std::numeric_limits<int32_t>::max();

  std::unique_ptr<Request> request_;
  int64_t arrival_number_;
  std::vector<TokenId> tokens_;  // prompt, then output
  int32_t num_prompt_tokens_;
  int32_t num_computed_tokens_ = 0;
  int32_t dense_until_;
  int32_t first_sparse_ = kNone;
  int32_t next_prompt_logprob_;  // the first prompt token whose log probability is to be handed on
};

// Who is served first: lower priority, then the earlier turn, then earlier arrival. Preemption
// takes the last. With one tenant turns are in the order of arrival.
struct ServedBefore {
  bool operator()(const Sequence* a, const Sequence* b) const { return Key(*a) < Key(*b); }

 private:
  static std::tuple<int32_t, int64_t, int64_t> Key(const Sequence& sequence) {
    return {sequence.request().priority, sequence.turn, sequence.arrival_number()};
  }
};

}  // namespace tidal

#endif  // TIDAL_SCHEDULER_SEQUENCE_H_
