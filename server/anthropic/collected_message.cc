#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/status_macros.h"
#include "engine/json/json_value.h"
#include "nlohmann/json.hpp"
#include "server/anthropic/messages_json.h"
#include "server/anthropic/messages_reply.h"
#include "server/openai/reply_json.h"

namespace tidal {
namespace {

// The arguments as the model wrote them: their keys keep their order, their numbers their digits.
// A call that was cut off, or makes no object, has none.
std::string InputText(absl::string_view arguments) {
  arguments = absl::StripAsciiWhitespace(arguments);
  if (!absl::StartsWith(arguments, "{") || !IsJson(arguments)) return "{}";
  return std::string(arguments);
}

// The object with `text`, JSON, as its last member of that name.
std::string WithMember(Json object, const char* name, absl::string_view text) {
  object.erase(name);
  std::string out = DumpJson(object);
  out.pop_back();
  return absl::StrCat(out, ",\"", name, "\":", text, "}");
}

}  // namespace

CollectedMessage::CollectedMessage(MessagesReplyOptions options, const ReplyIdentity& identity)
    : MessagesReply(options, identity), content_(this) {}

absl::Status CollectedMessage::OnEvent(size_t call, const v1::GenerateResponse& event,
                                       std::string* /*out*/) {
  TIDAL_RETURN_IF_ERROR(Accept(call, event));
  if (event.has_delta()) content_.Add(event.delta());
  return absl::OkStatus();
}

absl::Status CollectedMessage::Finish(std::string* out) {
  TIDAL_RETURN_IF_ERROR(CheckComplete());
  content_.Finish();
  const auto append = [this](std::string* text, const Block& block) {
    text->append(BlockText(block));
  };
  out->append(WithMember(MessageJson(/*complete=*/true, content_.has_called()), "content",
                         absl::StrCat("[", absl::StrJoin(blocks_, ",", append), "]")));
  return absl::OkStatus();
}

std::string CollectedMessage::BlockText(const Block& block) const {
  Json json = EmptyBlockJson(block.kind, block.id, block.name);
  if (block.kind == BlockKind::kToolUse) {
    return WithMember(std::move(json), "input", InputText(block.text));
  }
  if (block.kind == BlockKind::kText) json["text"] = block.text;
  if (block.kind == BlockKind::kThinking) {
    if (options_.show_thinking) json["thinking"] = block.text;
    json["signature"] = kSignature;
  }
  return DumpJson(json);
}

void CollectedMessage::Fail(const ApiError& /*error*/, std::string* /*out*/) {}

void CollectedMessage::Open(BlockKind kind, const std::string& id, const std::string& name) {
  blocks_.push_back({kind, id, name, ""});
}

void CollectedMessage::Append(absl::string_view piece) {
  absl::StrAppend(&blocks_.back().text, piece);
}

void CollectedMessage::Close() {}

}  // namespace tidal
