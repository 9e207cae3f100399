// A client of the gRPC port: what it sends goes to gRPC once the guard has seen it, what gRPC sends
// goes to it. TLS ends here; gRPC reads and writes one end of a pair of sockets.
#ifndef TIDAL_SERVER_GRPC_GUARDED_CONNECTION_H_
#define TIDAL_SERVER_GRPC_GUARDED_CONNECTION_H_

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/system/error_code.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/grpc/http2_guard.h"
#include "server/net/deadline.h"
#include "server/net/transport.h"

namespace tidal {

struct GuardedConnectionOptions {
  Http2Limits limits;
  // For the TLS handshake, for the preface with the first frame, for each header block.
  absl::Duration header_timeout = absl::Seconds(10);
  // A client that takes no byte for so long is cut off. gRPC asks a silent one itself (keepalive).
  absl::Duration write_timeout = absl::Seconds(60);
  // Takes gRPC's end of the pair, which is then gRPC's to close. Called on the connection's strand
  // once the client speaks HTTP/2, at most once.
  std::function<void(int file)> hand_over;
  // The guard ended a connection. On its strand, at most once each.
  std::function<void(Http2Guard::Verdict)> on_cut;
  // The connection has ended, for whatever reason. From its destructor, on any thread.
  std::function<void()> on_end;
};

class GuardedConnection : public std::enable_shared_from_this<GuardedConnection> {
 public:
  // `options` outlives it.
  GuardedConnection(Transport transport, const GuardedConnectionOptions& options);
  ~GuardedConnection();

  // On its strand.
  void Start();
  // From any thread: at once, whatever is under way.
  void Close();

 private:
  using Inner = boost::asio::local::stream_protocol::socket;
  using ErrorCode = boost::system::error_code;

  // What is read in one piece: grows while pieces fill it, shrinks while they do not, so that a
  // quiet connection holds little.
  class Buffer {
   public:
    boost::asio::mutable_buffer free() { return boost::asio::buffer(bytes_); }
    absl::string_view Filled(size_t size) const { return {bytes_.data(), size}; }
    void Fit(size_t size);  // after a piece of `size` bytes was used

   private:
    static constexpr size_t kLeast = 2 << 10, kMost = 64 << 10;
    std::vector<char> bytes_ = std::vector<char>(kLeast);
  };

  void ReadClient();
  void OnClientBytes(const ErrorCode& error, size_t size);
  bool OpenInner();
  void ReadInner();
  void OnInnerBytes(const ErrorCode& error, size_t size);
  void EndInner();                        // gRPC gets no more
  void Cut(Http2Guard::Verdict verdict);  // the client gets what gRPC still has, and why
  void Finish();                          // gRPC is done: the rest goes out, then the client may go
  void Discard(size_t size);
  void SetHeaderDeadline();
  void CloseOnStrand();

  const GuardedConnectionOptions& options_;
  Transport transport_;
  Inner inner_;  // our end of the pair; closed until the client speaks
  Http2Guard guard_;
  Deadline header_deadline_, write_deadline_;
  Buffer from_client_, from_grpc_;
  std::string farewell_;
  size_t discarded_ = 0;
  bool reading_ = false;       // from the client
  bool client_ended_ = false;  // it sends no more
  bool cut_ = false, finishing_ = false, closed_ = false;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_GRPC_GUARDED_CONNECTION_H_
