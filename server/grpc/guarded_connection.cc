#include "server/grpc/guarded_connection.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <utility>

#include "scheduler/steady_time.h"

namespace tidal {

namespace net = boost::asio;

namespace {

// For a client that should go: in which it may take what it was sent last, and in which what it
// sends itself is dropped. Beyond them the end is hard.
constexpr absl::Duration kLingerTime = absl::Seconds(1);
constexpr size_t kLingerBytes = 256 << 10;

}  // namespace

void GuardedConnection::Buffer::Fit(size_t size) {
  if (size == bytes_.size() && size < kMost) {
    bytes_.resize(2 * size);
  } else if (size <= bytes_.size() / 8 && bytes_.size() > kLeast) {
    std::vector<char>(bytes_.size() / 2).swap(bytes_);
  }
}

GuardedConnection::GuardedConnection(Transport transport, const GuardedConnectionOptions& options)
    : options_(options),
      transport_(std::move(transport)),
      inner_(transport_.socket().get_executor()),
      guard_(options.limits),
      header_deadline_(transport_.socket().get_executor(), [this] { CloseOnStrand(); }),
      write_deadline_(transport_.socket().get_executor(), [this] { CloseOnStrand(); }) {}

GuardedConnection::~GuardedConnection() { options_.on_end(); }

void GuardedConnection::Start() {
  ErrorCode ignored;
  transport_.socket().set_option(net::ip::tcp::no_delay(true), ignored);
  header_deadline_.Set(options_.header_timeout, shared_from_this());
  if (!transport_.is_tls()) return ReadClient();
  transport_.Handshake([self = shared_from_this()](const ErrorCode& error) {
    if (error) return self->CloseOnStrand();
    self->header_deadline_.Set(self->options_.header_timeout, self);
    self->ReadClient();
  });
}

void GuardedConnection::Close() {
  net::post(transport_.socket().get_executor(),
            [self = shared_from_this()] { self->CloseOnStrand(); });
}

void GuardedConnection::ReadClient() {
  if (closed_) return;
  reading_ = true;
  transport_.ReadSome(from_client_.free(),
                      [self = shared_from_this()](const ErrorCode& error, size_t size) {
                        self->reading_ = false;
                        self->OnClientBytes(error, size);
                      });
}

void GuardedConnection::OnClientBytes(const ErrorCode& error, size_t size) {
  if (closed_) return;
  if (error) {
    client_ended_ = true;
    if (error != net::error::eof || finishing_ || !inner_.is_open()) return CloseOnStrand();
    return EndInner();
  }
  if (finishing_) return Discard(size);
  const absl::string_view bytes = from_client_.Filled(size);
  const Http2Guard::Verdict verdict = guard_.Receive(bytes, SteadyNow());
  if (verdict != Http2Guard::Verdict::kOk) return Cut(verdict);
  SetHeaderDeadline();
  if (!inner_.is_open() && !OpenInner()) return CloseOnStrand();
  net::async_write(inner_, net::buffer(bytes.data(), bytes.size()),
                   [self = shared_from_this()](const ErrorCode& refused, size_t written) {
                     // gRPC has ended the connection; its last bytes are on their way to Finish().
                     if (!refused) self->from_client_.Fit(written);
                     self->ReadClient();
                   });
}

void GuardedConnection::SetHeaderDeadline() {
  if (!guard_.is_opening() && !guard_.in_header_block()) return header_deadline_.Clear();
  if (!header_deadline_.is_set()) header_deadline_.Set(options_.header_timeout, shared_from_this());
}

bool GuardedConnection::OpenInner() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) return false;
  ErrorCode error;
  inner_.assign(net::local::stream_protocol(), ends[0], error);
  if (error) {
    close(ends[0]);
    close(ends[1]);
    return false;
  }
  options_.hand_over(ends[1]);
  ReadInner();
  return true;
}

void GuardedConnection::ReadInner() {
  inner_.async_read_some(from_grpc_.free(),
                         [self = shared_from_this()](const ErrorCode& error, size_t size) {
                           self->OnInnerBytes(error, size);
                         });
}

void GuardedConnection::OnInnerBytes(const ErrorCode& error, size_t size) {
  if (closed_) return;
  if (error) return Finish();
  write_deadline_.Set(options_.write_timeout, shared_from_this());
  // Each part that the socket takes gives the client its time anew.
  const auto progress = [self = shared_from_this()](const ErrorCode& failed, size_t) -> size_t {
    self->write_deadline_.Set(self->options_.write_timeout, self);
    return failed ? 0 : 64 << 10;
  };
  const absl::string_view bytes = from_grpc_.Filled(size);
  guard_.Sent(bytes);
  transport_.Write(net::buffer(bytes.data(), bytes.size()), progress,
                   [self = shared_from_this()](const ErrorCode& failed, size_t written) {
                     if (self->closed_) return;
                     if (failed) return self->CloseOnStrand();
                     self->write_deadline_.Clear();
                     self->from_grpc_.Fit(written);
                     self->ReadInner();
                   });
}

void GuardedConnection::EndInner() {
  ErrorCode ignored;
  inner_.shutdown(Inner::shutdown_send, ignored);
  header_deadline_.Set(kLingerTime, shared_from_this());
}

void GuardedConnection::Cut(Http2Guard::Verdict verdict) {
  cut_ = true;
  farewell_ = Farewell(verdict, options_.limits);
  options_.on_cut(verdict);
  if (!inner_.is_open()) return Finish();
  EndInner();
}

void GuardedConnection::Finish() {
  finishing_ = true;
  header_deadline_.Set(kLingerTime, shared_from_this());
  const auto everything = [](const ErrorCode& failed, size_t) -> size_t {
    return failed ? 0 : 64 << 10;
  };
  transport_.Write(net::buffer(farewell_), everything,
                   [self = shared_from_this()](const ErrorCode& failed, size_t) {
                     if (self->closed_) return;
                     if (failed || self->client_ended_) return self->CloseOnStrand();
                     // TLS's goodbye would make an error of what the client is still sending.
                     if (!self->transport_.is_tls() || !self->cut_) {
                       self->transport_.ShutdownSend(self);
                     }
                     if (!self->reading_) self->ReadClient();
                   });
}

void GuardedConnection::Discard(size_t size) {
  discarded_ += size;
  discarded_ > kLingerBytes ? CloseOnStrand() : ReadClient();
}

void GuardedConnection::CloseOnStrand() {
  if (closed_) return;
  closed_ = true;
  ErrorCode ignored;
  transport_.socket().close(ignored);
  inner_.close(ignored);
  header_deadline_.Stop();
  write_deadline_.Stop();
}

}  // namespace tidal
