// An executor whose KV cache has consequences: for tests that a schedule changes no output.
//
// The value stored for a token depends on its token, on all values before it, and on whether its
// row ran sparse; the sampled token depends on the last value. So a wrong block, a stale block, a
// shared inexact block or a skipped correction changes the text. (FakeExecutor of tests/support
// checks the block tables themselves, and knows nothing of exactness.)
#ifndef TIDAL_TESTS_SCHEDULER_KV_EXECUTOR_H_
#define TIDAL_TESTS_SCHEDULER_KV_EXECUTOR_H_

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "engine/step.h"
#include "scheduler/request.h"
#include "scheduler/scheduler_config.h"
#include "tests/support/eager_executor.h"

namespace tidal {

// Not thread-safe, like Executor. A step that reads a value which is not the sequence's own, or
// breaks the rules of step.h, is an INTERNAL error.
class KvExecutor : public EagerExecutor {
 public:
  KvExecutor(const SchedulerConfig& config, int32_t vocab_size);

  // The next row of this sequence computes values that are no numbers. They are where they were
  // written until something else is; every row that reads them is corrupt.
  void Fault(SequenceId id) { faults_.insert(id); }

  // The positions, of a sequence's tokens, that a verify row ran for the text's next token: those
  // of a sequence that would run sparse are dense there.
  absl::flat_hash_set<int32_t> verified_positions(SequenceId id) const {
    const auto found = verified_positions_.find(id);
    return found == verified_positions_.end() ? absl::flat_hash_set<int32_t>() : found->second;
  }
  // How many tokens of output the sequence had each time it got a slot.
  std::vector<int32_t> outputs_at_start(SequenceId id) const {
    const auto found = outputs_at_start_.find(id);
    return found == outputs_at_start_.end() ? std::vector<int32_t>() : found->second;
  }

  // What a request must receive however it is scheduled: computed without a scheduler, one token
  // after the other, by the rules of docs/sparse_attention.md. Its constraint, if it has one, is a
  // FakeConstraint, of which only the rule is asked. `outputs_at_start`: when it began
  // anew, from exact KV.
  static std::vector<TokenId> ExpectedOutput(
      const Request& request, const SchedulerConfig& config, int32_t vocab_size,
      const std::vector<int32_t>& outputs_at_start = {},
      const absl::flat_hash_set<int32_t>& verified_positions = {});

  // The same of its prompt's log probabilities: their ranks, which say all.
  static std::vector<int32_t> ExpectedPromptRanks(const Request& request);

 protected:
  absl::StatusOr<StepOutput> Run(const StepInput& input) override;

 private:
  struct Slot {
    uint64_t value = 0;  // 0 = never written
    bool sparse = false;
    bool bad = false;
    int64_t written_at = -1;  // step
  };

  absl::Status CheckRow(const ScheduledSequence& row) const;
  absl::Status RunRow(const ScheduledSequence& row, SequenceOutput* output);
  Slot& SlotOf(const ScheduledSequence& row, int32_t position);

  const SchedulerConfig config_;
  const int32_t vocab_size_;
  std::vector<Slot> slots_;                 // [num_blocks * block_size]
  absl::flat_hash_set<SequenceId> faults_;  // to come
  absl::flat_hash_map<SequenceId, std::vector<int32_t>> outputs_at_start_;
  absl::flat_hash_map<SequenceId, absl::flat_hash_set<int32_t>> verified_positions_;
  int64_t num_steps_ = 0;
};

}  // namespace tidal

#endif  // TIDAL_TESTS_SCHEDULER_KV_EXECUTOR_H_
