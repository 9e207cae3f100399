#include "engine/sampling_params.h"

#include "absl/strings/str_cat.h"

namespace tidal {
namespace {

// Written so that NaN fails.
absl::Status InRange(const char* field, double value, bool ok, const char* range) {
  if (ok) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(field, ": must be ", range, ", got ", value));
}

absl::Status CheckLogprobTokenIds(const std::vector<TokenId>& ids, int32_t vocab_size) {
  constexpr int32_t kMost = SamplingParams::kMaxLogprobTokenIds;
  if (ids.size() > kMost) {
    return absl::InvalidArgumentError(
        absl::StrCat("logprob_token_ids: must have at most ", kMost, " ids, got ", ids.size()));
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab_size) {
      return absl::InvalidArgumentError(absl::StrCat("logprob_token_ids: token ids must be in [0, ",
                                                     vocab_size, "), got ", ids[i]));
    }
    if (i > 0 && ids[i - 1] >= ids[i]) {
      return absl::InvalidArgumentError(
          absl::StrCat("logprob_token_ids: must rise, got ", ids[i], " after ", ids[i - 1]));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status SamplingParams::Validate(int32_t vocab_size) const {
  absl::Status status =
      InRange("temperature", temperature, temperature >= 0 && temperature <= 2, "in [0, 2]");
  status.Update(InRange("top_k", top_k, top_k >= -1, "-1 or 0 (off), or positive"));
  status.Update(InRange("top_p", top_p, top_p > 0 && top_p <= 1, "in (0, 1]"));
  status.Update(InRange("min_p", min_p, min_p >= 0 && min_p <= 1, "in [0, 1]"));
  status.Update(InRange("repetition_penalty", repetition_penalty,
                        repetition_penalty > 0 && repetition_penalty <= 2, "in (0, 2]"));
  status.Update(InRange("presence_penalty", presence_penalty,
                        presence_penalty >= -2 && presence_penalty <= 2, "in [-2, 2]"));
  status.Update(InRange("frequency_penalty", frequency_penalty,
                        frequency_penalty >= -2 && frequency_penalty <= 2, "in [-2, 2]"));
  status.Update(InRange("logprobs", num_logprobs, num_logprobs >= 0 && num_logprobs <= kMaxLogprobs,
                        "in [0, 20]"));
  status.Update(CheckLogprobTokenIds(logprob_token_ids, vocab_size));
  if (logit_bias.size() > kMaxLogitBias) {
    status.Update(absl::InvalidArgumentError(absl::StrCat(
        "logit_bias: must have at most ", kMaxLogitBias, " entries, got ", logit_bias.size())));
  }
  for (const auto& [token, bias] : logit_bias) {
    if (token < 0 || token >= vocab_size) {
      status.Update(absl::InvalidArgumentError(
          absl::StrCat("logit_bias: token ids must be in [0, ", vocab_size, "), got ", token)));
    }
    status.Update(InRange("logit_bias", bias, bias >= -100 && bias <= 100, "in [-100, 100]"));
  }
  return status;
}

}  // namespace tidal
