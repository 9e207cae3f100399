// The Responses API, as the gateway meets it.
#ifndef TIDAL_SERVER_RESPONSES_RESPONSES_API_H_
#define TIDAL_SERVER_RESPONSES_RESPONSES_API_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/openai/api_reply.h"

namespace tidal {

// POST /v1/responses
absl::StatusOr<ApiRequest> ReadResponses(absl::string_view body);

// What is said of the id at the end of a path below /v1/responses: nothing is stored.
ApiError NoSuchResponse(absl::string_view id);

}  // namespace tidal

#endif  // TIDAL_SERVER_RESPONSES_RESPONSES_API_H_
