// An Executor without a model, for tests of everything above the engine.
//
// The next token is a pure function of all tokens before it, so any error in what was scheduled
// changes the output. A shadow KV cache remembers for each slot the prefix that was written there;
// every step checks that the block table of every sequence leads to exactly its own tokens. That
// catches wrong block tables, blocks freed too early, wrong prefix hits and wrong resumption.
#ifndef TIDAL_TESTS_SUPPORT_FAKE_EXECUTOR_H_
#define TIDAL_TESTS_SUPPORT_FAKE_EXECUTOR_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/step.h"
#include "tests/support/eager_executor.h"

namespace tidal {

struct FakeExecutorOptions {
  int32_t num_blocks = 64;
  int32_t block_size = 16;
  int32_t vocab_size = 1000;
  int32_t max_num_seqs = 256;
  int32_t max_num_batched_tokens = 2048;
  // Replaces the hash below, for example to end a sequence at a given length. Null = the hash.
  std::function<TokenId(absl::Span<const TokenId> tokens)> next_token;
  // Runs at the start of every step, on the caller's thread: to record, to wait, to count.
  std::function<void(const StepInput&)> on_step;
  // Steps fail for good from this one on (0 is the first); -1 = never.
  int64_t fail_at_step = -1;
};

// Not thread-safe, like Executor. A broken promise of the scheduler is an INTERNAL error that names
// the sequence, the position and the block, and, like every executor error, it is final.
class FakeExecutor : public EagerExecutor {
 public:
  explicit FakeExecutor(FakeExecutorOptions options);

  // The token this executor answers after `tokens`; `seed` counts only when temperature > 0.
  TokenId NextToken(absl::Span<const TokenId> tokens, const SamplingParams& sampling) const;

  // What a request must receive, however it was scheduled: `count` tokens after `prompt`.
  std::vector<TokenId> ExpectedOutput(std::vector<TokenId> prompt, int32_t count,
                                      const SamplingParams& sampling = {}) const;

  // What it says of a prompt's token: the likeliest, with -position / 4; alternatives are the ids
  // that follow, each by 1 less likely.
  PromptLogprob PromptLogprobOf(TokenId token, int32_t position,
                                const SamplingParams& sampling) const;

  int64_t num_steps() const { return num_steps_; }
  // Ok, or the first error.
  const absl::Status& status() const { return status_; }

 protected:
  absl::StatusOr<StepOutput> Run(const StepInput& input) override;

 private:
  struct Slot {
    uint64_t prefix_hash = 0;  // of the tokens up to and including this one; 0 = never written
    int64_t written_at = -1;   // step
    SequenceId writer = 0;
    bool sparse = false;  // written by a sparsely decoded row: must not be shared
  };

  absl::Status CheckShape(const StepInput& input) const;
  absl::Status CheckSequence(const ScheduledSequence& sequence) const;
  absl::Status Write(const ScheduledSequence& sequence);
  absl::Status CheckCache(const ScheduledSequence& sequence) const;
  SequenceOutput SampleRow(const ScheduledSequence& sequence) const;
  int64_t SlotOf(const ScheduledSequence& sequence, int32_t position) const;

  FakeExecutorOptions options_;
  std::vector<Slot> slots_;
  int64_t num_steps_ = 0;
  absl::Status status_;
};

}  // namespace tidal

#endif  // TIDAL_TESTS_SUPPORT_FAKE_EXECUTOR_H_
