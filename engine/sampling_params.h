// How one request wants its tokens chosen.
#ifndef TIDAL_ENGINE_SAMPLING_PARAMS_H_
#define TIDAL_ENGINE_SAMPLING_PARAMS_H_

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/ids.h"

namespace tidal {

struct SamplingParams {
  float temperature = 1.0f;         // [0, 2]; 0 = greedy
  int32_t top_k = 0;                // 0 or -1 = off
  float top_p = 1.0f;               // (0, 1]
  float min_p = 0.0f;               // [0, 1]
  float repetition_penalty = 1.0f;  // (0, 2]
  float presence_penalty = 0.0f;    // [-2, 2]
  float frequency_penalty = 0.0f;   // [-2, 2]
  uint64_t seed = 0;                // the caller fills in a random one when the request has none
  int32_t num_logprobs = 0;         // alternatives wanted a token, 0 .. kMaxLogprobs
  // Alternatives wanted of each of the prompt's tokens, 0 .. kMaxLogprobs; kNoPromptLogprobs: not
  // even the tokens' own log probabilities.
  int32_t num_prompt_logprobs = kNoPromptLogprobs;
  // Instead of the num_logprobs likeliest, these are the alternatives of each token: at most
  // kMaxLogprobTokenIds, rising. Empty: num_logprobs counts.
  std::vector<TokenId> logprob_token_ids;
  std::vector<std::pair<TokenId, float>> logit_bias;  // at most kMaxLogitBias, each in [-100, 100]
  // None of the first min_tokens tokens is one of these, of which there are at most
  // kMaxBannedTokens. The scheduler fills them in: they are the tokens that would end the sequence.
  int32_t min_tokens = 0;
  std::vector<TokenId> banned_tokens;

  static constexpr int32_t kMaxLogprobs = 20;
  static constexpr int32_t kMaxLogprobTokenIds = 128;
  static constexpr int32_t kNoPromptLogprobs = -1;
  static constexpr int32_t kMaxLogitBias = 1024;
  static constexpr int32_t kMaxBannedTokens = 256;

  // Alternatives of each token.
  int32_t num_alternatives(int32_t vocab_size) const {
    return logprob_token_ids.empty() ? std::min(num_logprobs, vocab_size)
                                     : static_cast<int32_t>(logprob_token_ids.size());
  }
  bool wants_prompt_logprobs() const { return num_prompt_logprobs != kNoPromptLogprobs; }

  // INVALID_ARGUMENT "field: must be ..., got ..." for a value outside its range, NaN included, or
  // a token of a bias or of logprob_token_ids that is not in [0, vocab_size).
  absl::Status Validate(int32_t vocab_size) const;
};

}  // namespace tidal

#endif  // TIDAL_ENGINE_SAMPLING_PARAMS_H_
