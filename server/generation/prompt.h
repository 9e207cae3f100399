// The prompt of a request: its text, ids or chat to the tokens that the model sees.
#ifndef TIDAL_SERVER_GENERATION_PROMPT_H_
#define TIDAL_SERVER_GENERATION_PROMPT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/base/ids.h"
#include "proto/tidal/v1/inference.pb.h"
#include "server/generation/served_model.h"

namespace tidal {

struct Prompt {
  std::vector<TokenId> tokens;  // at least one, and no more than have room
  std::string text;             // that they come from; of token ids none
  bool truncated = false;       // not all tokens of the text are among them
};

// INVALID_ARGUMENT "field: must be ..., got ...", by the field's path in the proto.
absl::StatusOr<Prompt> ParsePrompt(const v1::GenerateRequest& request, const ServedModel& model);

// A lower bound of the tokens of the request's prompt, without tokenizing it.
int64_t FewestPromptTokens(const v1::GenerateRequest& request, const ServedModel& model);

// INVALID_ARGUMENT unless the model has this token.
absl::Status CheckTokenId(absl::string_view field, int index, uint32_t id,
                          const ServedModel& model);

}  // namespace tidal

#endif  // TIDAL_SERVER_GENERATION_PROMPT_H_
