#include "engine/parallel/step_codec.h"

#include <algorithm>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;

constexpr StepLimits kLimits = {.num_slots = 4, .max_tokens = 100, .max_blocks = 10};

SamplingParams SomeSampling() {
  SamplingParams sampling;
  sampling.temperature = 0.7f;
  sampling.top_k = 5;
  sampling.top_p = 0.9f;
  sampling.min_p = 0.1f;
  sampling.repetition_penalty = 1.1f;
  sampling.presence_penalty = 0.2f;
  sampling.frequency_penalty = -0.3f;
  sampling.seed = 0x123456789abcdefull;
  sampling.num_logprobs = 3;
  sampling.num_prompt_logprobs = 2;
  sampling.logit_bias = {{7, 1.5f}, {9, -100}};
  sampling.min_tokens = 4;
  sampling.banned_tokens = {2, 3};
  sampling.logprob_token_ids = {0, 5, 8};
  return sampling;
}

class StepCodecTest : public ::testing::Test {
 protected:
  std::vector<char> Encode(const StepInput& input) {
    std::vector<char> bytes;
    encoder_.Encode(input, &bytes);
    return bytes;
  }
  StepInput RoundTrip(const StepInput& input) {
    const auto step = decoder_.Decode(Encode(input));
    EXPECT_TRUE(step.ok()) << step.status();
    return step.ok() ? *step : StepInput();
  }

  ScheduledSequence Chunk() const {
    return {.id = 77,
            .slot = 2,
            .new_in_slot = true,
            .kind = RowKind::kPrefill,
            .wanted = Wanted::kLastToken,
            .tokens = absl::MakeSpan(tokens_).first(4),
            .num_prompt_tokens = 4,
            .num_computed_tokens = 1,
            .num_new_tokens = 3,
            .block_table = absl::MakeSpan(blocks_).first(2),
            .num_sent_blocks = 0,
            .sampling = &sampling_,
            .attention = {AttentionMode::kTidal, 64, 128},
            .prompt_logprobs = {2, 2}};
  }
  // Of the token after it, which nobody knows yet.
  ScheduledSequence Pending() const {
    ScheduledSequence sequence = Chunk();
    sequence.new_in_slot = false;
    sequence.kind = RowKind::kDecode;
    sequence.num_computed_tokens = 4;
    sequence.num_new_tokens = 1;
    sequence.num_sent_blocks = 2;
    sequence.num_pending_tokens = 1;
    return sequence;
  }

  std::vector<TokenId> tokens_ = {10, 11, 12, 13, 14, 15}, draft_ = {21, 22};
  std::vector<BlockId> blocks_ = {5, 8, 9};
  SamplingParams sampling_ = SomeSampling();
  StepEncoder encoder_{kLimits.num_slots};
  StepDecoder decoder_{kLimits};
};

TEST_F(StepCodecTest, ASequenceArrivesWhole) {
  const StepInput step = RoundTrip({{Chunk()}});
  ASSERT_EQ(step.sequences.size(), 1u);
  const ScheduledSequence& sequence = step.sequences[0];
  EXPECT_EQ(sequence.id, 77u);
  EXPECT_EQ(sequence.slot, 2);
  EXPECT_TRUE(sequence.new_in_slot);
  EXPECT_EQ(sequence.kind, RowKind::kPrefill);
  EXPECT_EQ(sequence.wanted, Wanted::kLastToken);
  EXPECT_THAT(sequence.tokens, ElementsAre(10, 11, 12, 13));
  EXPECT_EQ(sequence.num_prompt_tokens, 4);
  EXPECT_EQ(sequence.num_computed_tokens, 1);
  EXPECT_EQ(sequence.num_new_tokens, 3);
  EXPECT_THAT(sequence.block_table, ElementsAre(5, 8));
  EXPECT_EQ(sequence.num_sent_blocks, 0);
  EXPECT_EQ(sequence.attention.mode, AttentionMode::kTidal);
  EXPECT_EQ(sequence.attention.token_budget, 64);
  EXPECT_EQ(sequence.attention.dense_below, 128);
  EXPECT_EQ(sequence.num_pending_tokens, 0);
  EXPECT_EQ(sequence.prompt_logprobs.first, 2);
  EXPECT_EQ(sequence.prompt_logprobs.count, 2);
  const SamplingParams& sampling = *sequence.sampling;
  EXPECT_EQ(sampling.temperature, 0.7f);
  EXPECT_EQ(sampling.top_k, 5);
  EXPECT_EQ(sampling.top_p, 0.9f);
  EXPECT_EQ(sampling.min_p, 0.1f);
  EXPECT_EQ(sampling.repetition_penalty, 1.1f);
  EXPECT_EQ(sampling.presence_penalty, 0.2f);
  EXPECT_EQ(sampling.frequency_penalty, -0.3f);
  EXPECT_EQ(sampling.seed, 0x123456789abcdefull);
  EXPECT_EQ(sampling.num_logprobs, 3);
  EXPECT_EQ(sampling.num_prompt_logprobs, 2);
  EXPECT_EQ(sampling.logit_bias, sampling_.logit_bias);
  EXPECT_EQ(sampling.min_tokens, 4);
  EXPECT_EQ(sampling.banned_tokens, sampling_.banned_tokens);
  EXPECT_EQ(sampling.logprob_token_ids, sampling_.logprob_token_ids);
}

