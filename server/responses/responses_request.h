// The body of POST /v1/responses as a call of the service, and what the reply must know of it.
//
// A field of the wrong type, or one that this server cannot do, gives INVALID_ARGUMENT "field: must
// be ..., got ..."; unknown fields are ignored and null is absent. Nothing is stored here, so
// fields that refer to what is stored are refused. Pure functions.
#ifndef TIDAL_SERVER_RESPONSES_RESPONSES_REQUEST_H_
#define TIDAL_SERVER_RESPONSES_RESPONSES_REQUEST_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/tidal/v1/inference.pb.h"
#include "server/openai/left_out.h"
#include "server/responses/response_tools.h"

namespace tidal {

struct ResponsesOptions {
  bool stream = false;
  bool logprobs = false;  // include has "message.output_text.logprobs"
  bool include_reasoning = true;
  std::string model;            // as the client names it; empty when it does not
  std::string structure_field;  // where the client says what the text has to be
  std::string echo;  // members of the reply that say what was asked for: "instructions":null,...
  ClientTools tools;
};

struct ResponsesRequest {
  v1::GenerateRequest call;
  std::string request_id;  // of the body; empty when it has none
  ResponsesOptions options;
  LeftOut left_out;
};

absl::StatusOr<ResponsesRequest> ParseResponsesRequest(absl::string_view body);

}  // namespace tidal

#endif  // TIDAL_SERVER_RESPONSES_RESPONSES_REQUEST_H_
