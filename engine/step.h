// The border between deciding and executing: the scheduler describes one step, the executor runs
// it. The scheduler includes nothing else of the engine.
#ifndef TIDAL_ENGINE_STEP_H_
#define TIDAL_ENGINE_STEP_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/base/ids.h"
#include "engine/sampling_params.h"

namespace tidal {

// How one sequence's decode rows attend. Resolved: "auto" and defaults are gone before this point.
enum class AttentionMode : uint8_t { kFull, kTidal };

struct AttentionPolicy {
  AttentionMode mode = AttentionMode::kFull;
  int32_t token_budget = 0;  // kTidal: tokens a reuse layer reads, >= 1
  int32_t dense_below = 0;   // kTidal: a context of at most this many tokens is read whole

  // Does a decode row with this many tokens in its context (itself included) run sparse?
  bool RunsSparse(int32_t context_len) const {
    return mode == AttentionMode::kTidal && context_len > token_budget && context_len > dense_below;
  }
};

// How a row of a step runs.
enum class RowKind : uint8_t {
  kPrefill,  // known tokens, prompt chunks or corrections, even of one token: dense in every layer
  kDecode,   // one token, which may run sparse
  kVerify,   // the newest token and a draft of what may follow it: dense in every layer, causal
};

// What a row is to give.
enum class Wanted : uint8_t {
  kNone,
  kLastToken,  // a token sampled from the logits of its last one
  kAllTokens,  // one from the logits of each of its tokens; of verify rows
};

// How many tokens a row of so many new ones gives.
constexpr int32_t NumWanted(Wanted wanted, int32_t num_new_tokens) {
  if (wanted == Wanted::kAllTokens) return num_new_tokens;
  return wanted == Wanted::kLastToken ? 1 : 0;
}

// New tokens of a verify row, at most.
inline constexpr int32_t kMaxVerifyTokens = 16;

// Tokens of a prompt that follow each other.
struct PromptSpan {
  int32_t first = 0;  // position
  int32_t count = 0;
};

// One sequence's share of a step. Views are valid until Launch() returns.
struct ScheduledSequence {
  SequenceId id;
  // The device row that the sequence has from its admission to its end or preemption: in
  // [0, max_num_seqs), and no other running sequence's. It holds the block table, the last sampled
  // token and what sampling depends on (engine/step/sequence_slots.h).
  int32_t slot;
  bool new_in_slot;  // the sequence's first step there
  RowKind kind;
  Wanted wanted;
  // All tokens known so far, prompt first. This step runs
  // tokens[num_computed_tokens, num_computed_tokens + num_new_tokens), in a verify row the newest
  // of them and all of `draft`.
  absl::Span<const TokenId> tokens;
  int32_t num_prompt_tokens;
  int32_t num_computed_tokens;            // already in the KV cache, or will be when this step runs
  int32_t num_new_tokens;                 // >= 1; exactly 1 in decode, 1 + draft in verification
  absl::Span<const BlockId> block_table;  // covers computed + new tokens
  int32_t num_sent_blocks;                // the first so many of it are in the slot already
  const SamplingParams* sampling;         // the same in all steps of a slot
  AttentionPolicy attention;
  // 1: one more token follows `tokens`, unknown yet: the one that the step launched before this
  // samples for the sequence.
  int32_t num_pending_tokens = 0;
  // Of a verify row: tokens that may turn out to follow `tokens`.
  absl::Span<const TokenId> draft = {};
  // Its token is sampled under a mask, which Executor::Sample() brings.
  bool masked = false;
  // Of a prefill row: the prompt's tokens whose log probabilities are wanted, with
  // sampling->num_prompt_logprobs alternatives. Each follows a new token of this row.
  PromptSpan prompt_logprobs = {};

  int32_t num_tokens() const { return static_cast<int32_t>(tokens.size()) + num_pending_tokens; }
  // Tokens in the cache once the step has run.
  int32_t context_len() const { return num_computed_tokens + num_new_tokens; }
  // Tokens it is to give.
  int32_t num_wanted() const { return NumWanted(wanted, num_new_tokens); }
  // Does its row run sparse where the model has layers that read selected tokens?
  bool wants_sparse() const {
    return kind == RowKind::kDecode && attention.RunsSparse(context_len());
  }
};

struct StepInput {
  std::vector<ScheduledSequence> sequences;

  bool masked() const {
    return std::any_of(sequences.begin(), sequences.end(),
                       [](const ScheduledSequence& sequence) { return sequence.masked; });
  }
};

// Which tokens a step's sequences may sample.
struct StepMasks {
  static constexpr int32_t kNoMask = -1;

