#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/anthropic/messages_error.h"
#include "server/anthropic/messages_json.h"
#include "server/anthropic/messages_reply.h"
#include "server/openai/reply_json.h"

namespace tidal {

StreamedMessage::StreamedMessage(MessagesReplyOptions options, const ReplyIdentity& identity)
    : MessagesReply(options, identity), request_id_(identity.request_id), content_(this) {}

absl::Status StreamedMessage::OnEvent(size_t call, const v1::GenerateResponse& event,
                                      std::string* out) {
  TIDAL_RETURN_IF_ERROR(Accept(call, event));
  out_ = out;
  if (event.has_prompt()) {
    AppendEvent("message_start", {{"message", MessageJson(/*complete=*/false, /*called=*/false)}});
  } else if (event.has_delta()) {
    content_.Add(event.delta());
  }
  return absl::OkStatus();
}

absl::Status StreamedMessage::Finish(std::string* out) {
  TIDAL_RETURN_IF_ERROR(CheckComplete());
  out_ = out;
  content_.Finish();
  Json delta = {{"stop_reason", nullptr}};
  AddStopReason(content_.has_called(), &delta);
  AppendEvent("message_delta", {{"delta", std::move(delta)}, {"usage", UsageJson()}});
  AppendEvent("message_stop", Json::object());
  return absl::OkStatus();
}

void StreamedMessage::Fail(const ApiError& error, std::string* out) {
  absl::StrAppend(out, "event: error\ndata: ", RenderMessagesError(error, request_id_), "\n\n");
}

void StreamedMessage::Open(BlockKind kind, const std::string& id, const std::string& name) {
  kind_ = kind;
  AppendEvent("content_block_start",
              {{"index", num_blocks_++}, {"content_block", EmptyBlockJson(kind, id, name)}});
}

void StreamedMessage::Append(absl::string_view piece) {
  const std::string text(piece);
  switch (kind_) {
    case BlockKind::kThinking:
      if (options_.show_thinking) AppendDelta({{"type", "thinking_delta"}, {"thinking", text}});
      break;
    case BlockKind::kText:
      AppendDelta({{"type", "text_delta"}, {"text", text}});
      break;
    case BlockKind::kToolUse:
      AppendDelta({{"type", "input_json_delta"}, {"partial_json", text}});
      break;
  }
}

void StreamedMessage::Close() {
  if (kind_ == BlockKind::kThinking) {
    AppendDelta({{"type", "signature_delta"}, {"signature", kSignature}});
  }
  AppendEvent("content_block_stop", {{"index", num_blocks_ - 1}});
}

void StreamedMessage::AppendDelta(Json delta) {
  AppendEvent("content_block_delta", {{"index", num_blocks_ - 1}, {"delta", std::move(delta)}});
}

void StreamedMessage::AppendEvent(const char* type, const Json& fields) {
  Json json = {{"type", type}};
  json.update(fields);
  absl::StrAppend(out_, "event: ", type, "\ndata: ", DumpJson(json), "\n\n");
}

}  // namespace tidal
