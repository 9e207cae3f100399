#include "server/anthropic/messages_api.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "server/anthropic/messages_error.h"
#include "server/anthropic/messages_reply.h"
#include "server/anthropic/messages_request.h"

namespace tidal {

absl::StatusOr<ApiRequest> ReadMessages(absl::string_view body) {
  TIDAL_ASSIGN_OR_RETURN(MessagesRequest request, ParseMessagesRequest(body));
  ApiRequest result;
  result.stream = request.reply.stream;
  if (!request.left_out.empty()) {
    result.headers.emplace_back(kLeftOutHeader, request.left_out.Header());
  }
  result.calls.push_back(std::move(request.call));
  result.make_reply =
      [options = request.reply](const ReplyIdentity& identity) -> std::unique_ptr<ApiReply> {
    if (options.stream) return std::make_unique<StreamedMessage>(options, identity);
    return std::make_unique<CollectedMessage>(options, identity);
  };
  return result;
}

std::string RenderCountTokensResponse(const v1::TokenizeResponse& response) {
  return absl::StrCat("{\"input_tokens\":", response.token_ids_size(), "}");
}

const ApiFormat kMessagesFormat = {RenderMessagesError, "request-id"};

}  // namespace tidal
