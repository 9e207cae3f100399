// The border between deciding and executing: the scheduler describes one step, the executor runs
// it. The scheduler includes nothing else of the engine.
#ifndef TIDAL_ENGINE_STEP_H_
#define TIDAL_ENGINE_STEP_H_

#include <cstdint>
#include <optional>
#include <vector>

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

// One sequence's share of a step. Views are valid until Execute() returns.
struct ScheduledSequence {
  SequenceId id;
  // All tokens known so far, prompt first. This step runs
  // tokens[num_computed_tokens, num_computed_tokens + num_new_tokens).
  absl::Span<const TokenId> tokens;
  int32_t num_prompt_tokens;
  int32_t num_computed_tokens;            // already in the KV cache
  int32_t num_new_tokens;                 // >= 1; exactly 1 in decode
  absl::Span<const BlockId> block_table;  // covers computed + new tokens
  // A decode row may run sparse. Everything else (prompt chunks, even of one token; correction
  // chunks) is a prefill row and always dense.
  bool is_decode;
  bool needs_token;  // sample from the last new token's logits
  const SamplingParams* sampling;
  AttentionPolicy attention;
};

struct StepInput {
  std::vector<ScheduledSequence> sequences;
};

struct TokenLogprob {
  TokenId id;
  float logprob;
};

struct SampledToken {
  TokenId id;
  float logprob;                  // of the raw distribution
  std::vector<TokenLogprob> top;  // sampling->num_logprobs entries, best first
};

struct SequenceOutput {
  std::optional<SampledToken> sampled;  // set when needs_token
  bool ran_sparse = false;
};

struct StepStats {
  int32_t prefill_tokens = 0;
  int32_t decode_rows = 0;
  int32_t sparse_rows = 0;
  int64_t selected_tokens = 0;  // sum over sparse rows of the tokens a reuse layer read
  int64_t kv_bytes_read = 0;    // by attention, all layers, decode rows
  double execute_seconds = 0;
  double wait_seconds = 0;  // of those, waiting for the device; the rest is the host's own time
};

struct StepOutput {
  std::vector<SequenceOutput> sequences;  // in the order of StepInput::sequences
  StepStats stats;
};

// Runs steps of a model. Not thread-safe; one thread calls Execute.
// An error is final: the executor is broken (UNAVAILABLE, names the failed operation) and every
// later call fails too.
class Executor {
 public:
  virtual ~Executor() = default;
  virtual absl::StatusOr<StepOutput> Execute(const StepInput& input) = 0;
};

}  // namespace tidal

#endif  // TIDAL_ENGINE_STEP_H_
