// libFuzzer entry: no body may crash the parser of Messages requests; what it refuses names a field
// or the body, and what it accepts, used as the text of a reply, gives a message.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "nlohmann/json.hpp"
#include "server/anthropic/messages_api.h"
#include "server/anthropic/messages_error.h"
#include "server/anthropic/messages_request.h"

namespace {

using tidal::v1::GenerateResponse;

void Check(bool condition) {
  if (!condition) __builtin_trap();
}

void CheckRefusal(const absl::Status& status) {
  const tidal::ApiError error = tidal::ToMessagesError(status);
  Check(error.http_status == 400 && !error.message.empty());
  Check(nlohmann::json::accept(tidal::RenderMessagesError(error, "id")));
}

// The service parses these again, and takes them for objects.
void CheckChat(const tidal::v1::Chat& chat) {
  Check(chat.messages_size() > 0);
  for (const tidal::v1::ChatMessage& message : chat.messages()) {
    for (const std::string& call : message.tool_calls()) {
      const nlohmann::json arguments = nlohmann::json::parse(call)["function"]["arguments"];
      Check(nlohmann::json::parse(arguments.get<std::string>()).is_object());
    }
  }
  for (const std::string& tool : chat.tools()) {
    Check(nlohmann::json::parse(tool)["function"]["parameters"].is_object());
  }
  if (!chat.chat_template_kwargs().empty()) {
    Check(nlohmann::json::parse(chat.chat_template_kwargs()).is_object());
  }
}

void CheckReply(const tidal::ApiRequest& request, const std::string& text) {
  Check(request.calls.size() == 1);
  const std::unique_ptr<tidal::ApiReply> reply = request.make_reply({"id", 0});
  std::string out;
  GenerateResponse event;
  event.mutable_prompt();
  Check(reply->OnEvent(0, event, &out).ok());
  event.mutable_delta()->set_text(text);
  event.mutable_delta()->set_reasoning(text);
  tidal::v1::ToolCallDelta& call = *event.mutable_delta()->add_tool_calls();
  call.set_id("id");
  call.set_arguments(text);
  Check(reply->OnEvent(0, event, &out).ok());
  event.mutable_finish();
  Check(reply->OnEvent(0, event, &out).ok());
  event.mutable_usage();
  Check(reply->OnEvent(0, event, &out).ok());
  Check(reply->Finish(&out).ok());
  Check(request.stream || nlohmann::json::accept(out));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string body(reinterpret_cast<const char*>(data), size);
  if (const auto request = tidal::ReadMessages(body); request.ok()) {
    CheckChat(request->calls[0].chat());
    CheckReply(*request, body);
  } else {
    CheckRefusal(request.status());
  }
  if (const auto count = tidal::ParseCountTokensRequest(body); count.ok()) {
    CheckChat(count->chat());
  } else {
    CheckRefusal(count.status());
  }
  return 0;
}
