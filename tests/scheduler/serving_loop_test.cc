#include "scheduler/serving_loop.h"

#include <atomic>
#include <memory>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scheduler/harness.h"
#include "tests/support/fake_executor.h"

namespace tidal {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

constexpr absl::Duration kLong = absl::Seconds(60);

FakeExecutorOptions OptionsFor(const SchedulerConfig& config) {
  FakeExecutorOptions options;
  options.num_blocks = config.num_blocks;
  options.block_size = config.block_size;
  options.max_num_seqs = config.max_num_seqs;
  options.max_num_batched_tokens = config.max_num_batched_tokens;
  return options;
}

struct Result {
  std::vector<TokenId> tokens;
  FinishInfo finish;
};

Result ReadAll(TokenStream& stream) {
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
  explicit GatedExecutor(FakeExecutorOptions options) : fake_(std::move(options)) {}

  absl::StatusOr<StepOutput> Execute(const StepInput& input) override {
    absl::MutexLock lock(&mutex_);
    ++entered_;
    mutex_.Await(absl::Condition(
        +[](GatedExecutor* self) ABSL_NO_THREAD_SAFETY_ANALYSIS { return self->permits_ > 0; },
        this));
    if (permits_ != kOpen) --permits_;
    return fake_.Execute(input);
  }

  void Permit(int32_t steps) {
    absl::MutexLock lock(&mutex_);
    permits_ += steps;
  }
  void Open() {
    absl::MutexLock lock(&mutex_);
    permits_ = kOpen;
  }
  // Until the loop is inside its `step`-th step (1 is the first).
  void AwaitEntered(int32_t step) {
    absl::MutexLock lock(&mutex_);
    auto entered = [this, step]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return entered_ >= step; };
    ASSERT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&entered), kLong));
  }

 private:
  static constexpr int32_t kOpen = 1 << 30;
  absl::Mutex mutex_;
  FakeExecutor fake_ ABSL_GUARDED_BY(mutex_);
  int32_t permits_ ABSL_GUARDED_BY(mutex_) = 0;
  int32_t entered_ ABSL_GUARDED_BY(mutex_) = 0;
};

TEST(ServingLoopTest, StreamsTheTokensOfARequest) {
  const SchedulerConfig config = SmallConfig();
  FakeExecutor executor(OptionsFor(config));
  ServingLoop loop(config, &executor, {});
  loop.Start();
  auto request = MakeRequest(1, Prompt(50, 7), 20);
  auto stream = request->stream;
  ASSERT_TRUE(loop.Submit(std::move(request)).ok());
  const Result result = ReadAll(*stream);
  EXPECT_THAT(result.tokens, ElementsAreArray(executor.ExpectedOutput(Prompt(50, 7), 20)));
  EXPECT_EQ(result.finish.reason, FinishReason::kLength);
  EXPECT_TRUE(result.finish.status.ok());
  EXPECT_EQ(result.finish.prompt_tokens, 50);
  EXPECT_EQ(result.finish.output_tokens, 20);
  EXPECT_EQ(result.finish.dense_steps, 19);
}

}  // namespace
}  // namespace tidal
