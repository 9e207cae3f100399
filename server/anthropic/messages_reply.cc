#include "server/anthropic/messages_reply.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/anthropic/messages_error.h"
#include "server/anthropic/messages_json.h"
#include "server/openai/reply_json.h"

namespace tidal {

MessagesReply::MessagesReply(MessagesReplyOptions options, const ReplyIdentity& identity)
    : options_(options), id_(absl::StrCat("msg_", identity.request_id)) {}

ApiError MessagesReply::ErrorOf(const absl::Status& status) const {
  return ToMessagesError(status);
}

absl::Status MessagesReply::Accept(size_t call, const v1::GenerateResponse& event) {
  const uint32_t output = event.has_delta()    ? event.delta().index()
                          : event.has_finish() ? event.finish().index()
                                               : 0;
  if (call != 0 || output != 0) {
    return absl::InternalError(absl::StrCat("the service answered with output ", output, " of 1"));
  }
  switch (event.event_case()) {
    case v1::GenerateResponse::kPrompt:
      model_ = event.prompt().model();
      usage_.set_prompt_tokens(event.prompt().prompt_tokens());
      break;
    case v1::GenerateResponse::kFinish:
      finish_ = event.finish();
      finished_ = true;
      break;
    case v1::GenerateResponse::kUsage: {
      const uint32_t prompt_tokens = usage_.prompt_tokens();
      usage_ = event.usage();
      usage_.set_prompt_tokens(prompt_tokens);
      has_usage_ = true;
      break;
    }
    case v1::GenerateResponse::kDelta:
    case v1::GenerateResponse::EVENT_NOT_SET:  // an event of a newer service
      break;
  }
  return absl::OkStatus();
}

absl::Status MessagesReply::CheckComplete() const {
  if (finished_ && has_usage_) return absl::OkStatus();
  return absl::InternalError("the service ended its reply early");
}

Json MessagesReply::UsageJson() const {
  // Before the usage has come nobody knows how much of the prompt was cached: it counts whole.
  const uint32_t cached = std::min(usage_.cached_tokens(), usage_.prompt_tokens());
  Json json = {{"input_tokens", usage_.prompt_tokens() - cached},
               {"cache_creation_input_tokens", 0},
               {"cache_read_input_tokens", cached},
               {"output_tokens", usage_.completion_tokens()}};
  if (usage_.reasoning_tokens() > 0) {
    json["output_tokens_details"] = {{"thinking_tokens", usage_.reasoning_tokens()}};
  }
  if (has_usage_) json["attention"] = AttentionJson(usage_.attention());
  return json;
}

void MessagesReply::AddStopReason(bool called, Json* json) const {
  (*json)["stop_sequence"] = nullptr;
  if (finish_.reason() == v1::FINISH_REASON_LENGTH) {
    const bool asked_for = usage_.completion_tokens() >= options_.max_tokens;
    (*json)["stop_reason"] = asked_for ? "max_tokens" : "model_context_window_exceeded";
  } else if (!finish_.stop_string().empty()) {
    (*json)["stop_reason"] = "stop_sequence";
    (*json)["stop_sequence"] = finish_.stop_string();
  } else {
    (*json)["stop_reason"] = called ? "tool_use" : "end_turn";
  }
}

Json MessagesReply::MessageJson(bool complete, bool called) const {
  Json json = {{"id", id_},
               {"type", "message"},
               {"role", "assistant"},
               {"model", model_},
               {"content", Json::array()},
               {"stop_reason", nullptr},
               {"stop_sequence", nullptr}};
  if (complete) AddStopReason(called, &json);
  json["usage"] = UsageJson();
  return json;
}

}  // namespace tidal
