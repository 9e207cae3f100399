// Answers the gateway's requests: finds the route, checks the key, translates, calls the service.
#ifndef TIDAL_SERVER_GATEWAY_API_HANDLER_H_
#define TIDAL_SERVER_GATEWAY_API_HANDLER_H_

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "server/gateway/api_response.h"
#include "server/gateway/gateway.h"
#include "server/gateway/router.h"
#include "server/gateway/server_channel.h"
#include "server/generation/worker_pool.h"
#include "server/http/http_message.h"
#include "server/http/http_stats.h"

namespace tidal {

class Connection;

// Thread-safe. `options` and `stats` outlive it.
class ApiHandler {
 public:
  ApiHandler(const GatewayOptions& options, const HttpStats& stats,
             std::unique_ptr<ServerChannel> channel);

  // On the connection's strand. The request's id is RequestId()'s.
  void Handle(std::shared_ptr<Connection> connection, HttpRequest request);
  // The same for a port that knows only the paths that want no key.
  void HandlePublic(std::shared_ptr<Connection> connection, HttpRequest request);

  // From now on: not ready, and no new work.
  void Drain() { draining_ = true; }

 private:
  // Of the request, whose path loses its escapes and the root path.
  Route RouteOf(HttpRequest* request) const;
  // Takes the body out of the request, where it is large.
  void Answer(std::shared_ptr<Connection> connection, HttpRequest& request, const Route& route);
  void AnswerGenerate(std::shared_ptr<Connection> connection, HttpRequest& request,
                      const Route& route, ResponseContext context);
  // To the headers of the reply, where the client asks for one and this process knows its load.
  void AddLoadReport(const std::string& format, ApiRequest& request) const;
  void AnswerTokenize(const std::shared_ptr<Connection>& connection, HttpRequest& request,
                      const ResponseContext& context);
  void AnswerCountTokens(const std::shared_ptr<Connection>& connection, HttpRequest& request,
                         const ResponseContext& context);
  void AnswerDetokenize(const std::shared_ptr<Connection>& connection, HttpRequest& request,
                        const ResponseContext& context);
  // Parses the body on a thread of query_pool_, calls `method` of the stubs with parse(body), and
  // answers with what render(request, context) makes: HttpResponse(status, response), on that
  // thread too.
  template <typename Request, typename Response, typename Parse, typename Method, typename Render>
  void AnswerTokenQuery(const std::shared_ptr<Connection>& connection, HttpRequest& request,
                        const ResponseContext& context, Parse parse, Method method, Render render);
  // Calls `answer` with the request's body on a thread of query_pool_, or refuses.
  void AnswerOnQueryThread(const std::shared_ptr<Connection>& connection, HttpRequest& request,
                           const ResponseContext& context,
                           std::function<void(const std::string&)> answer);
  // `name` empty: all of them.
  void AnswerModels(std::shared_ptr<Connection> connection, const HttpRequest& request,
                    std::string name, const ResponseContext& context);
  void AnswerTokenizerInfo(std::shared_ptr<Connection> connection, const HttpRequest& request,
                           const ResponseContext& context);
  void AnswerReady(std::shared_ptr<Connection> connection, std::string request_id);
  HttpResponse StartedResponse(const std::string& request_id) const;
  HttpResponse LiveResponse(const std::string& request_id) const;
  HttpResponse LoadResponse(const ResponseContext& context) const;
  HttpResponse MetricsResponse(const std::string& request_id) const;

  const GatewayOptions& options_;
  const HttpStats& stats_;
  const std::unique_ptr<ServerChannel> channel_;
  std::atomic<bool> draining_ = false;
  WorkerPool query_pool_;  // last, so that it ends first: its jobs use the rest
};

}  // namespace tidal

#endif  // TIDAL_SERVER_GATEWAY_API_HANDLER_H_
