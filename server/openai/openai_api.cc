#include "server/openai/openai_api.h"

#include <memory>
#include <utility>

#include "engine/base/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/openai/json_fields.h"
#include "server/openai/openai_codec.h"
#include "server/openai/openai_reply.h"

namespace tidal {
namespace {

ApiRequest ToApiRequest(OpenAiRequest request) {
  ApiRequest result;
  result.calls = std::move(request.calls);
  result.request_id = std::move(request.request_id);
  result.stream = request.reply.stream;
  result.make_reply = [options = std::move(request.reply)](
                          const ReplyIdentity& identity) mutable -> std::unique_ptr<ApiReply> {
    if (identity.defaults.force_include_usage) {
      options.include_usage = true;
      options.continuous_usage_stats = true;
    }
    if (identity.defaults.return_tokens_as_token_ids && !options.token_names) {
      options.token_names = TokenNames::kIds;
    }
    const std::string id = ReplyId(options.api, identity.request_id);
    if (options.stream) {
      return std::make_unique<StreamedReply>(options, id, identity.created_seconds);
    }
    return std::make_unique<CollectedReply>(options, id, identity.created_seconds);
  };
  return result;
}

}  // namespace

absl::StatusOr<ApiRequest> ReadCompletions(absl::string_view body) {
  TIDAL_ASSIGN_OR_RETURN(OpenAiRequest request, ParseCompletionRequest(body));
  return ToApiRequest(std::move(request));
}

absl::StatusOr<ApiRequest> ReadChatCompletions(absl::string_view body) {
  TIDAL_ASSIGN_OR_RETURN(OpenAiRequest request, ParseChatRequest(body));
  return ToApiRequest(std::move(request));
}

absl::StatusOr<ApiRequest> ReadChatBatch(absl::string_view body) {
  TIDAL_ASSIGN_OR_RETURN(OpenAiRequest request, ParseChatBatchRequest(body));
  return ToApiRequest(std::move(request));
}

absl::StatusOr<ApiRequest> ReadInvocation(absl::string_view body) {
  TIDAL_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJsonObject(body));
  return json.contains("messages") ? ReadChatCompletions(body) : ReadCompletions(body);
}

const ApiFormat kOpenAiFormat = {
    [](const ApiError& error, const std::string&) { return RenderError(error); }};

}  // namespace tidal
