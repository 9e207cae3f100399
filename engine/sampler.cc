#include "engine/sampler.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/status_macros.h"

namespace tidal {
namespace {

// Rows are sampled in groups, so that these bound the memory whatever the requests ask for.
constexpr int32_t kGroupPenalties = 1 << 18;
constexpr int32_t kGroupBiases = 1 << 16;

bool NeedsPrompt(const SamplingParams& sampling) { return sampling.repetition_penalty != 1; }

bool NeedsOutput(const SamplingParams& sampling) {
  return NeedsPrompt(sampling) || sampling.presence_penalty != 0 || sampling.frequency_penalty != 0;
}

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
  TIDAL_RETURN_IF_ERROR(allocate(&sampler.output_buffer_, 2 * (rows + tops), sizeof(int32_t)));
  return sampler;
}

absl::StatusOr<std::vector<SampledToken>> Sampler::Sample(
    absl::Span<const ScheduledSequence* const> sequences, float* logits) {
  wait_seconds_ = 0;
  std::vector<SampledToken> tokens;
  tokens.reserve(sequences.size());
  for (const ScheduledSequence* sequence : sequences) {
    if (AddRow(*sequence)) continue;
    TIDAL_RETURN_IF_ERROR(RunGroup(logits + tokens.size() * vocab_size_, &tokens));
    TIDAL_CHECK(AddRow(*sequence));
  }
  // Also without rows: a step of prompt chunks ends here too.
  TIDAL_RETURN_IF_ERROR(RunGroup(logits + tokens.size() * vocab_size_, &tokens));
  return tokens;
}

bool Sampler::AddRow(const ScheduledSequence& sequence) {
  const SamplingParams& sampling = *sequence.sampling;
  const int64_t penalties =
      NeedsOutput(sampling) ? std::min<int64_t>(vocab_size_, sequence.tokens.size()) : 0;
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
  row.counter = sequence.tokens.size() - sequence.num_prompt_tokens;
  row.num_logprobs = std::min(sampling.num_logprobs, vocab_size_);
  row.penalty_begin = static_cast<int32_t>(penalties_.size());
  AddPenalties(sequence);
  row.penalty_end = static_cast<int32_t>(penalties_.size());
  row.bias_begin = static_cast<int32_t>(biases_.size());
  for (const auto& [token, bias] : sampling.logit_bias) biases_.push_back({token, bias});
  row.bias_end = static_cast<int32_t>(biases_.size());
  max_logprobs_ = std::max(max_logprobs_, row.num_logprobs);
  rows_.push_back(row);
  return true;
}

void Sampler::AddPenalties(const ScheduledSequence& sequence) {
  if (!NeedsOutput(*sequence.sampling)) return;
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
  if (NeedsPrompt(*sequence.sampling)) {
    for (TokenId token : prompt) count(token, 0);
  }
  for (TokenId token : sequence.tokens.subspan(prompt.size())) count(token, 1);
  for (size_t i = begin; i < penalties_.size(); ++i) penalty_index_[penalties_[i].token] = -1;
}

absl::Status Sampler::RunGroup(float* logits, std::vector<SampledToken>* tokens) {
  const size_t rows = rows_.size(), tops = rows * max_logprobs_;
  std::vector<int32_t> ids(rows + tops);
  std::vector<float> logprobs(rows + tops);
  if (rows > 0) {
    backend_->CopyToDevice(rows_buffer_.As<void>(), rows_.data(), rows * sizeof(SamplingRow));
    backend_->CopyToDevice(penalties_buffer_.As<void>(), penalties_.data(),
                           penalties_.size() * sizeof(TokenOccurrence));
    backend_->CopyToDevice(biases_buffer_.As<void>(), biases_.data(),
                           biases_.size() * sizeof(TokenBias));
    auto* const id_output = output_buffer_.As<int32_t>();
    auto* const logprob_output = output_buffer_.As<float>() + rows + tops;
    backend_->Sample({logits, rows_buffer_.As<SamplingRow>(),
                      penalties_buffer_.As<TokenOccurrence>(), biases_buffer_.As<TokenBias>(),
                      id_output, logprob_output, id_output + rows, logprob_output + rows,
                      static_cast<int32_t>(rows), vocab_size_, max_logprobs_});
    output_.resize(2 * (rows + tops));
    backend_->CopyToHost(output_.data(), id_output, output_.size() * sizeof(int32_t));
  }
  const auto start = std::chrono::steady_clock::now();
  const std::string error = backend_->Synchronize();
  wait_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (!error.empty()) return absl::UnavailableError(error);
  if (rows > 0) {
    std::memcpy(ids.data(), output_.data(), ids.size() * sizeof(int32_t));
    std::memcpy(logprobs.data(), output_.data() + ids.size(), logprobs.size() * sizeof(float));
  }
  for (size_t i = 0; i < rows; ++i) {
    TIDAL_CHECK(ids[i] >= 0 && ids[i] < vocab_size_);
    SampledToken token = {ids[i], logprobs[i], {}};
    for (size_t j = i * max_logprobs_; j < i * max_logprobs_ + rows_[i].num_logprobs; ++j) {
      token.top.push_back({ids[rows + j], logprobs[rows + j]});
    }
    tokens->push_back(std::move(token));
  }
  rows_.clear();
  penalties_.clear();
  biases_.clear();
  max_logprobs_ = 0;
  return absl::OkStatus();
}

}  // namespace tidal
