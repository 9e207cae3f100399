// From the events of a call to a Response object, or to the events of one that is streamed.
#ifndef TIDAL_SERVER_RESPONSES_RESPONSES_REPLY_H_
#define TIDAL_SERVER_RESPONSES_RESPONSES_REPLY_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "nlohmann/json_fwd.hpp"
#include "server/openai/api_reply.h"
#include "server/responses/response_events.h"
#include "server/responses/response_output.h"
#include "server/responses/responses_request.h"

namespace tidal {

// Not thread-safe.
class ResponsesReply : public ApiReply {
 public:
  ResponsesReply(std::shared_ptr<const ResponsesOptions> options, const ReplyIdentity& identity);

  absl::Status OnEvent(size_t call, const v1::GenerateResponse& event, std::string* out) override;
  absl::Status Finish(std::string* out) override;
  ApiError ErrorOf(const absl::Status& status) const override;
  // Also where nothing came yet: a client must see a response begin before it fails.
  void Fail(const ApiError& error, std::string* out) override;

 private:
  // "response.created" and "response.in_progress", once.
  void BeginOnce(std::string* out);
  // The Response object; `error` null where there is none.
  std::string Render(const char* status, const nlohmann::ordered_json& error) const;

  const std::shared_ptr<const ResponsesOptions> options_;
  const ReplyIdentity identity_;
  ResponseEvents events_;
  ResponseOutput output_;
  std::string model_;
  bool begun_ = false;
  v1::FinishReason reason_ = v1::FINISH_REASON_UNSPECIFIED;
  uint32_t prompt_tokens_ = 0;
  std::optional<v1::Usage> usage_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_RESPONSES_RESPONSES_REPLY_H_
