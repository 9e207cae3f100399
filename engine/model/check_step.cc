// ModelRunner's checks of what it is given: a mistake of ours ends here, before it reads or writes
// memory that is not the step's.
#include <algorithm>
#include <cstdint>

#include "engine/base/check.h"
#include "engine/model/model_runner.h"

namespace tidal {

void ModelRunner::CheckInput(const StepInput& input) const {
  TIDAL_CHECK(input.sequences.size() <= static_cast<size_t>(plan_.max_num_seqs));
  int64_t tokens = 0, sampled = 0;
  for (const ScheduledSequence& sequence : input.sequences) {
    CheckSequence(sequence);
    tokens += sequence.num_new_tokens;
    sampled += sequence.num_wanted();
  }
  TIDAL_CHECK(tokens <= plan_.max_num_batched_tokens);
  TIDAL_CHECK(sampled <= plan_.max_sampled_tokens);
}

// Looks at what is new in the step only: what a slot holds has been looked at when it came.
void ModelRunner::CheckSequence(const ScheduledSequence& sequence) const {
  const int64_t end = int64_t{sequence.num_computed_tokens} + sequence.num_new_tokens;
  const int64_t draft = static_cast<int64_t>(sequence.draft.size());
  const int64_t size = sequence.num_tokens() + draft;
  const int64_t known = static_cast<int64_t>(sequence.tokens.size());
  TIDAL_CHECK(sequence.slot >= 0 && sequence.slot < plan_.max_num_seqs);
  TIDAL_CHECK(sequence.new_in_slot || slots_.owner(sequence.slot) == sequence.id);
  TIDAL_CHECK(sequence.num_computed_tokens >= 0 && sequence.num_new_tokens >= 1);
  TIDAL_CHECK(end <= size && end <= plan_.max_model_len);
  TIDAL_CHECK(sequence.num_prompt_tokens >= 0 && sequence.num_prompt_tokens <= known);
  TIDAL_CHECK(sequence.sampling != nullptr);
  TIDAL_CHECK(sequence.kind != RowKind::kDecode || sequence.num_new_tokens == 1);
  TIDAL_CHECK(sequence.num_wanted() == 0 || end == size);
  const bool verifies = sequence.kind == RowKind::kVerify;
  TIDAL_CHECK(verifies == (sequence.wanted == Wanted::kAllTokens));
  TIDAL_CHECK(verifies ? sequence.num_new_tokens == 1 + draft : draft == 0);
  TIDAL_CHECK(!verifies || (draft < kMaxVerifyTokens && sequence.num_pending_tokens == 0));
  const auto blocks = static_cast<int64_t>(sequence.block_table.size());
  TIDAL_CHECK(blocks * plan_.block_size >= end && blocks <= plan_.max_blocks_per_sequence);
  TIDAL_CHECK(sequence.num_sent_blocks >= 0 && sequence.num_sent_blocks <= blocks);
  TIDAL_CHECK(!sequence.new_in_slot || sequence.num_sent_blocks == 0);
  for (int64_t i = sequence.num_sent_blocks; i < blocks; ++i) {
    TIDAL_CHECK(sequence.block_table[i] >= 0 && sequence.block_table[i] < plan_.num_blocks);
  }
  TIDAL_CHECK(sequence.num_pending_tokens == 0 || !sequence.new_in_slot);
  for (int64_t i = sequence.num_computed_tokens; i < std::min(end, known); ++i) {
    TIDAL_CHECK(sequence.tokens[i] >= 0 && sequence.tokens[i] < config_.vocab_size);
  }
  CheckPromptSpan(sequence);
  for (TokenId token : sequence.draft) TIDAL_CHECK(token >= 0 && token < config_.vocab_size);
  if (RunsSparse(sequence)) {
    TIDAL_CHECK(sequence.attention.token_budget >= 1 &&
                sequence.attention.token_budget <= plan_.max_token_budget);
  }
}

void ModelRunner::CheckPromptSpan(const ScheduledSequence& sequence) const {
  const auto [first, count] = sequence.prompt_logprobs;
  if (count == 0) return;
  const int64_t end = int64_t{first} + count;
  TIDAL_CHECK(sequence.kind == RowKind::kPrefill && sequence.sampling->wants_prompt_logprobs());
  TIDAL_CHECK(count > 0 && first > sequence.num_computed_tokens);
  TIDAL_CHECK(end <= sequence.num_prompt_tokens && end <= sequence.context_len() + 1);
  for (int64_t i = first; i < end; ++i) {
    TIDAL_CHECK(sequence.tokens[i] >= 0 && sequence.tokens[i] < config_.vocab_size);
  }
}

}  // namespace tidal
