// OpenAI's endpoints that generate, as the gateway meets them.
#ifndef TIDAL_SERVER_OPENAI_OPENAI_API_H_
#define TIDAL_SERVER_OPENAI_OPENAI_API_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/openai/api_reply.h"

namespace tidal {

absl::StatusOr<ApiRequest> ReadCompletions(absl::string_view body);
absl::StatusOr<ApiRequest> ReadChatCompletions(absl::string_view body);
absl::StatusOr<ApiRequest> ReadChatBatch(absl::string_view body);
// SageMaker's one path: a chat where there are messages, else a completion.
absl::StatusOr<ApiRequest> ReadInvocation(absl::string_view body);

extern const ApiFormat kOpenAiFormat;

}  // namespace tidal

#endif  // TIDAL_SERVER_OPENAI_OPENAI_API_H_
