#include "engine/step/input_batch.h"

#include <memory>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cpu/cpu_backend.h"
#include "tests/support/test_sequence.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;

class InputBatchTest : public ::testing::Test {
 protected:
  InputBatchTest() : backend_(MakeCpuBackend({})) {
    plan_.max_model_len = 128;
    plan_.block_size = 16;
    plan_.max_blocks_per_sequence = 8;
    plan_.max_num_seqs = plan_.max_decode_rows = plan_.max_sampled_tokens = 8;
    plan_.max_num_batched_tokens = 64;
    batch_ = InputBatch::Create(plan_, backend_.get()).value();
    slots_ = SequenceSlots::Create(plan_, /*vocab_size=*/1000, backend_.get()).value();
  }
  const Batch& Pack(const StepInput& input, const SparsePacking& sparse) {
    return batch_.Pack(input, sparse, &slots_);
  }
  std::vector<int32_t> Host(const int32_t* device, int64_t count) {
    std::vector<int32_t> host(count);
    backend_->CopyToHost(host.data(), device, count * sizeof(int32_t));
    EXPECT_EQ(backend_->Synchronize(), "");
    return host;
  }
  // Tokens 100 * id, 100 * id + 1, ...
  static TestSequence Sequence(SequenceId id, int32_t tokens, int32_t computed,
                               std::vector<BlockId> blocks) {
    std::vector<TokenId> ids(tokens);
    for (int32_t i = 0; i < tokens; ++i) ids[i] = static_cast<TokenId>(100 * id) + i;
    TestSequence sequence(id, ids, std::move(blocks));
    sequence.num_computed_tokens = computed;
    return sequence;
  }

  std::unique_ptr<Backend> backend_;
  MemoryPlan plan_ = {};
  InputBatch batch_;
  SequenceSlots slots_;
};

TEST_F(InputBatchTest, SortsRowsAndFlattensThem) {
  TestSequence chunk = Sequence(1, 40, 14, {7, 2, 5});  // 4 of 26 tokens, no logits
  TestSequence dense = Sequence(2, 17, 16, {3, 9});
  TestSequence sparse = Sequence(3, 33, 32, {0, 1, 4});
  sparse.attention = {AttentionMode::kTidal, 10, 32};
  TestSequence last = Sequence(4, 3, 0, {6});  // a whole prompt
  const StepInput input = {{chunk.Prefill(4), dense.Decode(), sparse.Decode(), last.Prefill(3)}};
  const Batch& batch = Pack(input, {true, 0.25f});

  EXPECT_THAT(batch_.order(), ElementsAre(2, 1, 0, 3));
  EXPECT_THAT(batch_.logit_order(), ElementsAre(2, 1, 3));
  const BatchShape& shape = batch.shape;
  EXPECT_EQ(shape.num_tokens, 9);
  EXPECT_EQ(shape.sparse_rows, 1);
  EXPECT_EQ(shape.dense_rows, 1);
  EXPECT_EQ(shape.chunks, 2);
  EXPECT_EQ(shape.logit_rows, 3);
  EXPECT_EQ(shape.max_decode_context, 33);
  EXPECT_EQ(shape.max_chunk_context, 18);
  EXPECT_EQ(shape.max_query_len, 4);
  EXPECT_EQ(shape.scored_tokens, 128);
  EXPECT_TRUE(shape.selects);

  EXPECT_THAT(Host(batch.token_ids, 9), ElementsAre(332, 216, 114, 115, 116, 117, 400, 401, 402));
  EXPECT_THAT(Host(batch.positions, 9), ElementsAre(32, 16, 14, 15, 16, 17, 0, 1, 2));
  EXPECT_THAT(Host(batch.slot_mapping, 9),
              ElementsAre(64, 144, 7 * 16 + 14, 7 * 16 + 15, 32, 33, 96, 97, 98));
  EXPECT_THAT(Host(batch.sequence_slots, 4), ElementsAre(2, 1, 0, 3));
  EXPECT_THAT(Host(batch.context_lens, 4), ElementsAre(33, 17, 18, 3));
  EXPECT_THAT(Host(batch.cu_query_lens, 3), ElementsAre(0, 4, 7));
  EXPECT_THAT(Host(batch.token_budgets, 1), ElementsAre(10));
  EXPECT_THAT(Host(batch.recency, 1), ElementsAre(2));
  EXPECT_THAT(Host(batch.row_begins, 2), ElementsAre(0, 0));
  EXPECT_THAT(Host(batch.logit_rows, 3), ElementsAre(0, 1, 8));
  EXPECT_THAT(Host(batch.sampled_slots, 3), ElementsAre(2, 1, 3));
  EXPECT_THAT(Host(batch.generated, 3), ElementsAre(0, 0, 0));
}

