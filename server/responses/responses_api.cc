#include "server/responses/responses_api.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "server/responses/responses_reply.h"
#include "server/responses/responses_request.h"

namespace tidal {

absl::StatusOr<ApiRequest> ReadResponses(absl::string_view body) {
  TIDAL_ASSIGN_OR_RETURN(ResponsesRequest parsed, ParseResponsesRequest(body));
  ApiRequest request;
  request.request_id = std::move(parsed.request_id);
  request.stream = parsed.options.stream;
  if (!parsed.left_out.empty()) {
    request.headers.emplace_back(kLeftOutHeader, parsed.left_out.Header());
  }
  request.calls.push_back(std::move(parsed.call));
  request.make_reply = [options =
                            std::make_shared<const ResponsesOptions>(std::move(parsed.options))](
                           const ReplyIdentity& identity) -> std::unique_ptr<ApiReply> {
    return std::make_unique<ResponsesReply>(options, identity);
  };
  return request;
}

ApiError NoSuchResponse(absl::string_view id) {
  ApiError error =
      HttpError(404, absl::StrCat("response_id: must be of a stored response, got \"",
                                  id.substr(0, 64), "\": this server stores no responses"));
  error.param = "response_id";
  return error;
}

}  // namespace tidal
