// A sequence as a test keeps it, and its share of a step. Every step brings what its slot holds
// anew.
#ifndef TIDAL_TESTS_SUPPORT_TEST_SEQUENCE_H_
#define TIDAL_TESTS_SUPPORT_TEST_SEQUENCE_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "engine/step.h"

namespace tidal {

inline SamplingParams GreedySampling() {
  SamplingParams sampling;
  sampling.temperature = 0;
  return sampling;
}

struct TestSequence {
  TestSequence(SequenceId id, std::vector<TokenId> prompt, std::vector<BlockId> blocks)
      : id(id),
        slot(static_cast<int32_t>(id) - 1),
        tokens(std::move(prompt)),
        num_prompt_tokens(static_cast<int32_t>(tokens.size())),
        blocks(std::move(blocks)) {}

  // The next `count` tokens as a prompt chunk; a token is wanted where they are the last.
  ScheduledSequence Prefill(int32_t count) const { return Schedule(count, RowKind::kPrefill); }
  // The one token that is not computed yet, as a decode row.
  ScheduledSequence Decode() const { return Schedule(1, RowKind::kDecode); }
  // That token and `draft`, which outlives the step.
  ScheduledSequence Verify(const std::vector<TokenId>& draft) const {
    ScheduledSequence sequence = Schedule(1 + static_cast<int32_t>(draft.size()), RowKind::kVerify);
    sequence.draft = draft;
    sequence.wanted = Wanted::kAllTokens;
    return sequence;
  }

  int32_t size() const { return static_cast<int32_t>(tokens.size()); }
  int32_t remaining() const { return size() - num_computed_tokens; }

  SequenceId id;
  int32_t slot;  // that of the id
  std::vector<TokenId> tokens;
  int32_t num_prompt_tokens;
  int32_t num_computed_tokens = 0;
  std::vector<BlockId> blocks;
  SamplingParams sampling = GreedySampling();
  AttentionPolicy attention;

 private:
  ScheduledSequence Schedule(int32_t count, RowKind kind) const {
    ScheduledSequence sequence = {};
    sequence.id = id;
    sequence.slot = slot;
    sequence.new_in_slot = true;
    sequence.kind = kind;
    sequence.tokens = tokens;
    sequence.num_prompt_tokens = num_prompt_tokens;
    sequence.num_computed_tokens = num_computed_tokens;
    sequence.num_new_tokens = count;
    sequence.block_table = blocks;
    if (num_computed_tokens + count == size()) sequence.wanted = Wanted::kLastToken;
    sequence.sampling = &sampling;
    sequence.attention = attention;
    return sequence;
  }
};

}  // namespace tidal

#endif  // TIDAL_TESTS_SUPPORT_TEST_SEQUENCE_H_
