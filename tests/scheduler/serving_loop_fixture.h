// What the tests of the serving loop share: an executor that waits for permissions, and a loop with
// the streams of its requests.
#ifndef TIDAL_TESTS_SCHEDULER_SERVING_LOOP_FIXTURE_H_
#define TIDAL_TESTS_SCHEDULER_SERVING_LOOP_FIXTURE_H_

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "scheduler/serving_loop.h"
#include "tests/scheduler/harness.h"
#include "tests/support/fake_executor.h"

namespace tidal {

inline const SamplingParams kGreedy = MakeRequest(0, Prompt(1), 1)->sampling;
inline constexpr absl::Duration kLong = absl::Seconds(60);

inline FakeExecutorOptions OptionsFor(const SchedulerConfig& config) {
  FakeExecutorOptions options;
  options.num_blocks = config.num_blocks;
  options.block_size = config.block_size;
  options.max_num_seqs = config.max_num_seqs;
  options.max_num_batched_tokens = config.max_num_batched_tokens;
  return options;
}

// What a stream gave until its end.
struct Result {
  std::vector<TokenId> tokens;
  FinishInfo finish;
};

inline Result ReadAll(TokenStream& stream) {
  Result result;
  for (;;) {
    TokenStream::Events events = stream.WaitAndTakeAll(kLong);
    for (const SampledToken& token : events.tokens) result.tokens.push_back(token.id);
    if (events.finish) {
      result.finish = *events.finish;
      return result;
    }
    if (events.tokens.empty()) {
      ADD_FAILURE() << "nothing came for a long time";
      return result;
    }
  }
}

// An executor whose steps wait for a permission each.
class GatedExecutor : public Executor {
 public:
  explicit GatedExecutor(FakeExecutorOptions options, bool can_run_ahead = false)
      : can_run_ahead_(can_run_ahead), fake_(std::move(options)) {}

  void Launch(const StepInput& input) override {
    absl::MutexLock lock(&mutex_);
    ++launched_;
    calls_ += input.masked() ? 'M' : 'L';
    fake_.Launch(input);
  }
  void Sample(const StepMasks& masks) override {
    absl::MutexLock lock(&mutex_);
    calls_ += 'S';
    fake_.Sample(masks);
  }
  absl::StatusOr<StepOutput> Collect() override {
    absl::MutexLock lock(&mutex_);
    ++entered_;
    calls_ += 'C';
    mutex_.Await(absl::Condition(
        +[](GatedExecutor* self) ABSL_NO_THREAD_SAFETY_ANALYSIS { return self->permits_ > 0; },
        this));
    if (permits_ != kOpen) --permits_;
    return fake_.Collect();
  }
  bool can_run_ahead() const override { return can_run_ahead_; }

  void Permit(int32_t steps) {
    absl::MutexLock lock(&mutex_);
    permits_ += steps;
  }
  void Open() {
    absl::MutexLock lock(&mutex_);
    permits_ = kOpen;
  }
  int32_t num_launched() const {
    absl::MutexLock lock(&mutex_);
    return launched_;
  }
  // A letter each, in order: L launches a step, M a masked one, S samples, C collects.
  std::string calls() const {
    absl::MutexLock lock(&mutex_);
    return calls_;
  }
  // Until the loop waits for its `step`-th step (1 is the first).
  void AwaitEntered(int32_t step) {
    absl::MutexLock lock(&mutex_);
    auto entered = [this, step]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return entered_ >= step; };
    ASSERT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&entered), kLong));
  }

 private:
  static constexpr int32_t kOpen = 1 << 30;
  const bool can_run_ahead_;
  mutable absl::Mutex mutex_;
  FakeExecutor fake_ ABSL_GUARDED_BY(mutex_);
  int32_t permits_ ABSL_GUARDED_BY(mutex_) = 0;
  int32_t launched_ ABSL_GUARDED_BY(mutex_) = 0;
  int32_t entered_ ABSL_GUARDED_BY(mutex_) = 0;
  std::string calls_ ABSL_GUARDED_BY(mutex_);
};

