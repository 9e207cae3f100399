#include "server/http/connection.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/http/cors.h"
#include "server/http/request_id.h"

namespace tidal {
namespace {

namespace net = boost::asio;
using boost::system::error_code;

// Bytes a client may send ahead of the reply it waits for.
constexpr size_t kMaxPipelinedBytes = 64 << 10;
// Requests up to this size are taken even where the memory for requests is full.
constexpr size_t kSmallRequestBytes = 64 << 10;
// What the system holds for a client that takes nothing. Its own choice grows to megabytes, which
// hides such a client from the write timeout.
constexpr int kSendBufferBytes = 128 << 10;
// How long a closing connection still takes (and drops) what the client sends: closing a socket
// with unread input resets it, and the client would lose the reply.
constexpr absl::Duration kLingerTimeout = absl::Seconds(5);

}  // namespace

Connection::Connection(std::shared_ptr<net::io_context> io, Transport transport,
                       const ConnectionOptions& options, const Handler& handler, HttpStats& stats)
    : io_(std::move(io)),
      work_(net::make_work_guard(*io_)),
      transport_(std::move(transport)),
      deadline_(transport_.socket().get_executor(), [this] { OnDeadline(); }),
      options_(options),
      handler_(handler),
      stats_(stats),
      route_("other") {
  stats_.ConnectionOpened();
}

Connection::~Connection() { stats_.ConnectionClosed(); }

void Connection::Start() {
  Post([self = shared_from_this()] {
    error_code ignored;
    net::ip::tcp::socket& socket = self->transport_.socket();
    socket.set_option(net::ip::tcp::no_delay(true), ignored);
    socket.set_option(net::socket_base::send_buffer_size(kSendBufferBytes), ignored);
    if (!self->transport_.is_tls()) return self->BeginReading();
    self->SetDeadline(self->options_.limits.http_header_timeout);
    self->transport_.Handshake([self](const error_code& error) {
      if (self->state_ == State::kClosed) return;
      error ? self->CloseOnStrand() : self->BeginReading();
    });
  });
}

void Connection::BeginReading() {
  ExpectRequest();
  Read();
}

void Connection::Reject() {
  Post([self = shared_from_this()] {
    if (self->transport_.is_tls()) return self->CloseOnStrand();
    self->StartRequest();
    self->RespondAndClose(503, "the server has too many connections");
    self->Read();
  });
}

void Connection::Post(std::function<void()> task) {
  // The task may be the connection's last, and end before post() returns. Then the strand lives in
  // the executor below alone, and needs the io context a little longer.
  const std::shared_ptr<net::io_context> io = io_;
  net::post(transport_.socket().get_executor(),
            [self = shared_from_this(), task = std::move(task)] { task(); });
}

void Connection::Close() {
  Post([self = shared_from_this()] { self->CloseOnStrand(); });
}

void Connection::set_route(const std::string& route) {
  stats_.RequestRouted(route_, route);
  route_ = route;
}

void Connection::WatchClient(std::function<void()> on_sent, std::function<void()> on_gone) {
  if (state_ == State::kClosed) return on_gone();
  on_sent_ = std::move(on_sent);
  on_gone_ = std::move(on_gone);
}

// One read is always outstanding, so that a client that leaves is noticed while it waits.
void Connection::Read() {
  if (read_pending_ || input_closed_ || state_ == State::kClosed) return;
  if (state_ != State::kReading && input_.size() >= kMaxPipelinedBytes) return;
  read_pending_ = true;
  transport_.ReadSome(net::buffer(read_chunk_),
                      [self = shared_from_this()](const error_code& error, size_t size) {
                        self->read_pending_ = false;
                        if (self->state_ == State::kClosed) return;
                        if (error) {
                          self->input_closed_ = true;
                          self->OnInputEnd();
                        } else {
                          self->OnRead(size);
                        }
                      });
}

void Connection::OnRead(size_t size) {
  if (state_ == State::kLingering) return Read();
  input_.append(read_chunk_.data(), size);
  if (state_ != State::kReading) return Read();
  if (HoldBytes(size)) return Parse();
  StartRequest();
  RespondAndClose(503, "the server holds too many bytes of requests");
  Read();
}

// False where this request is one of those that fill the memory for requests.
bool Connection::HoldBytes(size_t size) {
  held_bytes_ += size;
  const size_t all = stats_.HoldBytes(size);
  return all <= static_cast<size_t>(options_.limits.max_held_request_bytes) ||
         held_bytes_ <= kSmallRequestBytes;
}

void Connection::OnInputEnd() {
  // A reply that is complete is still sent: the client may have shut only its own side.
  if (state_ != State::kFlushing) CloseOnStrand();
}

void Connection::Parse() {
  if (input_.empty()) return Read();
  if (!header_started_) {
    header_started_ = true;
    SetDeadline(options_.limits.http_header_timeout);
  }
  absl::string_view rest = input_;
  const RequestParser::State parsed = parser_->Put(&rest);
  input_.erase(0, input_.size() - rest.size());
  switch (parsed) {
    case RequestParser::State::kHeader:
      return Read();
    case RequestParser::State::kBody:
      if (!header_done_) {
        header_done_ = true;
        SetDeadline(options_.limits.http_body_timeout);
        if (parser_->expects_continue()) {
          out_ += "HTTP/1.1 100 Continue\r\n\r\n";
          Flush();
        }
      }
      return Read();
    case RequestParser::State::kDone:
      return Dispatch();
    default:
      return OnBadRequest(parsed);
  }
}

void Connection::OnBadRequest(RequestParser::State fault) {
  StartRequest();
  if (fault == RequestParser::State::kBodyTooLarge) {
    RespondAndClose(413, absl::StrCat("body: must be at most ", options_.max_body_bytes, " bytes"));
  } else if (fault == RequestParser::State::kHeaderTooLarge) {
    RespondAndClose(
        431, absl::StrCat("header: must be at most ", options_.limits.max_header_bytes, " bytes"));
  } else {
    RespondAndClose(400, absl::StrCat("the request cannot be read: ", parser_->fault()));
  }
  Read();
}

void Connection::Dispatch() {
  HttpRequest request = parser_->Release();
  parser_.reset();
  state_ = State::kHandling;
  deadline_.Clear();
  StartRequest();
  status_ = 0;
  request.request_id = RequestId(request.request_id);
  origin_ = request.origin;
  keep_alive_ = request.keep_alive;
  chunked_ = request.chunked_ok;
  head_only_ = request.method == "HEAD";
  handler_(shared_from_this(), std::move(request));
  Read();
}

void Connection::Respond(HttpResponse response) {
  if (state_ == State::kClosed) return;
  status_ = response.status;
  HttpHeaders headers = std::move(response.headers);
  AddCorsHeaders(options_.allowed_origins, origin_, &headers);
  headers.emplace_back("Content-Type", std::move(response.content_type));
  headers.emplace_back("Content-Length", absl::StrCat(response.body.size()));
  headers.emplace_back("Connection", keep_alive_ ? "keep-alive" : "close");
  out_ += RenderHead(response.status, headers);
  if (!head_only_) out_ += response.body;
  state_ = State::kFlushing;
  Flush();
}

void Connection::RespondAndClose(int status, absl::string_view message) {
  keep_alive_ = false;
  head_only_ = false;
  origin_ = parser_.has_value() ? parser_->header("Origin") : "";
  Refusal refusal;
  refusal.status = status;
  refusal.message = message;
  refusal.request_id = RequestId(parser_.has_value() ? parser_->header("X-Request-Id") : "");
  if (parser_.has_value()) refusal.path = parser_->path();
  // What came of the request goes at once: the client takes its time for the reply.
  request_cut_ = parser_.has_value();
  parser_.reset();
  input_ = std::string();
  stats_.ReleaseBytes(std::exchange(held_bytes_, 0));
  Respond(options_.render_refusal(refusal));
}

void Connection::BeginStream(HttpHeaders more_headers) {
  if (state_ == State::kClosed) return;
  status_ = 200;
  if (!chunked_) keep_alive_ = false;  // the end of the connection ends the body
  HttpHeaders headers = {
      {"Content-Type", "text/event-stream; charset=utf-8"},
      {"Cache-Control", "no-cache"},
      {"X-Accel-Buffering", "no"}};  // tells reverse proxies to pass events on at once
  std::move(more_headers.begin(), more_headers.end(), std::back_inserter(headers));
  headers.emplace_back("Connection", keep_alive_ ? "keep-alive" : "close");
  AddCorsHeaders(options_.allowed_origins, origin_, &headers);
  if (chunked_) headers.emplace_back("Transfer-Encoding", "chunked");
  out_ += RenderHead(200, headers);
  Flush();
}

void Connection::Write(absl::string_view data) {
  if (state_ != State::kHandling || data.empty()) return;
  if (chunked_) {
    out_ += RenderChunk(data);
  } else {
    absl::StrAppend(&out_, data);
  }
  Flush();
}

void Connection::EndStream(bool keep_alive) {
  if (state_ != State::kHandling) return;
  keep_alive_ = keep_alive_ && keep_alive;
  if (chunked_) absl::StrAppend(&out_, kLastChunk);
  state_ = State::kFlushing;
  Flush();
  if (in_flight_.empty()) FinishReply();
}

void Connection::Flush() {
  if (!in_flight_.empty() || out_.empty() || state_ == State::kClosed) return;
  in_flight_.swap(out_);
  SetDeadline(options_.limits.http_write_timeout);
  // Each part that the socket takes gives the client its time anew.
  const auto progress = [self = shared_from_this()](const error_code& error, size_t) -> size_t {
    self->SetDeadline(self->options_.limits.http_write_timeout);
    return error ? 0 : 64 << 10;
  };
  transport_.Write(net::buffer(in_flight_), progress,
                   [self = shared_from_this()](const error_code& error, size_t) {
                     if (self->state_ == State::kClosed) return;
                     if (error) return self->CloseOnStrand();
                     self->OnSent();
                   });
}

void Connection::OnSent() {
  in_flight_.clear();
  if (!out_.empty()) {
    Flush();
  } else if (state_ == State::kHandling) {
    deadline_.Clear();
  } else if (state_ == State::kFlushing) {
    return FinishReply();
  } else if (state_ == State::kReading) {
    SetDeadline(options_.limits.http_body_timeout);  // it was "100 Continue"
  }
  if (on_sent_) on_sent_();
}

void Connection::FinishReply() {
  EndRequest(status_);
  if (!keep_alive_ || input_closed_) return Linger();
  ExpectRequest();
  Parse();
}

void Connection::ExpectRequest() {
  state_ = State::kReading;
  header_started_ = false;
  header_done_ = false;
  parser_.emplace(static_cast<size_t>(options_.limits.max_header_bytes), options_.max_body_bytes);
  SetDeadline(options_.limits.http_idle_timeout);
}

void Connection::Linger() {
  if (input_closed_) return CloseOnStrand();
  // A request that was not read to its end may still be coming. TLS's goodbye would make an error
  // of it, and the reply tells its own length.
  if (!transport_.is_tls() || !request_cut_) transport_.ShutdownSend(shared_from_this());
  state_ = State::kLingering;
  input_ = std::string();
  SetDeadline(kLingerTimeout);
  Read();
}

void Connection::CloseOnStrand() {
  if (state_ == State::kClosed) return;
  state_ = State::kClosed;
  error_code ignored;
  transport_.socket().close(ignored);
  deadline_.Stop();
  const auto on_gone = std::move(on_gone_);
  EndRequest(499);
  if (on_gone) on_gone();
}

void Connection::StartRequest() {
  route_ = "other";
  stats_.RequestStarted(route_);
  request_running_ = true;
}

// Idempotent. The callbacks hold what answers the request, so they must go with it.
void Connection::EndRequest(int status) {
  on_sent_ = nullptr;
  on_gone_ = nullptr;
  stats_.ReleaseBytes(std::exchange(held_bytes_, 0));
  if (!request_running_) return;
  request_running_ = false;
  stats_.RequestEnded(route_, status);
}

void Connection::SetDeadline(absl::Duration from_now) {
  deadline_.Set(from_now, shared_from_this());
}

void Connection::OnDeadline() {
  if (state_ == State::kReading && header_started_) {
    StartRequest();
    return RespondAndClose(408, "the request did not arrive in time");
  }
  CloseOnStrand();
}

}  // namespace tidal
