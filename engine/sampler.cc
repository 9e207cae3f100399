#include "engine/sampler.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/status_macros.h"

namespace tidal {
namespace {

// Rows are sampled in groups, so that these bound the memory whatever the requests ask for.
constexpr int32_t kGroupPenalties = 1 << 18;
constexpr int32_t kGroupBiases = 1 << 16;

}  // namespace

absl::StatusOr<Sampler> Sampler::Create(const MemoryPlan& plan, int32_t vocab_size,
                                        Backend* backend) {
  Sampler sampler;
  sampler.backend_ = backend;
  sampler.vocab_size_ = vocab_size;
  // One row alone always fits.
  sampler.max_penalties_ = std::max(kGroupPenalties, std::min(vocab_size, plan.max_model_len));
  sampler.max_biases_ = std::max(kGroupBiases, SamplingParams::kMaxLogitBias);
  sampler.penalty_index_.assign(vocab_size, -1);
  const int64_t rows = plan.max_num_seqs, tops = rows * SamplingParams::kMaxLogprobs;
  const auto allocate = [&](DeviceBuffer* buffer, int64_t count, size_t size) -> absl::Status {
    TIDAL_ASSIGN_OR_RETURN(
        *buffer, DeviceBuffer::Allocate(backend, count * static_cast<int64_t>(size), "sampler"));
    return absl::OkStatus();
  };
  TIDAL_RETURN_IF_ERROR(allocate(&sampler.rows_buffer_, rows, sizeof(SamplingRow)));
  TIDAL_RETURN_IF_ERROR(
      allocate(&sampler.penalties_buffer_, sampler.max_penalties_, sizeof(TokenOccurrence)));
  TIDAL_RETURN_IF_ERROR(allocate(&sampler.biases_buffer_, sampler.max_biases_, sizeof(TokenBias)));
  sampler.half_size_ = static_cast<int32_t>(2 * (rows + tops));
  TIDAL_RETURN_IF_ERROR(
      allocate(&sampler.output_buffer_, 2 * int64_t{sampler.half_size_}, sizeof(int32_t)));
  return sampler;
}

int32_t Sampler::Begin(const StepInput& input) {
  half_begin_ = half_size_ - half_begin_;
  num_rows_ = max_logprobs_ = num_sampled_ = 0;
  num_logprobs_.clear();
  for (const ScheduledSequence& sequence : input.sequences) {
    if (!sequence.needs_token) continue;
    ++num_rows_;
    max_logprobs_ = std::max(max_logprobs_, std::min(sequence.sampling->num_logprobs, vocab_size_));
  }
  return half_begin_;
}

void Sampler::Sample(absl::Span<const ScheduledSequence* const> sequences, float* logits) {
  const int32_t first = num_sampled_;
  const auto run_group = [&] { RunGroup(logits + int64_t{num_sampled_ - first} * vocab_size_); };
  for (const ScheduledSequence* sequence : sequences) {
    if (AddRow(*sequence)) continue;
    run_group();
    TIDAL_CHECK(AddRow(*sequence));
  }
  run_group();
}

SampledRows Sampler::End() {
  TIDAL_CHECK(num_sampled_ == num_rows_);
  SampledRows rows;
  rows.output.resize(2 * int64_t{num_rows_} * (1 + max_logprobs_));
  rows.num_logprobs = std::move(num_logprobs_);
  backend_->CopyToHost(rows.output.data(), output_buffer_.As<int32_t>() + half_begin_,
                       rows.output.size() * sizeof(int32_t));
  return rows;
}

bool Sampler::AddRow(const ScheduledSequence& sequence) {
  const SamplingParams& sampling = *sequence.sampling;
  const int64_t penalties =
      sampling.NeedsTokens() ? std::min<int64_t>(vocab_size_, sequence.tokens.size()) : 0;
  if (penalties_.size() + penalties > static_cast<size_t>(max_penalties_) ||
      biases_.size() + sampling.logit_bias.size() > static_cast<size_t>(max_biases_)) {
    return false;
  }
  SamplingRow row = {};
  row.temperature = sampling.temperature;
  row.top_k = std::min(std::max(sampling.top_k, 0), vocab_size_);
  row.top_p = sampling.top_p;
  row.min_p = sampling.min_p;
  row.repetition_penalty = sampling.repetition_penalty;
  row.presence_penalty = sampling.presence_penalty;
  row.frequency_penalty = sampling.frequency_penalty;
  row.seed = sampling.seed;
  row.counter = sequence.num_tokens() - sequence.num_prompt_tokens;
  row.num_logprobs = std::min(sampling.num_logprobs, vocab_size_);
  row.penalty_begin = static_cast<int32_t>(penalties_.size());
  AddPenalties(sequence);
  row.penalty_end = static_cast<int32_t>(penalties_.size());
  row.bias_begin = static_cast<int32_t>(biases_.size());
  for (const auto& [token, bias] : sampling.logit_bias) biases_.push_back({token, bias});
  row.bias_end = static_cast<int32_t>(biases_.size());
  rows_.push_back(row);
  num_logprobs_.push_back(row.num_logprobs);
  return true;
}

void Sampler::AddPenalties(const ScheduledSequence& sequence) {
  if (!sequence.sampling->NeedsTokens()) return;
  TIDAL_CHECK(sequence.pending_row < 0);
  const size_t begin = penalties_.size();
  const auto count = [&](TokenId token, int32_t outputs) {
    int32_t& index = penalty_index_[token];
    if (index < 0) {
      index = static_cast<int32_t>(penalties_.size());
      penalties_.push_back({token, 0});
    }
    penalties_[index].output_count += outputs;
  };
  const auto prompt = sequence.tokens.subspan(0, sequence.num_prompt_tokens);
  if (sequence.sampling->NeedsPrompt()) {
    for (TokenId token : prompt) count(token, 0);
  }
  for (TokenId token : sequence.tokens.subspan(prompt.size())) count(token, 1);
  for (size_t i = begin; i < penalties_.size(); ++i) penalty_index_[penalties_[i].token] = -1;
}

void Sampler::RunGroup(float* logits) {
  if (rows_.empty()) return;
  // The copies take what the vectors hold now.
  backend_->CopyToDevice(rows_buffer_.As<void>(), rows_.data(), rows_.size() * sizeof(SamplingRow));
  backend_->CopyToDevice(penalties_buffer_.As<void>(), penalties_.data(),
                         penalties_.size() * sizeof(TokenOccurrence));
  backend_->CopyToDevice(biases_buffer_.As<void>(), biases_.data(),
                         biases_.size() * sizeof(TokenBias));
  int32_t* const ids = output_buffer_.As<int32_t>() + half_begin_;
  float* const logprobs = reinterpret_cast<float*>(ids + int64_t{num_rows_} * (1 + max_logprobs_));
  const int64_t top = num_rows_ + int64_t{num_sampled_} * max_logprobs_;
  backend_->Sample({.logits = logits,
                    .rows = rows_buffer_.As<SamplingRow>(),
                    .penalties = penalties_buffer_.As<TokenOccurrence>(),
                    .biases = biases_buffer_.As<TokenBias>(),
                    .token_ids = ids + num_sampled_,
                    .logprobs = logprobs + num_sampled_,
                    .top_ids = ids + top,
                    .top_logprobs = logprobs + top,
                    .num_rows = static_cast<int32_t>(rows_.size()),
                    .vocab = vocab_size_,
                    .max_logprobs = max_logprobs_});
  num_sampled_ += static_cast<int32_t>(rows_.size());
  rows_.clear();
  penalties_.clear();
  biases_.clear();
}

std::vector<SampledToken> SampledRows::Tokens() const {
  const size_t rows = num_logprobs.size(), half = output.size() / 2;
  std::vector<float> logprobs(half);
  if (half > 0) std::memcpy(logprobs.data(), output.data() + half, half * sizeof(float));
  const size_t max_logprobs = rows == 0 ? 0 : half / rows - 1;
  std::vector<SampledToken> tokens(rows);
  for (size_t i = 0; i < rows; ++i) {
    tokens[i].id = output[i];
    tokens[i].logprob = logprobs[i];
    const size_t top = rows + i * max_logprobs;
    for (size_t j = top; j < top + num_logprobs[i]; ++j) {
      tokens[i].top.push_back({output[j], logprobs[j]});
    }
  }
  return tokens;
}

}  // namespace tidal
