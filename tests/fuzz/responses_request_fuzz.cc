// libFuzzer entry: no body may crash the parser of Responses requests; what it refuses names a
// field or the body, what it accepts gives a header of bounded length, and a reply to it, in which
// the body is what a model says and calls, is events of one line each and a JSON object.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "nlohmann/json.hpp"
#include "server/responses/responses_api.h"

namespace {

using tidal::v1::GenerateResponse;

void Check(bool condition) {
  if (!condition) __builtin_trap();
}

void CheckRefusal(const absl::Status& status) {
  const tidal::ApiError error = tidal::ToApiError(status);
  Check(error.http_status == 400 && !error.message.empty());
  Check(!tidal::RenderError(error).empty());
}

// A name that the request may have offered: of its first tool.
std::string ToolName(const tidal::v1::Chat& chat) {
  if (chat.tools().empty()) return "f";
  const auto tool = nlohmann::json::parse(chat.tools(0));
  return tool["function"]["name"].get<std::string>();
}

void Feed(tidal::ApiReply& reply, const std::string& tool, const std::string& text,
          std::string* out) {
  GenerateResponse event;
  event.mutable_prompt()->set_model(text);
  Check(reply.OnEvent(0, event, out).ok());
  event.mutable_delta()->set_reasoning(text);
  event.mutable_delta()->set_text(text);
  event.mutable_delta()->add_logprobs()->mutable_token()->set_bytes(text);
  Check(reply.OnEvent(0, event, out).ok());
  event.mutable_delta()->Clear();
  tidal::v1::ToolCallDelta& call = *event.mutable_delta()->add_tool_calls();
  call.set_id("call");
  call.set_name(tool);
  Check(reply.OnEvent(0, event, out).ok());
  event.mutable_delta()->Clear();
  event.mutable_delta()->add_tool_calls()->set_arguments(text);
  Check(reply.OnEvent(0, event, out).ok());
  event.mutable_finish()->set_reason(tidal::v1::FINISH_REASON_TOOL_CALLS);
  Check(reply.OnEvent(0, event, out).ok());
  event.mutable_usage();
  Check(reply.OnEvent(0, event, out).ok());
  Check(reply.Finish(out).ok());
}

void CheckStream(const std::string& out) {
  for (const absl::string_view event : absl::StrSplit(out, "\n\n", absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> lines =
        absl::StrSplit(event, absl::MaxSplits('\n', 1));
    Check(absl::StartsWith(lines.first, "event: response."));
    Check(absl::StartsWith(lines.second, "data: {"));
    Check(!absl::StrContains(lines.second, '\n') && !absl::StrContains(lines.second, '\r'));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string body(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<tidal::ApiRequest> request = tidal::ReadResponses(body);
  if (!request.ok()) {
    CheckRefusal(request.status());
    return 0;
  }
  Check(request->calls.size() == 1 && request->calls[0].chat().messages_size() > 0);
  for (const auto& [name, value] : request->headers) {
    Check(value.size() < 2000);
    for (const char c : value) Check(c >= ' ' && c < 0x7F);
  }
  const std::string tool = ToolName(request->calls[0].chat());
  std::string out;
  Feed(*request->make_reply({"id", 0}), tool, body, &out);
  if (request->stream) {
    CheckStream(out);
  } else {
    Check(nlohmann::json::accept(out));
  }
  return 0;
}
