#include "server/openai/openai_error.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "nlohmann/json.hpp"
#include "scheduler/retry_after.h"

namespace tidal {
namespace {

int HttpStatus(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return 400;
    case absl::StatusCode::kUnauthenticated:
      return 401;
    case absl::StatusCode::kPermissionDenied:
      return 403;
    case absl::StatusCode::kNotFound:
      return 404;
    case absl::StatusCode::kResourceExhausted:
      return 429;
    case absl::StatusCode::kCancelled:
      return 499;
    case absl::StatusCode::kUnimplemented:
      return 501;
    case absl::StatusCode::kUnavailable:
      return 503;
    case absl::StatusCode::kDeadlineExceeded:
      return 504;
    default:
      return 500;
  }
}

const char* ErrorType(int http_status) {
  if (http_status == 401) return "authentication_error";
  if (http_status == 403) return "permission_error";
  if (http_status == 404) return "not_found_error";
  if (http_status == 429) return "rate_limit_error";
  return http_status >= 500 ? "server_error" : "invalid_request_error";
}

// The length of "field" in "field: message", 0 where the message does not start with a field.
size_t FieldLength(absl::string_view message) {
  const size_t end = message.find(": ");
  if (end == absl::string_view::npos || end == 0 || !absl::ascii_isalpha(message[0])) return 0;
  const bool is_path = std::all_of(message.begin(), message.begin() + end, [](char c) {
    return absl::ascii_isalnum(c) || absl::StrContains("_.[]", c);
  });
  return is_path ? end : 0;
}

// "tools[0].function.name" where tools came as functions.
std::string FunctionField(absl::string_view field) {
  if (!absl::ConsumePrefix(&field, "tools")) return "function_call";
  return absl::StrCat("functions", absl::StrReplaceAll(field, {{".function", ""}}));
}

// The client's name of a field that a message of the service names by its path in the proto.
std::string ClientField(absl::string_view field, const ReplyOptions& reply) {
  static constexpr std::array kGroups = {"sampling.", "stopping.", "output.parsing.", "output.",
                                         "chat."};
  if (field == "structured_output" || absl::StartsWith(field, "structured_output.")) {
    // The kind that follows is in the client's name.
    const size_t place = field.find('[');
    return absl::StrCat(reply.structure_field,
                        place == absl::string_view::npos ? "" : field.substr(place));
  }
  for (const char* group : kGroups) {
    if (absl::ConsumePrefix(&field, group)) break;
  }
  if (reply.function_calls && absl::StartsWith(field, "tool")) return FunctionField(field);
  static constexpr std::array kPrompts = {"token_ids.ids", "token_ids", "text", "prompt", "chat"};
  for (const char* prompt : kPrompts) {
    absl::string_view rest = field;
    if (!absl::ConsumePrefix(&rest, prompt)) continue;
    if (!rest.empty() && rest[0] != '[') continue;  // another field, whose name begins alike
    if (!reply.prompt_field.empty()) return absl::StrCat(reply.prompt_field, rest);
    return absl::StrCat(reply.api == OpenAiApi::kChat ? "messages" : "prompt", rest);
  }
  if (field == "max_tokens") return reply.max_tokens_field;
  if (field == "logprobs" && reply.api == OpenAiApi::kChat) return "top_logprobs";
  return std::string(field);
}

// What a request that is too long for the model is refused with, prompt or output.
bool ExceedsContext(absl::string_view message) {
  return absl::StartsWith(message, "prompt: must have at most ") ||
         absl::StrContains(message, "maximum context length");
}

nlohmann::ordered_json StringOrNull(const std::string& text) {
  return text.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(text);
}

}  // namespace

ApiError ToApiError(const absl::Status& status, const ReplyOptions& reply) {
  ApiError error;
  error.http_status = HttpStatus(status.code());
  error.type = ErrorType(error.http_status);
  error.retry_after = RetryAfterOf(status).value_or(error.retry_after);
  const absl::string_view message = status.message();
  const size_t field_length = error.http_status < 500 ? FieldLength(message) : 0;
  if (field_length > 0) {
    const std::string field = ClientField(message.substr(0, field_length), reply);
    error.message = absl::StrCat(field, message.substr(field_length));
    if (field != "body") error.param = field;
  } else {
    error.message =
        message.empty() ? absl::StatusCodeToString(status.code()) : std::string(message);
  }
  if (error.http_status == 400 && ExceedsContext(message)) error.code = "context_length_exceeded";
  if (error.http_status == 401) error.code = "invalid_api_key";
  if (error.http_status == 404 && error.param == "model") error.code = "model_not_found";
  if (error.http_status == 429) error.code = "rate_limit_exceeded";
  return error;
}

ApiError HttpError(int http_status, absl::string_view message, absl::string_view code) {
  ApiError error;
  error.http_status = http_status;
  error.type = ErrorType(http_status);
  error.message = std::string(message);
  error.code = std::string(code);
  return error;
}

std::string RenderError(const ApiError& error) {
  const nlohmann::ordered_json body = {{"message", error.message},
                                       {"type", error.type},
                                       {"param", StringOrNull(error.param)},
                                       {"code", StringOrNull(error.code)}};
  return nlohmann::ordered_json{{"error", body}}.dump(
      -1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace tidal
