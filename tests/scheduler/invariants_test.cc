#include "scheduler/invariants.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tidal {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Six blocks of 4 tokens: 0 free, 1 parked, 2 and 3 of sequence 7 (2 published and shared), 4 of
// sequence 8, 5 free. Sequence 9 waits.
SchedulerSnapshot Sound() {
  SchedulerSnapshot snapshot;
  snapshot.block_size = 4;
  snapshot.max_num_seqs = 3;
  snapshot.free_slots = {0};
  snapshot.max_model_len = 100;
  snapshot.ref_counts = {0, 0, 2, 1, 1, 0};
  snapshot.is_published = {false, true, true, false, false, false};
  snapshot.free_blocks = {5, 0};
  snapshot.parked_blocks = {1};
  snapshot.num_sequences = 3;
  SequenceSnapshot sequence;
  sequence.id = 7;
  sequence.status = SequenceStatus::kRunning;
  sequence.priority = 0;
  sequence.arrival_number = 1;
  sequence.num_tokens = 7;
  sequence.num_prompt_tokens = 5;
  sequence.max_tokens = 10;
  sequence.num_computed_tokens = sequence.num_exact_tokens = 6;
  sequence.dense_until = sequence.next_prompt_logprob = 5;
  sequence.block_table = {2, 3};
  sequence.num_published = 1;
  sequence.num_sent = 2;
  sequence.slot = 1;
  snapshot.running.push_back(sequence);
  sequence.id = 8;
  sequence.slot = 2;
  sequence.arrival_number = 2;
  sequence.block_table = {2, 4};
  snapshot.running.push_back(sequence);
  sequence.id = 9;
  sequence.status = SequenceStatus::kWaiting;
  sequence.arrival_number = 0;
  sequence.num_computed_tokens = sequence.num_exact_tokens = 0;
  sequence.block_table.clear();
  sequence.num_published = sequence.num_sent = 0;
  sequence.slot = Sequence::kNoSlot;
  snapshot.waiting.push_back(sequence);
  return snapshot;
}

template <typename Change>
std::vector<std::string> After(Change change) {
  SchedulerSnapshot snapshot = Sound();
  change(snapshot);
  return FindViolations(snapshot);
}

TEST(InvariantsTest, ASoundStateHasNoViolation) {
  EXPECT_THAT(FindViolations(Sound()), IsEmpty());
  SchedulerSnapshot empty;
  empty.block_size = 4;
  empty.max_num_seqs = empty.max_model_len = 1;
  empty.free_slots = {0};
  empty.num_sequences = 0;
  EXPECT_THAT(FindViolations(empty), IsEmpty());
}

TEST(InvariantsTest, FindsWrongBlocks) {
  EXPECT_THAT(After([](auto& s) { s.free_blocks.pop_back(); }),
              Contains(HasSubstr("block 0 is 0 of free, parked, owned")));
  EXPECT_THAT(After([](auto& s) { s.free_blocks.push_back(5); }),
              Contains(HasSubstr("block 5 is 2 of free, parked, owned")));
  EXPECT_THAT(After([](auto& s) { s.free_blocks.push_back(3); }),
              Contains(HasSubstr("block 3 is 2 of")));
  EXPECT_THAT(After([](auto& s) { s.free_blocks.push_back(6); }),
              Contains(HasSubstr("free block 6 is out of range")));
  EXPECT_THAT(After([](auto& s) { s.ref_counts[3] = 2; }),
              Contains(HasSubstr("block 3 is in 1 tables and has 2 references")));
  EXPECT_THAT(After([](auto& s) { s.running[1].block_table[1] = 3; }),
              Contains(HasSubstr("block 3 is shared and not published")));
  EXPECT_THAT(After([](auto& s) { s.is_published[0] = true; }),
              Contains(HasSubstr("block 0 is free and published")));
  EXPECT_THAT(After([](auto& s) { s.is_published[1] = false; }),
              Contains(HasSubstr("block 1 is parked and not published")));
  EXPECT_THAT(After([](auto& s) { s.running[0].block_table[1] = -1; }),
              Contains(HasSubstr("names block -1")));
}