TEST_F(InputBatchTest, SendsNewBlocksOnly) {
  TestSequence many = Sequence(2, 40, 36, {7, 2, 5}), few = Sequence(4, 33, 32, {3, 9, 8});
  StepInput input = {{many.Prefill(4), few.Decode()}};
  input.sequences[1].new_in_slot = false;
  input.sequences[1].num_sent_blocks = 2;
  const Batch& batch = Pack(input, {});
  EXPECT_EQ(batch.shape.max_table_updates, 2 * SequenceSlots::kMaxListedBlocks);
  EXPECT_THAT(Host(batch.num_table_updates, 1), ElementsAre(1));
  EXPECT_THAT(Host(batch.table_updates, 2), ElementsAre(3 * slots_.table_stride() + 2, 8))
      << "entry 2 of slot 3";
  EXPECT_THAT(Host(slots_.block_tables() + slots_.table_stride(), 3), ElementsAre(7, 2, 5))
      << "copied";
}

TEST_F(InputBatchTest, APendingTokenIsTheSlotsLast) {
  TestSequence sequence = Sequence(5, 17, 17, {3, 9});
  StepInput input = {{sequence.Decode()}};
  input.sequences[0].num_pending_tokens = 1;
  input.sequences[0].wanted = Wanted::kLastToken;
  const Batch& batch = Pack(input, {});
  EXPECT_THAT(Host(batch.token_ids, 1), ElementsAre(~4));
  EXPECT_THAT(Host(batch.positions, 1), ElementsAre(17));
  EXPECT_THAT(Host(batch.generated, 1), ElementsAre(1));
}

