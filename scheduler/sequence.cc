#include "scheduler/sequence.h"

#include <algorithm>
#include <utility>

#include "engine/base/check.h"

namespace tidal {
Sequence::Sequence(std::unique_ptr<Request> request, int64_t arrival_number)
    : request_(std::move(request)),
      arrival_number_(arrival_number),
      tokens_(request_->prompt),
      num_prompt_tokens_(static_cast<int32_t>(tokens_.size())),
      dense_until_(num_prompt_tokens_),
      // Nothing comes before the first token, so it has none.
      next_prompt_logprob_(request_->sampling.wants_prompt_logprobs() ? 1 : num_prompt_tokens_) {
  TIDAL_CHECK(num_prompt_tokens_ >= 1);
  info.prompt_tokens = num_prompt_tokens_;
  info.arrival = request_->arrival;
  info.first_scheduled = info.first_token = info.finish = absl::InfinitePast();
  // A constraint bans them itself, where something else may come.
  if (request_->stop.min_tokens > 0 && request_->constraint == nullptr) {
    request_->sampling.min_tokens = request_->stop.min_tokens;
    request_->sampling.banned_tokens = request_->stop.stop_token_ids;
  }
}

int32_t Sequence::MostInexactTokens() const {
  const bool runs_sparse = request_->attention.RunsSparse(num_computed_tokens_ + 1);
  return num_inexact_tokens() > 0 || runs_sparse ? num_inexact_tokens() + 1 : 0;
}

NextRun Sequence::GetNextRun() const {
  const int32_t left = num_tokens() - num_computed_tokens_;
  TIDAL_CHECK(left >= 1);
  if (num_computed_tokens_ < dense_until_) return {left, RowKind::kPrefill};
  TIDAL_CHECK(left == 1);
  if (draft.empty()) return {1, RowKind::kDecode};
  return {1 + static_cast<int32_t>(draft.size()), RowKind::kVerify};
}

void Sequence::AdvanceComputed(int32_t count, bool ran_sparse) {
  TIDAL_CHECK(count >= 1 && num_computed_tokens_ + count <= num_tokens());
  TIDAL_CHECK(!ran_sparse || (count == 1 && num_computed_tokens_ >= dense_until_));
  if (ran_sparse) first_sparse_ = std::min(first_sparse_, num_computed_tokens_);
  num_computed_tokens_ += count;
}

std::optional<FinishReason> Sequence::AppendToken(TokenId token, int32_t max_model_len) {
  TIDAL_CHECK(num_computed_tokens_ == num_tokens());
  const bool ends_by_length = EndsByLength(max_model_len);
  tokens_.push_back(token);
  const StopCriteria& stop = request_->stop;
  const bool is_stop = std::find(stop.stop_token_ids.begin(), stop.stop_token_ids.end(), token) !=
                       stop.stop_token_ids.end();
  if (is_stop && num_output_tokens() > stop.min_tokens) return FinishReason::kStop;
  return ends_by_length ? std::optional(FinishReason::kLength) : std::nullopt;
}

PromptSpan Sequence::PromptLogprobsOf(int32_t count) const {
  const int32_t end = std::min(num_computed_tokens_ + count + 1, num_prompt_tokens_);
  if (end <= next_prompt_logprob_) return {};
  return {next_prompt_logprob_, end - next_prompt_logprob_};
}

void Sequence::AdvancePromptLogprobs(int32_t count) {
  next_prompt_logprob_ += count;
  TIDAL_CHECK(next_prompt_logprob_ <= num_prompt_tokens_);
}

int32_t Sequence::BeginCorrection() {
  const int32_t corrected = num_inexact_tokens();
  num_computed_tokens_ = num_exact_tokens();
  dense_until_ = num_tokens();
  first_sparse_ = kNone;
  return corrected;
}

void Sequence::ResetComputed(int32_t num_cached_tokens) {
  TIDAL_CHECK(num_cached_tokens < num_tokens());
  num_computed_tokens_ = num_cached_tokens;
  dense_until_ = num_tokens();
  first_sparse_ = kNone;
}

}  // namespace tidal
