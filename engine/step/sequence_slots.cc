#include "engine/step/sequence_slots.h"

#include <algorithm>
#include <limits>

#include "engine/base/check.h"
#include "engine/base/status_macros.h"

namespace tidal {
namespace {

constexpr SequenceId kNobody = std::numeric_limits<SequenceId>::max();
constexpr int32_t kMaxLogprobIds = SamplingParams::kMaxLogprobTokenIds;
constexpr int32_t kMaxBiases = SamplingParams::kMaxLogitBias + SamplingParams::kMaxBannedTokens;

SamplingSettings SettingsOf(const SamplingParams& sampling, int32_t vocab_size) {
  SamplingSettings settings = {};
  settings.temperature = sampling.temperature;
  settings.top_k = std::min(std::max(sampling.top_k, 0), vocab_size);
  settings.top_p = sampling.top_p;
  settings.min_p = sampling.min_p;
  settings.repetition_penalty = sampling.repetition_penalty;
  settings.presence_penalty = sampling.presence_penalty;
  settings.frequency_penalty = sampling.frequency_penalty;
  settings.num_logprobs = std::min(sampling.num_logprobs, vocab_size);
  settings.num_logprob_ids = static_cast<int32_t>(sampling.logprob_token_ids.size());
  settings.num_biases = static_cast<int32_t>(sampling.logit_bias.size());
  settings.num_bans = static_cast<int32_t>(sampling.banned_tokens.size());
  settings.min_tokens = sampling.min_tokens;
  settings.seed = sampling.seed;
  return settings;
}

}  // namespace

absl::StatusOr<SequenceSlots> SequenceSlots::Create(const MemoryPlan& plan, int32_t vocab_size,
                                                    Backend* backend) {
  SequenceSlots slots;
  slots.backend_ = backend;
  slots.table_stride_ = plan.max_blocks_per_sequence;
  slots.vocab_size_ = vocab_size;
  slots.owners_.assign(plan.max_num_seqs, kNobody);
  const int64_t count = plan.max_num_seqs;
  struct Entry {
    DeviceBuffer* buffer;
    int64_t bytes;
    const char* name;
  };
  const auto size = [](auto element) { return static_cast<int64_t>(sizeof(element)); };
  const Entry entries[] = {
      {&slots.tables_, count * slots.table_stride_ * size(BlockId{}), "block tables"},
      {&slots.last_tokens_, count * size(TokenId{}), "last tokens"},
      {&slots.settings_, count * size(SamplingSettings{}), "sampling settings"},
      {&slots.biases_, count * kMaxBiases * size(TokenBias{}), "logit biases"},
      {&slots.logprob_ids_, count * kMaxLogprobIds * size(TokenId{}), "logprob token ids"},
      {&slots.counts_, count * vocab_size * size(TokenCount{}), "token counts"},
      {&slots.known_tokens_, plan.max_model_len * size(TokenId{}), "tokens to count"},
  };
  for (const Entry& entry : entries) {
    TIDAL_ASSIGN_OR_RETURN(*entry.buffer, DeviceBuffer::Allocate(backend, entry.bytes, entry.name));
  }
  return slots;
}

SamplingSlots SequenceSlots::sampling() const {
  return {.settings = settings_.As<SamplingSettings>(),
          .biases = biases_.As<TokenBias>(),
          .logprob_ids = logprob_ids_.As<TokenId>(),
          .counts = counts_.As<TokenCount>(),
          .last_tokens = last_tokens_.As<TokenId>(),
          .max_biases = kMaxBiases,
          .max_logprob_ids = kMaxLogprobIds};
}

void SequenceSlots::Update(const ScheduledSequence& sequence, std::vector<int32_t>* listed) {
  const int32_t slot = sequence.slot;
  if (sequence.new_in_slot) {
    owners_[slot] = sequence.id;
    WriteSampling(sequence);
  }
  const auto first = static_cast<size_t>(sequence.num_sent_blocks);
  const auto blocks = sequence.block_table.subspan(first);
  const int64_t to = int64_t{slot} * table_stride_ + sequence.num_sent_blocks;
  TIDAL_CHECK(sequence.block_table.size() <= static_cast<size_t>(table_stride_));
  if (blocks.size() > kMaxListedBlocks) {
    backend_->CopyToDevice(block_tables() + to, blocks.data(), blocks.size() * sizeof(BlockId));
    return;
  }
  for (size_t i = 0; i < blocks.size(); ++i) {
    listed->push_back(static_cast<int32_t>(to + i));
    listed->push_back(blocks[i]);
  }
}

void SequenceSlots::WriteSampling(const ScheduledSequence& sequence) {
  const SamplingParams& sampling = *sequence.sampling;
  const int64_t slot = sequence.slot;
  const SamplingSettings settings = SettingsOf(sampling, vocab_size_);
  backend_->CopyToDevice(settings_.As<SamplingSettings>() + slot, &settings, sizeof(settings));
  std::vector<TokenBias> biases;
  for (const auto& [token, bias] : sampling.logit_bias) biases.push_back({token, bias});
  for (TokenId token : sampling.banned_tokens) {
    TIDAL_CHECK(token >= 0 && token < vocab_size_);
    biases.push_back({token, -std::numeric_limits<float>::infinity()});
  }
  TIDAL_CHECK(biases.size() <= static_cast<size_t>(kMaxBiases));
  backend_->CopyToDevice(biases_.As<TokenBias>() + slot * kMaxBiases, biases.data(),
                         biases.size() * sizeof(TokenBias));
  const std::vector<TokenId>& ids = sampling.logprob_token_ids;
  TIDAL_CHECK(ids.size() <= static_cast<size_t>(kMaxLogprobIds));
  for (const TokenId token : ids) TIDAL_CHECK(token >= 0 && token < vocab_size_);
  if (!ids.empty()) {
    backend_->CopyToDevice(logprob_ids_.As<TokenId>() + slot * kMaxLogprobIds, ids.data(),
                           ids.size() * sizeof(TokenId));
  }
  if (!settings.has_penalties()) return;
  TIDAL_CHECK(sequence.num_pending_tokens == 0);
  backend_->CopyToDevice(known_tokens_.As<void>(), sequence.tokens.data(),
                         sequence.tokens.size() * sizeof(TokenId));
  backend_->CountTokens({.tokens = known_tokens_.As<int32_t>(),
                         .num_tokens = static_cast<int32_t>(sequence.tokens.size()),
                         .num_prompt_tokens = sequence.num_prompt_tokens,
                         .counts = counts_.As<TokenCount>() + slot * vocab_size_,
                         .vocab = vocab_size_});
}

}  // namespace tidal