TEST_F(InputBatchTest, AVerifyRowIsAChunkWithAResultForEachToken) {
  TestSequence verified = Sequence(2, 17, 16, {7, 2}), decoded = Sequence(4, 33, 32, {3, 9, 8});
  verified.num_prompt_tokens = 15;
  const std::vector<TokenId> draft = {51, 52, 53};
  const StepInput input = {{verified.Verify(draft), decoded.Decode()}};
  const Batch& batch = Pack(input, {});
  EXPECT_EQ(batch.graph_key, 0u);
  EXPECT_THAT(batch_.order(), ElementsAre(1, 0));
  EXPECT_THAT(batch_.logit_order(), ElementsAre(1, 0, 0, 0, 0));
  EXPECT_EQ(batch.shape.chunks, 1);
  EXPECT_EQ(batch.shape.verify_tokens, 4);
  EXPECT_EQ(batch.shape.max_query_len, 4);
  EXPECT_EQ(batch.shape.logit_rows, 5);
  EXPECT_THAT(Host(batch.token_ids, 5), ElementsAre(432, 216, 51, 52, 53));
  EXPECT_THAT(Host(batch.positions, 5), ElementsAre(32, 16, 17, 18, 19));
  EXPECT_THAT(Host(batch.slot_mapping, 5), ElementsAre(128, 32, 33, 34, 35));
  EXPECT_THAT(Host(batch.context_lens, 2), ElementsAre(33, 20));
  EXPECT_THAT(Host(batch.cu_query_lens, 2), ElementsAre(0, 4));
  EXPECT_THAT(Host(batch.logit_rows, 5), ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(Host(batch.sampled_slots, 5), ElementsAre(3, 1, 1, 1, 1));
  EXPECT_THAT(Host(batch.generated, 5), ElementsAre(0, 2, 3, 4, 5));
  EXPECT_THAT(Host(batch.drafts.places, 5), ElementsAre(0, 0, 1, 2, 3));
  EXPECT_THAT(Host(batch.drafts.next_tokens, 5), ElementsAre(-1, 51, 52, 53, -1));
  EXPECT_EQ(Pack({{decoded.Decode()}}, {}).drafts.places, nullptr);
}

TEST_F(InputBatchTest, PaddingIsRowsOfNobody) {
  const Batch& batch = batch_.PackPadding(4, /*sparse=*/true);
  EXPECT_NE(batch.graph_key, 0u);
  EXPECT_EQ(batch.shape.padding_rows, 4);
  EXPECT_TRUE(batch.shape.selects);
  EXPECT_THAT(Host(batch.context_lens, 4), ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(Host(batch.slot_mapping, 4), ElementsAre(-1, -1, -1, -1));
  EXPECT_THAT(Host(batch.num_table_updates, 1), ElementsAre(0));
}

TEST_F(InputBatchTest, WithoutAReuseLayerNothingIsSparse) {
  TestSequence sequence = Sequence(3, 33, 32, {0, 1, 4});
  sequence.attention = {AttentionMode::kTidal, 10, 0};
  const StepInput input = {{sequence.Decode()}};
  EXPECT_EQ(Pack(input, {false, 0.25f}).shape.sparse_rows, 0);
  EXPECT_EQ(Pack(input, {true, 0.25f}).shape.sparse_rows, 1);
}

TEST_F(InputBatchTest, SparseBeginsAboveBudgetAndDenseBelow) {
  const auto sparse_rows = [&](int32_t context, int32_t budget, int32_t dense_below) {
    TestSequence sequence = Sequence(1, context, context - 1, {0, 1, 2});
    sequence.attention = {AttentionMode::kTidal, budget, dense_below};
    return Pack({{sequence.Decode()}}, {true, 0}).shape.sparse_rows;
  };
  EXPECT_EQ(sparse_rows(20, 19, 0), 1);
  EXPECT_EQ(sparse_rows(20, 20, 0), 0);
  EXPECT_EQ(sparse_rows(20, 4, 19), 1);
  EXPECT_EQ(sparse_rows(20, 4, 20), 0);
  EXPECT_EQ(sparse_rows(1, 1, 0), 0);
}

TEST_F(InputBatchTest, RecencyRoundsDown) {
  const auto recency = [&](int32_t budget, float fraction) {
    TestSequence sequence = Sequence(1, 40, 39, {0, 1, 2});
    sequence.attention = {AttentionMode::kTidal, budget, 0};
    return Host(Pack({{sequence.Decode()}}, {true, fraction}).recency, 1)[0];
  };
  EXPECT_EQ(recency(3, 0.25f), 0);
  EXPECT_EQ(recency(4, 0.25f), 1);
  EXPECT_EQ(recency(7, 0.25f), 1);
  EXPECT_EQ(recency(8, 1.0f), 8);
  EXPECT_EQ(recency(8, 0.0f), 0);
}

TEST_F(InputBatchTest, TheLargestStepFits) {
  std::vector<TestSequence> sequences;
  for (SequenceId id = 1; id <= 8; ++id) {
    sequences.push_back(Sequence(id, 128, 120, {0, 1, 2, 3, 4, 5, 6, 7}));
  }
  StepInput input;
  for (const TestSequence& sequence : sequences) input.sequences.push_back(sequence.Prefill(8));
  const Batch& batch = Pack(input, {true, 0});
  EXPECT_EQ(batch.shape.num_tokens, 64);
  EXPECT_EQ(batch.shape.logit_rows, 8);
  EXPECT_EQ(Host(batch.positions, 64).back(), 127);
}

}  // namespace
}  // namespace tidal
