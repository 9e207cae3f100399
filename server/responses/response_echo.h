// What a Response object says of the request that it answers.
#ifndef TIDAL_SERVER_RESPONSES_RESPONSE_ECHO_H_
#define TIDAL_SERVER_RESPONSES_RESPONSE_ECHO_H_

#include <string>

#include "absl/strings/string_view.h"
#include "server/openai/json_fields.h"

namespace tidal {

// Members of a JSON object, without its braces: each field of the request that OpenAI repeats, as
// the client wrote it, or with the default that is in force. A field whose default is the model's
// own is null. `fields` were read from `body` without a fault.
std::string EchoOf(const JsonFields& fields, absl::string_view body);

}  // namespace tidal

#endif  // TIDAL_SERVER_RESPONSES_RESPONSE_ECHO_H_
