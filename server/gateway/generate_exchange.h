// Answers one completions or chat request: runs its calls and feeds their events into its reply.
#ifndef TIDAL_SERVER_GATEWAY_GENERATE_EXCHANGE_H_
#define TIDAL_SERVER_GATEWAY_GENERATE_EXCHANGE_H_

#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "server/gateway/generate_call.h"
#include "server/http/http_span.h"
#include "server/openai/openai_codec.h"
#include "server/openai/openai_reply.h"

namespace tidal {

class Connection;

// Lives on the connection's strand.
class GenerateExchange : public std::enable_shared_from_this<GenerateExchange> {
 public:
  // A streamed reply stops reading events while `max_unsent_bytes` wait for the client.
  static void Start(std::shared_ptr<Connection> connection,
                    std::shared_ptr<const ServerChannel::Stubs> stubs, OpenAiRequest request,
                    const CallMetadata& metadata, std::string request_id, size_t max_unsent_bytes,
                    std::unique_ptr<HttpSpan> span);

 private:
  GenerateExchange(std::shared_ptr<Connection> connection, const OpenAiRequest& request,
                   std::string request_id, size_t max_unsent_bytes, std::unique_ptr<HttpSpan> span);

  void StartCalls(const std::shared_ptr<const ServerChannel::Stubs>& stubs, OpenAiRequest request,
                  const CallMetadata& metadata);
  void OnEvent(size_t call, const v1::GenerateResponse& event);
  void OnDone(size_t call, const absl::Status& status);
  void BeginStream();
  void BeginStreamSoon();
  void SendStream();
  void ResumeReading();
  void Finish();
  void Fail(const absl::Status& status);
  void CancelCalls();
  size_t backlog() const;

  const std::shared_ptr<Connection> connection_;
  const ReplyOptions options_;
  const std::string request_id_;
  const size_t max_unsent_bytes_;
  const std::unique_ptr<HttpSpan> span_;
  std::variant<CollectedReply, StreamedReply> reply_;
  std::vector<std::shared_ptr<GenerateCall>> calls_;
  std::vector<bool> paused_;   // by call: has an event behind it and waits for the client
  std::vector<bool> started_;  // by call: accepted by the service
  size_t num_done_ = 0;
  bool streaming_ = false;  // the head of the reply is out
  bool ended_ = false;
  std::string pending_;                   // server-sent events, not written yet
  boost::asio::steady_timer head_timer_;  // until the head of a stream goes without an event
};

}  // namespace tidal

#endif  // TIDAL_SERVER_GATEWAY_GENERATE_EXCHANGE_H_