  std::vector<int32_t> of_sequences;  // in the order of the step's, each one's mask or kNoMask
  std::vector<uint32_t> words;        // [masks, ceil(vocab / 32)]; the bit of an allowed token is 1
};

struct TokenLogprob {
  TokenId id;
  float logprob;
};

struct SampledToken {
  TokenId id;
  float logprob;                  // of the raw distribution; NaN of a corrupt row
  std::vector<TokenLogprob> top;  // sampling->num_alternatives() entries, best first

  // The logits were no numbers (kernels/sampling_params.h): the token is valid and means nothing,
  // and what the sequence has in the KV cache may be as bad. Other sequences are not touched.
  bool corrupt() const { return std::isnan(logprob); }
};

// A token of a prompt, as the model had expected it.
struct PromptLogprob {
  float logprob;                  // of the raw distribution; NaN of a corrupt row
  int32_t rank;                   // 1 = the likeliest; ties to the lower id
  std::vector<TokenLogprob> top;  // sampling->num_prompt_logprobs entries, best first

  bool corrupt() const { return std::isnan(logprob); }  // as of a sampled token
};

struct SequenceOutput {
  // The tokens wanted, in the order of the row's own. The first one that a draft does not guess is
  // the last that belongs to the text: later ones answer what was not said. The slot goes on from
  // there, and what the KV cache holds beyond is written again.
  absl::InlinedVector<SampledToken, 1> sampled;
  bool ran_sparse = false;
  std::vector<PromptLogprob> prompt_logprobs;  // those wanted, in order
};

// How many of a row's sampled tokens belong to the text.
inline int32_t NumAccepted(absl::Span<const SampledToken> sampled,
                           absl::Span<const TokenId> draft) {
  size_t accepted = 0;
  while (accepted < sampled.size() && accepted < draft.size() &&
         sampled[accepted].id == draft[accepted]) {
    ++accepted;
  }
  return static_cast<int32_t>(accepted < sampled.size() ? accepted + 1 : accepted);
}

struct StepStats {
  int32_t prefill_tokens = 0;
  int32_t verify_tokens = 0;  // newest tokens and drafts
  int32_t decode_rows = 0;
  int32_t sparse_rows = 0;
  int64_t selected_tokens = 0;  // sum over sparse rows of the tokens a reuse layer read
  int64_t kv_bytes_read = 0;    // by attention, all layers, decode rows
  double execute_seconds = 0;   // since it was launched or, if that is later, the one before ended
  double wait_seconds = 0;      // of those, waiting for the device
};

inline StepStats& operator+=(StepStats& sum, const StepStats& part) {
  sum.prefill_tokens += part.prefill_tokens;
  sum.verify_tokens += part.verify_tokens;
  sum.decode_rows += part.decode_rows;
  sum.sparse_rows += part.sparse_rows;
  sum.selected_tokens += part.selected_tokens;
  sum.kv_bytes_read += part.kv_bytes_read;
  sum.execute_seconds += part.execute_seconds;
  sum.wait_seconds += part.wait_seconds;
  return sum;
}

struct StepOutput {
  std::vector<SequenceOutput> sequences;  // in the order of StepInput::sequences
  StepStats stats;
};

// Runs steps of a model, in the order they are launched. Not thread-safe: one thread drives it.
// An error is final: the executor is broken (UNAVAILABLE, names the failed operation) and every
// later step fails too.
//
// A step with masked sequences samples nothing until Sample() gives their masks, which may depend
// on the tokens of the step before: it computes while the host finds them.
class Executor {
 public:
  // Steps that may be launched and not collected.
  static constexpr int kMaxInFlight = 2;

  virtual ~Executor() = default;
  // Starts a step. Precondition: the step before it does not wait for its masks.
  virtual void Launch(const StepInput& input) = 0;
  // Lets the newest step sample. Precondition: it is masked, and was not told before.
  virtual void Sample(const StepMasks& masks) = 0;
  // Waits for the oldest step not collected. Precondition: there is one, and it is sampled.
  virtual absl::StatusOr<StepOutput> Collect() = 0;
  // Does a step run while its launcher goes on, so that it pays to launch the next one meanwhile?
  virtual bool can_run_ahead() const { return false; }

  absl::StatusOr<StepOutput> Execute(const StepInput& input, const StepMasks& masks = {}) {
    Launch(input);
    if (input.masked()) Sample(masks);
    return Collect();
  }
};

}  // namespace tidal

#endif  // TIDAL_ENGINE_STEP_H_
