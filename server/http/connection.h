// One HTTP connection: reads requests one after the other, hands each to the handler, writes its
// reply. Pipelined requests wait in a bounded buffer until the reply before them is out.
//
// Runs on a strand of its own: everything but Post() and Close() is called there. It keeps
// itself alive while it has work with the socket, and keeps the io context running while it lives.
#ifndef TIDAL_SERVER_HTTP_CONNECTION_H_
#define TIDAL_SERVER_HTTP_CONNECTION_H_

#include <array>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "server/config/door_config.h"
#include "server/http/http_message.h"
#include "server/http/http_stats.h"
#include "server/http/request_parser.h"
#include "server/net/deadline.h"
#include "server/net/transport.h"

namespace tidal {

// What a connection refuses by itself.
struct Refusal {
  int status = 0;
  absl::string_view message;
  std::string request_id;
  std::string path;  // as HttpRequest's; empty where no header came
};

struct ConnectionOptions {
  HttpLimits limits;
  size_t max_body_bytes = 10 << 20;
  std::vector<std::string> allowed_origins;  // see AddCorsHeaders()
  // The reply to what the connection itself refuses, such as a header that is too large: its body
  // is in the form of the API that is spoken at its path, which a connection does not know. On a
  // strand.
  std::function<HttpResponse(const Refusal& refusal)> render_refusal;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  // Called on the strand with each request; answers it by Respond(), or by BeginStream() to
  // EndStream(), at once or later.
  using Handler = std::function<void(std::shared_ptr<Connection>, HttpRequest)>;

  // The transport's socket runs on a strand of `io`. `options`, `handler` and `stats` outlive the
  // io context's run.
  Connection(std::shared_ptr<boost::asio::io_context> io, Transport transport,
             const ConnectionOptions& options, const Handler& handler, HttpStats& stats);
  ~Connection();

  void Start();
  // Instead of Start(): answers 503 without reading a request, and closes. With TLS it closes at
  // once: a handshake is work.
  void Reject();

  // From any thread.
  void Post(std::function<void()> task);
  void Close();  // at once, also in the middle of a reply

  // The strand.
  boost::asio::any_io_executor executor() { return transport_.socket().get_executor(); }

  // The route that answers, for the statistics. Starts as "other".
  void set_route(const std::string& route);

  void Respond(HttpResponse response);

  // A streamed reply. Write() never blocks; what the socket has not taken yet is unsent_bytes().
  void BeginStream(HttpHeaders more_headers);
  void Write(absl::string_view data);
  void EndStream(bool keep_alive);
  size_t unsent_bytes() const { return out_.size() + in_flight_.size(); }

  // Calls, while one request is answered, `on_sent` after each piece the socket took, and `on_gone`
  // once, where the client leaves or the connection is closed before the reply is complete.
  void WatchClient(std::function<void()> on_sent, std::function<void()> on_gone);

 private:
  enum class State {
    kReading,    // a request
    kHandling,   // its reply is awaited or streamed
    kFlushing,   // the reply is complete, not all sent
    kLingering,  // our side is shut; reads on so that the client can read the reply to its end
    kClosed,
  };

  void BeginReading();
  void Read();
  void OnRead(size_t size);
  void OnInputEnd();
  void Parse();
  bool HoldBytes(size_t size);
  void OnBadRequest(RequestParser::State fault);
  void Dispatch();
  void RespondAndClose(int status, absl::string_view message);
  void Flush();
  void OnSent();
  void FinishReply();
  void ExpectRequest();
  void Linger();
  void CloseOnStrand();
  void StartRequest();
  void EndRequest(int status);

  void SetDeadline(absl::Duration from_now);
  void OnDeadline();

  // First, so that they go last: the connection may end on a thread of gRPC.
  const std::shared_ptr<boost::asio::io_context> io_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  Transport transport_;
  Deadline deadline_;
  const ConnectionOptions& options_;
  const Handler& handler_;
  HttpStats& stats_;

  State state_ = State::kReading;
  bool input_closed_ = false;
  bool read_pending_ = false;
  std::array<char, 8192> read_chunk_;
  std::string input_;  // read, not parsed yet
  std::optional<RequestParser> parser_;
  size_t held_bytes_ = 0;  // counted in stats_, for this request
  bool header_started_ = false;
  bool header_done_ = false;

  bool keep_alive_ = false;
  bool chunked_ = false;
  bool head_only_ = false;
  bool request_cut_ = false;  // refused before its end
  bool request_running_ = false;
  int status_ = 0;
  std::string route_;
  std::string origin_;  // of the request that is answered; empty: it named none
  std::function<void()> on_sent_;
  std::function<void()> on_gone_;

  std::string out_;        // to send next
  std::string in_flight_;  // being sent; one write at a time
};

}  // namespace tidal

#endif  // TIDAL_SERVER_HTTP_CONNECTION_H_
