// A sequence as a test keeps it, and its share of a step.
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
        tokens(std::move(prompt)),
        num_prompt_tokens(static_cast<int32_t>(tokens.size())),
        blocks(std::move(blocks)) {}

  // The next `count` tokens as a prompt chunk; a token is wanted where they are the last.
  ScheduledSequence Prefill(int32_t count) const { return Schedule(count, /*is_decode=*/false); }
  // The one token that is not computed yet, as a decode row.
  ScheduledSequence Decode() const { return Schedule(1, /*is_decode=*/true); }

  int32_t size() const { return static_cast<int32_t>(tokens.size()); }
  int32_t remaining() const { return size() - num_computed_tokens; }

  SequenceId id;
  std::vector<TokenId> tokens;
  int32_t num_prompt_tokens;
  int32_t num_computed_tokens = 0;
  std::vector<BlockId> blocks;
  SamplingParams sampling = GreedySampling();
  AttentionPolicy attention;

 private:
  ScheduledSequence Schedule(int32_t count, bool is_decode) const {
    ScheduledSequence sequence = {};
    sequence.id = id;
    sequence.tokens = tokens;
    sequence.num_prompt_tokens = num_prompt_tokens;
    sequence.num_computed_tokens = num_computed_tokens;
    sequence.num_new_tokens = count;
    sequence.block_table = blocks;
    sequence.is_decode = is_decode;
    sequence.needs_token = num_computed_tokens + count == size();
    sequence.sampling = &sampling;
    sequence.attention = attention;
    return sequence;
  }
};

}  // namespace tidal

#endif  // TIDAL_TESTS_SUPPORT_TEST_SEQUENCE_H_
