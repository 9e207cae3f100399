#include "server/anthropic/messages_error.h"

#include <cstddef>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "nlohmann/json.hpp"
#include "server/openai/reply_json.h"

namespace tidal {
namespace {

const char* ErrorType(int http_status) {
  switch (http_status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_error";
    case 503:
      return "overloaded_error";
    case 504:
      return "timeout_error";
    default:
      return http_status >= 500 ? "api_error" : "invalid_request_error";
  }
}

// How ToApiError() names a field, and how Messages does.
constexpr std::pair<const char*, const char*> kNames[] = {
    {"stop", "stop_sequences"},
    {"thinking_token_budget", "thinking.budget_tokens"},
};

// The client's name of a field, which may have an index or a member behind it.
std::string MessagesField(const std::string& field) {
  if (absl::StartsWith(field, "tools[")) {
    return absl::StrReplaceAll(field,
                               {{".function.parameters", ".input_schema"}, {".function", ""}});
  }
  for (const auto& [name, client] : kNames) {
    absl::string_view rest = field;
    if (!absl::ConsumePrefix(&rest, name)) continue;
    if (rest.empty() || rest[0] == '[' || rest[0] == '.') return absl::StrCat(client, rest);
  }
  return field;
}

// "prompt: must have at most 4095 tokens, got 5000", the service's words for it, in Anthropic's;
// empty where it is another message.
std::string PromptTooLong(absl::string_view message) {
  if (!absl::ConsumePrefix(&message, "prompt: must have at most ")) return "";
  const size_t limit_end = message.find(' ');
  constexpr absl::string_view kGot = " tokens, got ";
  if (limit_end == absl::string_view::npos || !absl::StartsWith(message.substr(limit_end), kGot)) {
    return "";
  }
  return absl::StrCat("prompt is too long: ", message.substr(limit_end + kGot.size()), " tokens > ",
                      message.substr(0, limit_end), " maximum");
}

}  // namespace

ApiError ToMessagesError(const absl::Status& status) {
  // What does not fit together may be the answer's schema or a tool's.
  const bool in_schema = absl::StartsWith(status.message(), "structured_output.json_schema");
  ApiError error =
      ToApiError(status, {.api = OpenAiApi::kChat,
                          .structure_field = in_schema ? "output_config.format.schema"
                                                       : "output_config.format or tools"});
  const std::string too_long = PromptTooLong(status.message());
  if (!too_long.empty()) {
    error.message = too_long;
  } else if (!error.param.empty()) {
    const std::string field = MessagesField(error.param);
    error.message = absl::StrCat(field, error.message.substr(error.param.size()));
    error.param = field;
  }
  return error;
}

std::string RenderMessagesError(const ApiError& error, const std::string& request_id) {
  return DumpJson({{"type", "error"},
                   {"error", {{"type", ErrorType(error.http_status)}, {"message", error.message}}},
                   {"request_id", request_id}});
}

}  // namespace tidal
