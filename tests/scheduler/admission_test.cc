#include "scheduler/admission.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scheduler/harness.h"

namespace tidal {
namespace {

using ::testing::HasSubstr;

TEST(AdmissionTest, RefusesWhatCouldNeverFinish) {
  SchedulerConfig config = SmallConfig();  // length 200, cache 256 tokens
  auto check = [&](int32_t prompt, int32_t max_tokens) {
    return CheckAdmissible(*MakeRequest(1, Prompt(prompt), max_tokens), config);
  };
  EXPECT_TRUE(check(1, 1).ok());
  EXPECT_TRUE(check(199, 1).ok());
  EXPECT_EQ(check(0, 1).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(check(0, 1).message(), HasSubstr("prompt: must be at least 1"));
  EXPECT_TRUE(check(5, 0).ok()) << "its prompt alone";
  EXPECT_TRUE(check(200, 0).ok());
  EXPECT_THAT(check(5, -1).message(), HasSubstr("max_tokens: must be at least 0, got -1"));
  EXPECT_THAT(check(150, 51).message(), HasSubstr("at most 200 tokens, got 150 + 51"));
  config.num_blocks = 10;  // 40 tokens; the 41st is never computed
  EXPECT_TRUE(check(40, 1).ok());
  EXPECT_TRUE(check(11, 30).ok());
  EXPECT_EQ(check(40, 2).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(check(40, 2).message(), HasSubstr("at most 41 tokens (the whole KV cache)"));
}

TEST(AdmissionTest, RefusesContradictions) {
  const SchedulerConfig config = SmallConfig();
  auto request = MakeRequest(1, Prompt(3), 5);
  request->stop.min_tokens = 6;
  EXPECT_THAT(CheckAdmissible(*request, config).message(), HasSubstr("min_tokens: must be in"));
  request->stop.min_tokens = -1;
  EXPECT_FALSE(CheckAdmissible(*request, config).ok());
  request->stop.min_tokens = 5;
  EXPECT_TRUE(CheckAdmissible(*request, config).ok());
  request->attention = Tidal(0);
  EXPECT_THAT(CheckAdmissible(*request, config).message(), HasSubstr("attention.budget"));
}

TEST(SchedulerConfigTest, NamesTheFieldAtFault) {
  EXPECT_TRUE(SmallConfig().Validate().ok());
  auto message = [](auto change) {
    SchedulerConfig config = SmallConfig();
    change(config);
    const absl::Status status = config.Validate();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_EQ(message([](SchedulerConfig& c) { c.num_blocks = 0; }),
            "num_blocks: must be at least 1, got 0");
  EXPECT_EQ(message([](SchedulerConfig& c) { c.block_size = -3; }),
            "block_size: must be at least 1, got -3");
  EXPECT_EQ(message([](SchedulerConfig& c) { c.max_model_len = 1; }),
            "max_model_len: must be at least 2, got 1");
  EXPECT_EQ(message([](SchedulerConfig& c) { c.max_num_seqs = 0; }),
            "max_num_seqs: must be at least 1, got 0");
  EXPECT_EQ(message([](SchedulerConfig& c) { c.max_num_batched_tokens = 8; }),
            "max_num_batched_tokens: must be more than max_num_seqs (8), got 8");
  EXPECT_EQ(message([](SchedulerConfig& c) { c.max_queued_requests = 0; }),
            "max_queued_requests: must be at least 1, got 0");
  EXPECT_EQ(message([](SchedulerConfig& c) { c.correction_period = -1; }),
            "correction_period: must be at least 0, got -1");
}

}  // namespace
}  // namespace tidal
