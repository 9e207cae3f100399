// Answers one request of an API that generates: runs its calls, feeds their events into its reply.
#ifndef TIDAL_SERVER_GATEWAY_GENERATE_EXCHANGE_H_
#define TIDAL_SERVER_GATEWAY_GENERATE_EXCHANGE_H_

#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/gateway/api_response.h"
#include "server/gateway/generate_call.h"
#include "server/http/http_span.h"
#include "server/openai/api_reply.h"

namespace tidal {

class Connection;

// Lives on the connection's strand.
class GenerateExchange : public std::enable_shared_from_this<GenerateExchange> {
 public:
  // A streamed reply stops reading events while `max_unsent_bytes` wait for the client.
  static void Start(std::shared_ptr<Connection> connection,
                    std::shared_ptr<const ServerChannel::Stubs> stubs, ApiRequest request,
                    const CallMetadata& metadata, ResponseContext context, size_t max_unsent_bytes,
                    std::unique_ptr<HttpSpan> span);

 private:
  GenerateExchange(std::shared_ptr<Connection> connection, const ApiRequest& request,
                   ResponseContext context, size_t max_unsent_bytes,
                   std::unique_ptr<HttpSpan> span);

  void StartCalls(const std::shared_ptr<const ServerChannel::Stubs>& stubs, ApiRequest request,
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
  const ResponseContext context_;
  const HttpHeaders headers_;  // the API's own, of a reply that is no error
  const bool stream_;
  const size_t max_unsent_bytes_;
  const std::unique_ptr<HttpSpan> span_;
  const std::unique_ptr<ApiReply> reply_;
  std::vector<std::shared_ptr<GenerateCall>> calls_;
  std::vector<bool> paused_;   // by call: has an event behind it and waits for the client
  std::vector<bool> started_;  // by call: accepted by the service
  size_t num_done_ = 0;
  bool streaming_ = false;  // the head of the reply is out
  bool ended_ = false;
  std::string pending_;                   // of the reply, not written yet
  boost::asio::steady_timer head_timer_;  // until the head of a stream goes without an event
};

}  // namespace tidal

#endif  // TIDAL_SERVER_GATEWAY_GENERATE_EXCHANGE_H_
