// What the scheduler's tests share: small requests, and a scheduler with an executor that a test
// drives step by step, with the invariants checked after every one.
#ifndef TIDAL_TESTS_SCHEDULER_HARNESS_H_
#define TIDAL_TESTS_SCHEDULER_HARNESS_H_

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "engine/parallel/step_codec.h"
#include "scheduler/request.h"
#include "scheduler/scheduler.h"
#include "scheduler/scheduler_config.h"
#include "tests/scheduler/kv_executor.h"

namespace tidal {

inline constexpr int32_t kTestVocabSize = 1000;

// 64 blocks of 4 tokens, 8 sequences and 32 tokens a step, length at most 200.
SchedulerConfig SmallConfig();
// The same with 10 blocks: one request may fill them all.
SchedulerConfig TinyPoolConfig();

// `size` tokens counting up from `first`.
std::vector<TokenId> Prompt(int32_t size, TokenId first = 1);

std::unique_ptr<Request> MakeRequest(SequenceId id, std::vector<TokenId> prompt,
                                     int32_t max_tokens);

// A sequence that reads at most `budget` tokens in a decode row.
AttentionPolicy Tidal(int32_t budget);

class Harness {
 public:
  // A row as it was scheduled.
  struct Row {
    SequenceId id;
    int32_t num_computed_tokens, num_new_tokens;
    bool is_decode, wants_token;  // what a row of a draft is, too

    friend bool operator==(const Row&, const Row&) = default;
  };
  static bool Ran(const std::vector<Row>& rows, SequenceId id) {
    return std::any_of(rows.begin(), rows.end(), [id](const Row& row) { return row.id == id; });
  }
  // What a request has received.
  struct Result {
    std::vector<TokenId> tokens;
    std::vector<int32_t> prompt_ranks;
    Request request;  // as it was added
    std::optional<FinishInfo> finish;
  };

  explicit Harness(const SchedulerConfig& config, int32_t vocab_size = kTestVocabSize);

  void Add(std::unique_ptr<Request> request);
  void Abort(SequenceId id);
  void Fault(SequenceId id) { executor_.Fault(id); }
  // Gives a running sequence a draft of `size` tokens, of which the first `num_right` are what it
  // will say. Nothing while a step is in flight.
  void SetDraft(SequenceId id, int32_t size, int32_t num_right);
  // One step, if there is anything to run; its rows by the way they were ordered. With `overlap`
  // the step after it is launched before it is collected, where the scheduler allows it.
  std::vector<Row> Step();
  // Until nothing is left; fails the test after `max_steps`.
  void RunToEnd(int32_t max_steps = 10000);
  // Collects events, as after a step.
  void TakeEvents();

  // Fails the test unless every request received what it must: all of it, or the beginning where it
  // was cancelled or was corrupt.
  void ExpectOutputs() const;
  // What the request should have received, whole.
  std::vector<TokenId> Expected(SequenceId id) const {
    return KvExecutor::ExpectedOutput(results_.at(id).request, config_, vocab_size_,
                                      executor_.outputs_at_start(id),
                                      executor_.verified_positions(id));
  }

  Scheduler& scheduler() { return *scheduler_; }
  const Result& result(SequenceId id) const { return results_.at(id); }
  const std::map<SequenceId, Result>& results() const { return results_; }
  bool finished(SequenceId id) const { return results_.at(id).finish.has_value(); }

  // Steps that were launched while another was in flight.
  int64_t num_ahead() const { return num_ahead_; }
  // Rows that were sampled under a mask.
  int64_t num_masked() const { return num_masked_; }

  absl::Time now = absl::UnixEpoch();
  bool overlap = false;
  bool through_codec = false;  // the executor gets its steps as another rank's would

 private:
  // Gives the step to the executor and remembers its rows.
  void Launch(const StepInput& input);
  // Lets the newest step sample, where it waits for its masks.
  void GiveMasks();
  void CheckInvariants() const;

  const SchedulerConfig config_;
  const int32_t vocab_size_;
  std::unique_ptr<Scheduler> scheduler_;
  KvExecutor executor_;
  StepEncoder encoder_;
  StepDecoder decoder_;
  std::deque<std::vector<Row>> launched_;
  bool awaits_masks_ = false;  // the newest step does
  int64_t num_ahead_ = 0, num_masked_ = 0;
  std::map<SequenceId, Result> results_;
};

}  // namespace tidal

#endif  // TIDAL_TESTS_SCHEDULER_HARNESS_H_
