// libFuzzer entry: no body may crash the JSON codec; what it refuses names a field or the body, and
// what it accepts, used as the text of a reply, gives a reply.
#include <cstddef>
#include <cstdint>

#include "server/generation/request_limits.h"
#include "server/openai/openai_codec.h"
#include "server/openai/openai_error.h"
#include "server/openai/openai_reply.h"

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

// The same events into both kinds of reply.
template <typename Accept>
void Feed(const tidal::OpenAiRequest& request, const std::string& text, const Accept& accept) {
  for (size_t call = 0; call < request.calls.size(); ++call) {
    GenerateResponse event;
    event.mutable_prompt()->set_prompt_tokens(2);
    for (int i = 0; i < 2; ++i) {
      event.mutable_prompt()->add_logprobs()->mutable_token()->set_token(text);
    }
    accept(call, event);
    event.mutable_delta()->set_text(text);
    event.mutable_delta()->add_logprobs()->mutable_token()->set_token(text);
    event.mutable_delta()->add_tool_calls()->set_arguments(text);
    accept(call, event);
    for (uint32_t index = 0; index < request.reply.n; ++index) {
      event.mutable_finish()->set_index(index);
      accept(call, event);
    }
    event.mutable_usage();
    accept(call, event);
  }
}

void CheckReplies(tidal::OpenAiRequest request, const std::string& text) {
  Check(request.reply.n <= tidal::kMaxOutputs);  // a place for each is taken at once
  tidal::CollectedReply collected(request.reply, "id", 0);
  if (request.reply.n > 16) return;  // slow, and no different
  std::string out;
  Feed(request, text, [&](size_t call, const GenerateResponse& event) {
    Check(collected.OnEvent(call, event, &out).ok());
  });
  Check(collected.Finish(&out).ok());
  tidal::StreamedReply streamed(request.reply, "id", 0);
  Feed(request, text, [&](size_t call, const GenerateResponse& event) {
    Check(streamed.OnEvent(call, event, &out).ok());
  });
  Check(streamed.Finish(&out).ok());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string body(reinterpret_cast<const char*>(data), size);
  for (const auto parse : {tidal::ParseCompletionRequest, tidal::ParseChatRequest}) {
    const absl::StatusOr<tidal::OpenAiRequest> request = parse(body);
    request.ok() ? CheckReplies(*request, body) : CheckRefusal(request.status());
  }
  if (const auto tokenize = tidal::ParseTokenizeRequest(body); !tokenize.ok()) {
    CheckRefusal(tokenize.status());
  }
  if (const auto detokenize = tidal::ParseDetokenizeRequest(body); !detokenize.ok()) {
    CheckRefusal(detokenize.status());
  }
  return 0;
}