// A loop with its executor and the streams of its requests.
class ServingLoopFixture : public ::testing::Test {
 protected:
  void StartLoop(FakeExecutorOptions options, bool can_run_ahead = false) {
    executor_ = std::make_unique<GatedExecutor>(std::move(options), can_run_ahead);
    LoopObserver observer;
    observer.on_step = [this](const StepStats& step, const LoopStats& stats) {
      absl::MutexLock lock(&mutex_);
      tokens_run_ += step.prefill_tokens + step.decode_rows;
      last_stats_ = stats;
    };
    observer.on_finish = [this](const Request& request, const FinishInfo& info) {
      absl::MutexLock lock(&mutex_);
      finished_.emplace_back(request.id, info.reason);
    };
    observer.on_failure = [this](const absl::Status& status) {
      absl::MutexLock lock(&mutex_);
      failure_ = status;
    };
    loop_ = std::make_unique<ServingLoop>(config_, executor_.get(), std::move(observer), [this] {
      absl::MutexLock lock(&mutex_);
      return now_;
    });
    loop_->Start();
  }

  std::shared_ptr<TokenStream> Submit(std::unique_ptr<Request> request) {
    auto stream = request->stream;
    const absl::Status status = loop_->Submit(std::move(request));
    EXPECT_TRUE(status.ok()) << status;
    return stream;
  }

  // Clients that send `each` requests one after the other and cancel every third. Everybody gets
  // the tokens of their own prompt, and all of them unless cancelled. Returns how many were
  // complete.
  int32_t RunClients(int32_t num_clients, int32_t each) {
    const FakeExecutor reference(OptionsFor(config_));
    std::atomic<int32_t> complete = 0;
    std::vector<std::thread> clients;
    for (int32_t client = 0; client < num_clients; ++client) {
      clients.emplace_back([&, client] {
        for (int32_t i = 0; i < each; ++i) {
          const SequenceId id = 1 + client * each + i;
          const std::vector<TokenId> prompt = Prompt(1 + (id * 7) % 40, 1 + id % 5);
          const int32_t max_tokens = 1 + (id * 13) % 40;
          auto stream = Submit(MakeRequest(id, prompt, max_tokens));
          if (id % 3 == 0) loop_->Cancel(id);
          const Result result = ReadAll(*stream);
          const auto count = static_cast<int32_t>(result.tokens.size());
          EXPECT_EQ(result.tokens, reference.ExpectedOutput(prompt, count, kGreedy))
              << "request " << id;
          EXPECT_LE(count, max_tokens);
          EXPECT_TRUE(id % 3 == 0 || count == max_tokens);
          if (result.finish.reason == FinishReason::kLength) {
            EXPECT_EQ(count, max_tokens);
            ++complete;
          }
        }
      });
    }
    for (std::thread& client : clients) client.join();
    return complete.load();
  }

  // Until new requests are refused for good.
  void AwaitClosed() {
    for (SequenceId id = 1000; id < 11000; ++id) {
      const absl::Status status = loop_->Submit(MakeRequest(id, Prompt(1), 1));
      if (status.code() == absl::StatusCode::kUnavailable) return;
      absl::SleepFor(absl::Milliseconds(1));
    }
    FAIL() << "requests are still accepted";
  }

  void AdvanceClock(absl::Duration by) {
    absl::MutexLock lock(&mutex_);
    now_ += by;
  }
  absl::Time Now() {
    absl::MutexLock lock(&mutex_);
    return now_;
  }
  absl::Status failure() {
    absl::MutexLock lock(&mutex_);
    return failure_;
  }
  std::vector<std::pair<SequenceId, FinishReason>> finished() {
    absl::MutexLock lock(&mutex_);
    return finished_;
  }
  int64_t tokens_run() {
    absl::MutexLock lock(&mutex_);
    return tokens_run_;
  }
  // Until the loop has told of a state like this.
  template <typename Predicate>
  void AwaitStats(Predicate predicate) {
    absl::MutexLock lock(&mutex_);
    auto holds = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return predicate(last_stats_); };
    ASSERT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&holds), kLong));
  }

  SchedulerConfig config_ = SmallConfig();
  absl::Mutex mutex_;
  absl::Time now_ ABSL_GUARDED_BY(mutex_) = absl::UnixEpoch();
  LoopStats last_stats_ ABSL_GUARDED_BY(mutex_);
  int64_t tokens_run_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::pair<SequenceId, FinishReason>> finished_ ABSL_GUARDED_BY(mutex_);
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<GatedExecutor> executor_;
  std::unique_ptr<ServingLoop> loop_;
};

}  // namespace tidal

#endif  // TIDAL_TESTS_SCHEDULER_SERVING_LOOP_FIXTURE_H_
