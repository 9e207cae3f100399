#include "server/responses/responses_reply.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/base/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/openai/reply_json.h"

namespace tidal {
namespace {

constexpr const char* kContextLengthExceeded = "context_length_exceeded";
constexpr const char* kRateLimitExceeded = "rate_limit_exceeded";

Json ResponseUsageJson(const v1::Usage& usage) {
  Json json = {{"input_tokens", usage.prompt_tokens()},
               // Nothing is written into a cache for which somebody pays.
               {"input_tokens_details",
                {{"cached_tokens", usage.cached_tokens()}, {"cache_write_tokens", 0}}},
               {"output_tokens", usage.completion_tokens()},
               {"output_tokens_details", {{"reasoning_tokens", usage.reasoning_tokens()}}},
               {"total_tokens", usage.prompt_tokens() + usage.completion_tokens()}};
  json["attention"] = std::move(UsageJson(usage)["attention"]);
  return json;
}

absl::Status CheckIndex(uint32_t index) {
  if (index == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("the service answered with output ", index, " of 1"));
}

// The error as it stands in a Response. Codex compacts the conversation for one code, waits for as
// long as the message of another says, and tries again for the rest.
Json ResponseErrorJson(const ApiError& error) {
  std::string code = error.http_status < 500 ? "invalid_prompt" : "server_error";
  std::string message = error.message;
  if (error.code == kContextLengthExceeded || error.code == kRateLimitExceeded) code = error.code;
  if (error.code == kRateLimitExceeded) {
    absl::StrAppend(&message, "; try again in ", error.retry_after, "s");
  }
  return {{"code", code}, {"message", message}};
}

}  // namespace

ResponsesReply::ResponsesReply(std::shared_ptr<const ResponsesOptions> options,
                               const ReplyIdentity& identity)
    : options_(std::move(options)),
      identity_(identity),
      events_(options_->stream),
      output_(options_.get(), identity.request_id, &events_),
      model_(options_->model) {}

absl::Status ResponsesReply::OnEvent(size_t /*call*/, const v1::GenerateResponse& event,
                                     std::string* out) {
  switch (event.event_case()) {
    case v1::GenerateResponse::kPrompt:
      model_ = event.prompt().model();
      prompt_tokens_ = event.prompt().prompt_tokens();
      BeginOnce(out);
      return absl::OkStatus();
    case v1::GenerateResponse::kDelta:
      TIDAL_RETURN_IF_ERROR(CheckIndex(event.delta().index()));
      output_.OnDelta(event.delta(), out);
      return absl::OkStatus();
    case v1::GenerateResponse::kFinish:
      TIDAL_RETURN_IF_ERROR(CheckIndex(event.finish().index()));
      reason_ = event.finish().reason();
      output_.Finish(reason_ != v1::FINISH_REASON_LENGTH, out);
      return absl::OkStatus();
    case v1::GenerateResponse::kUsage:
      usage_ = event.usage();
      usage_->set_prompt_tokens(prompt_tokens_);
      return absl::OkStatus();
    case v1::GenerateResponse::EVENT_NOT_SET:
      return absl::OkStatus();  // an event of a newer service
  }
  return absl::OkStatus();
}

void ResponsesReply::BeginOnce(std::string* out) {
  if (std::exchange(begun_, true) || !events_.streamed()) return;
  const std::string response = Render("in_progress", nullptr);
  events_.AppendResponse("response.created", response, out);
  events_.AppendResponse("response.in_progress", response, out);
}

std::string ResponsesReply::Render(const char* status, const Json& error) const {
  const bool incomplete = absl::string_view(status) == "incomplete";
  const Json head = {
      {"id", absl::StrCat("resp_", identity_.request_id)},
      {"object", "response"},
      {"created_at", identity_.created_seconds},
      {"status", status},
      {"background", false},
      {"error", error},
      {"incomplete_details", incomplete ? Json{{"reason", "max_output_tokens"}} : Json(nullptr)},
      {"model", model_},
      {"output", output_.Items()},
      {"previous_response_id", nullptr},
      {"service_tier", "default"},
      {"store", false},
      {"usage", usage_ ? ResponseUsageJson(*usage_) : Json(nullptr)}};
  std::string json = DumpJson(head);
  json.pop_back();
  return absl::StrCat(json, ",", options_->echo, "}");
}

absl::Status ResponsesReply::Finish(std::string* out) {
  if (reason_ == v1::FINISH_REASON_UNSPECIFIED || !usage_) {
    return absl::InternalError("the service ended its reply early");
  }
  const char* status = reason_ == v1::FINISH_REASON_LENGTH ? "incomplete" : "completed";
  const std::string response = Render(status, nullptr);
  if (!events_.streamed()) out->append(response);
  events_.AppendResponse(absl::StrCat("response.", status), response, out);
  return absl::OkStatus();
}

ApiError ResponsesReply::ErrorOf(const absl::Status& status) const {
  ReplyOptions names;
  names.api = OpenAiApi::kChat;
  names.max_tokens_field = "max_output_tokens";
  names.prompt_field = "input";
  names.structure_field = options_->structure_field;
  ApiError error = ToApiError(status, names);
  if (absl::StartsWith(error.param, "messages")) {  // turns are not the client's items
    error.message = absl::StrCat("input: ", error.message);
    error.param = "input";
  }
  for (const auto& [name, tool] : options_->tools) {
    const std::string function = absl::StrCat("tools[", tool.index, "].function");
    if (!absl::StartsWith(error.param, function)) continue;
    absl::StrReplaceAll({{function, tool.path}}, &error.message);
    error.param = absl::StrCat(tool.path, error.param.substr(function.size()));
    break;
  }
  return error;
}

void ResponsesReply::Fail(const ApiError& error, std::string* out) {
  BeginOnce(out);
  output_.Break();
  events_.AppendResponse("response.failed", Render("failed", ResponseErrorJson(error)), out);
}

}  // namespace tidal