TEST(InvariantsTest, FindsWrongSlots) {
  EXPECT_THAT(After([](auto& s) { s.free_slots.clear(); }),
              Contains(HasSubstr("slot 0 is in 0 places")));
  EXPECT_THAT(After([](auto& s) { s.running[1].slot = 1; }),
              Contains(HasSubstr("slot 1 is in 2 places")));
  EXPECT_THAT(After([](auto& s) { s.free_slots.push_back(1); }),
              Contains(HasSubstr("slot 1 is in 2 places")));
  EXPECT_THAT(After([](auto& s) { s.running[0].slot = 3; }),
              Contains(HasSubstr("slot 3 is out of range")));
  EXPECT_THAT(After([](auto& s) { s.waiting[0].slot = 0; }),
              Contains(HasSubstr("sequence 9 waits and has slot 0")));
  EXPECT_THAT(After([](auto& s) { s.running[0].num_sent = 3; }),
              Contains(HasSubstr("sequence 7 has sent 3 of 2 blocks")));
}

TEST(InvariantsTest, FindsWrongSequences) {
  EXPECT_THAT(After([](auto& s) { s.running[0].num_computed_tokens = 7; }),
              Contains(HasSubstr("sequence 7 has 7 computed of 7 tokens")));
  EXPECT_THAT(After([](auto& s) { s.running[0].num_exact_tokens = 7; }),
              Contains(HasSubstr("sequence 7 has 7 exact of 6 computed")));
  EXPECT_THAT(After([](auto& s) { s.running[0].dense_until = 4; }),
              Contains(HasSubstr("dense until 4")));
  EXPECT_THAT(After([](auto& s) { s.running[0].max_tokens = 2; }),
              Contains(HasSubstr("should have ended")));
  EXPECT_THAT(After([](auto& s) { s.running[0].num_published = 2; }),
              Contains(HasSubstr("published 2 blocks with 6 exact tokens")));
  EXPECT_THAT(After([](auto& s) { s.running[0].num_published = 0; }),
              Contains(HasSubstr("block 0 should not be published")));
  EXPECT_THAT(After([](auto& s) {
                s.running[0].block_table = {2, 2};
              }),
              Contains(HasSubstr("names block 2 twice")));
  EXPECT_THAT(After([](auto& s) { s.running[0].block_table = {2}; }),
              Contains(HasSubstr("has blocks for 4 tokens and computed 6")));
  EXPECT_THAT(After([](auto& s) { s.waiting[0].block_table = {3}; }),
              Contains(HasSubstr("waits and holds blocks")));
  EXPECT_THAT(After([](auto& s) { s.waiting[0].num_computed_tokens = 1; }),
              Contains(HasSubstr("waits with computed tokens")));
  EXPECT_THAT(After([](auto& s) {
                s.running[0].block_table = {3, 2};
              }),
              Contains(HasSubstr("sequence 7: block 1 is referenced more often than its parent")));
  EXPECT_THAT(After([](auto& s) {
                s.waiting[0].fresh_match = s.waiting[0].recalled_match = {1, 2};
              }),
              Contains(HasSubstr("sequence 9: block 1 is referenced more often than its parent")));
  EXPECT_THAT(After([](auto& s) {
                s.waiting[0].recalled_match = {2, 1};
              }),
              Contains(HasSubstr("sequence 9 remembers to find 2 blocks and finds 0")));
  EXPECT_THAT(After([](auto& s) { s.waiting[0].status = SequenceStatus::kRunning; }),
              Contains(HasSubstr("is not kWaiting")));
}

TEST(InvariantsTest, FindsWrongQueues) {
  EXPECT_THAT(After([](auto& s) { std::swap(s.running[0], s.running[1]); }),
              Contains(HasSubstr("sequences 8 and 7 are out of order")));
  EXPECT_THAT(After([](auto& s) { s.waiting[0].id = 8; }),
              Contains(HasSubstr("sequence 8 is queued twice")));
  EXPECT_THAT(After([](auto& s) { s.num_sequences = 4; }),
              Contains(HasSubstr("4 sequences, 3 of them queued")));
  EXPECT_THAT(After([](auto& s) { s.max_num_seqs = 1; }),
              Contains(HasSubstr("2 sequences run, at most 1")));
}

TEST(InvariantsDeathTest, CheckPrintsEveryViolation) {
  CheckInvariants(Sound());
  SchedulerSnapshot broken = Sound();
  broken.free_blocks.clear();
  EXPECT_DEATH(CheckInvariants(broken), "block 0 is 0 of .*\n.*block 5 is 0 of .*\n.*CHECK failed");
}

}  // namespace
}  // namespace tidal
