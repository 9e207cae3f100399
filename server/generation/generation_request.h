// From the wire to the scheduler's terms: every field checked, every default resolved.
#ifndef TIDAL_SERVER_GENERATION_GENERATION_REQUEST_H_
#define TIDAL_SERVER_GENERATION_GENERATION_REQUEST_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/sampling_params.h"
#include "engine/step.h"
#include "proto/tidal/v1/inference.pb.h"
#include "scheduler/request.h"
#include "server/generation/reply_parts.h"
#include "server/generation/request_limits.h"
#include "server/generation/served_model.h"
#include "server/grammar/token_filter.h"

namespace tidal {

// How sampled tokens become a reply.
struct OutputOptions {
  std::vector<std::string> stop_strings;
  bool include_stop_in_output = false;  // stop strings and stop tokens
  bool logprobs = false;
  bool return_token_ids = false;
  bool skip_special_tokens = true;
  bool final_only = false;
  std::string echo;  // text that comes first in each output
  ReplyParsing parsing;
};

struct GenerationRequest {
  std::string request_id;
  std::vector<TokenId> prompt;
  int32_t n = 1;
  SamplingParams sampling;  // output i uses seed + i
  StopCriteria stop;
  AttentionPolicy attention;
  int32_t priority = 0;
  std::string cache_salt;
  OutputOptions output;
  std::shared_ptr<const TokenFilter> filter;  // of each output's tokens; null: any may come
  std::optional<std::string> structure;  // the structural tag of each output; nothing: any text
};

// INVALID_ARGUMENT "field: must be ..., got ..." with the field's path in the proto; NOT_FOUND for
// a model that is not served.
absl::StatusOr<GenerationRequest> ParseGenerationRequest(const v1::GenerateRequest& request,
                                                         const ServedModel& model);

// Empty, or one of the names.
absl::Status CheckModelName(const std::string& name, const ServedModel& model);

}  // namespace tidal

#endif  // TIDAL_SERVER_GENERATION_GENERATION_REQUEST_H_
