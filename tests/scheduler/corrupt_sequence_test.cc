// A sequence whose logits are no numbers ends with an error; what is around it goes on.
#include "gtest/gtest.h"
#include "tests/scheduler/harness.h"

namespace tidal {
namespace {

class CorruptSequenceTest : public ::testing::TestWithParam<bool> {
 protected:
  CorruptSequenceTest() : harness_(SmallConfig()) { harness_.overlap = GetParam(); }

  void ExpectError(SequenceId id) const {
    ASSERT_TRUE(harness_.finished(id)) << id;
    EXPECT_EQ(harness_.result(id).finish->reason, FinishReason::kError);
    EXPECT_EQ(harness_.result(id).finish->status.code(), absl::StatusCode::kInternal);
  }
  void ExpectWhole(SequenceId id) const {
    ASSERT_TRUE(harness_.finished(id)) << id;
    EXPECT_TRUE(harness_.result(id).finish->status.ok()) << harness_.result(id).finish->status;
    EXPECT_EQ(harness_.result(id).tokens, harness_.Expected(id)) << id;
  }

  Harness harness_;
};

TEST_P(CorruptSequenceTest, EndsAloneWhileDecoding) {
  for (SequenceId id = 1; id <= 3; ++id) {
    harness_.Add(MakeRequest(id, Prompt(6, static_cast<TokenId>(100 * id)), 20));
  }
  for (int32_t i = 0; i < 5; ++i) harness_.Step();
  harness_.Fault(2);
  harness_.RunToEnd();
  ExpectWhole(1);
  ExpectError(2);
  ExpectWhole(3);
  EXPECT_GE(harness_.result(2).tokens.size(), 4u);
  EXPECT_LT(harness_.result(2).tokens.size(), 8u);
  harness_.ExpectOutputs();
  EXPECT_EQ(harness_.scheduler().totals().corrupt_sequences, 1);
  EXPECT_EQ(harness_.num_ahead() > 0, GetParam());
}

TEST_P(CorruptSequenceTest, EndsAtItsFirstToken) {
  harness_.Add(MakeRequest(1, Prompt(6, 100), 20));
  harness_.Add(MakeRequest(2, Prompt(6, 200), 20));
  harness_.Fault(2);
  harness_.RunToEnd();
  ExpectWhole(1);
  ExpectError(2);
  EXPECT_TRUE(harness_.result(2).tokens.empty());
}

// The first of three chunks goes wrong and its blocks are published before the logits show it.
TEST_P(CorruptSequenceTest, ItsBlocksAreNotShared) {
  harness_.Add(MakeRequest(1, Prompt(80), 5));
  harness_.Fault(1);
  harness_.RunToEnd();
  ExpectError(1);
  harness_.Add(MakeRequest(2, Prompt(80), 5));
  harness_.RunToEnd();
  ExpectWhole(2);
  EXPECT_EQ(harness_.result(2).finish->cached_tokens, 0);
  harness_.Add(MakeRequest(3, Prompt(80), 5));
  harness_.RunToEnd();
  ExpectWhole(3);
  EXPECT_EQ(harness_.result(3).finish->cached_tokens, 76);
}

// Nobody can tell whose values were bad.
TEST_P(CorruptSequenceTest, TheBlocksItFoundAreNotSharedAnyMore) {
  harness_.Add(MakeRequest(1, Prompt(40), 5));
  harness_.RunToEnd();
  ExpectWhole(1);
  harness_.Add(MakeRequest(2, Prompt(60), 5));
  harness_.Fault(2);
  harness_.RunToEnd();
  ExpectError(2);
  EXPECT_EQ(harness_.result(2).finish->cached_tokens, 40);
  harness_.Add(MakeRequest(3, Prompt(40), 5));
  harness_.RunToEnd();
  ExpectWhole(3);
  EXPECT_EQ(harness_.result(3).finish->cached_tokens, 0);
}

// One that holds the same blocks meanwhile is read from them too, and ends the same way.
TEST_P(CorruptSequenceTest, ASequenceThatHoldsBadBlocksFailsAndNoneAfterIt) {
  harness_.Add(MakeRequest(1, Prompt(33), 30));
  harness_.Fault(1);
  harness_.Step();  // the first chunk
  harness_.Add(MakeRequest(2, Prompt(33), 30));
  harness_.Add(MakeRequest(3, Prompt(20, 500), 10));
  harness_.RunToEnd();
  ExpectError(1);
  ExpectWhole(3);
  harness_.Add(MakeRequest(4, Prompt(33), 30));
  harness_.RunToEnd();
  ExpectWhole(4);
  harness_.ExpectOutputs();
}

INSTANTIATE_TEST_SUITE_P(Overlap, CorruptSequenceTest, ::testing::Bool());

}  // namespace
}  // namespace tidal