TEST_F(StepCodecTest, LaterStepsBringWhatIsNew) {
  const size_t first = Encode({{Chunk()}}).size();
  StepEncoder again(kLimits.num_slots);
  std::swap(encoder_, again);
  RoundTrip({{Chunk()}});
  const std::vector<char> bytes = Encode({{Pending()}});
  EXPECT_LT(bytes.size(), first);
  EXPECT_LE(bytes.size(), 100u) << "of a decode row";
  const auto pending = decoder_.Decode(bytes);
  ASSERT_TRUE(pending.ok());
  EXPECT_THAT(pending->sequences[0].tokens, ElementsAre(10, 11, 12, 13));
  EXPECT_EQ(pending->sequences[0].num_pending_tokens, 1);
  EXPECT_EQ(pending->sequences[0].sampling->top_k, 5) << "as it came";

  ScheduledSequence verify = Pending();
  verify.kind = RowKind::kVerify;
  verify.wanted = Wanted::kAllTokens;
  verify.tokens = tokens_;
  verify.num_pending_tokens = 0;
  verify.num_computed_tokens = 5;
  verify.num_new_tokens = 3;
  verify.block_table = blocks_;
  verify.draft = draft_;
  const StepInput step = RoundTrip({{verify}});
  EXPECT_THAT(step.sequences[0].tokens, ElementsAre(10, 11, 12, 13, 14, 15));
  EXPECT_THAT(step.sequences[0].block_table, ElementsAre(5, 8, 9));
  EXPECT_THAT(step.sequences[0].draft, ElementsAre(21, 22));

  // Wrong guesses gave a block back.
  ScheduledSequence decode = Pending();
  decode.tokens = tokens_;
  decode.num_pending_tokens = 0;
  decode.num_computed_tokens = 5;
  EXPECT_THAT(RoundTrip({{decode}}).sequences[0].block_table, ElementsAre(5, 8));
}

TEST_F(StepCodecTest, SaysWhichSequencesAreMasked) {
  ScheduledSequence masked = Chunk(), other = Chunk();
  masked.masked = true;
  other.id = 78;
  other.slot = 3;
  const StepInput step = RoundTrip({{masked, other}});
  EXPECT_TRUE(step.sequences[0].masked);
  EXPECT_FALSE(step.sequences[1].masked);
}

TEST(MaskCodecTest, MasksArriveWhole) {
  const StepMasks many = {{StepMasks::kNoMask, 1, 0}, {0xffffffffu, 0, 0x80000001u, 7, 8, 9}};
  const StepMasks none = {{StepMasks::kNoMask, StepMasks::kNoMask}, {}};
  for (const StepMasks& masks : {many, none, StepMasks()}) {
    std::vector<char> bytes;
    EncodeMasks(masks, &bytes);
    const auto decoded = DecodeMasks(bytes);
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_EQ(decoded->of_sequences, masks.of_sequences);
    EXPECT_EQ(decoded->words, masks.words);
  }
}

TEST(MaskCodecTest, WhatAreNoMasksIsRefused) {
  std::vector<char> bytes;
  EncodeMasks({{0, 1}, {1, 2, 3, 4}}, &bytes);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(DecodeMasks(absl::MakeSpan(bytes).first(size)).status().code(),
              absl::StatusCode::kDataLoss)
        << size;
  }
  std::vector<char> longer = bytes;
  longer.push_back(0);
  EXPECT_EQ(DecodeMasks(longer).status(),
            absl::DataLossError("step of rank 0: it has bytes to spare"));
  std::vector<char> huge(bytes);
  std::fill_n(huge.begin(), 4, static_cast<char>(0xff));  // sequences
  EXPECT_EQ(DecodeMasks(huge).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(StepCodecTest, ANewSequenceTakesASlotOver) {
  RoundTrip({{Chunk()}});
  std::vector<TokenId> tokens = {1};
  SamplingParams sampling;
  ScheduledSequence other = Chunk();
  other.id = 78;
  other.tokens = tokens;
  other.num_prompt_tokens = other.num_new_tokens = 1;
  other.num_computed_tokens = 0;
  other.sampling = &sampling;
  const StepInput step = RoundTrip({{other}});
  EXPECT_THAT(step.sequences[0].tokens, ElementsAre(1));
  EXPECT_TRUE(step.sequences[0].sampling->logit_bias.empty());
}

TEST_F(StepCodecTest, WhatIsNoStepIsRefused) {
  const std::vector<char> bytes = Encode({{Chunk()}});
  for (size_t size = 0; size < bytes.size(); ++size) {
    StepDecoder decoder(kLimits);
    EXPECT_EQ(decoder.Decode(absl::MakeSpan(bytes).first(size)).status().code(),
              absl::StatusCode::kDataLoss)
        << size;
  }
  std::vector<char> longer = bytes;
  longer.push_back(0);
  EXPECT_EQ(StepDecoder(kLimits).Decode(longer).status().message(),
            "step of rank 0: it has bytes to spare");
  EXPECT_FALSE(StepDecoder({2, 100, 10}).Decode(bytes).ok()) << "slot 2";
  EXPECT_FALSE(StepDecoder({4, 3, 10}).Decode(bytes).ok()) << "4 tokens";
  EXPECT_FALSE(StepDecoder({4, 100, 1}).Decode(bytes).ok()) << "2 blocks";
  const auto later = Encode({{Pending()}});
  EXPECT_FALSE(StepDecoder(kLimits).Decode(later).ok()) << "of a sequence that never came";
}

}  // namespace
}  // namespace tidal
