// The gateway's channel to its servers: which of them gets a request, and what becomes of it when
// that one does not take it.
#ifndef TIDAL_SERVER_GATEWAY_SERVER_CHANNEL_H_
#define TIDAL_SERVER_GATEWAY_SERVER_CHANNEL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "proto/grpc/health/v1/health.grpc.pb.h"
#include "proto/tidal/v1/inference.grpc.pb.h"
#include "server/gateway/channel_credentials.h"
#include "server/security/file_watcher.h"

namespace tidal {

// The service name of grpc.health.v1 that is true while a server takes requests, or tells them
// itself when to come again.
inline constexpr char kAcceptingHealth[] = "accepting";

struct ServerChannelOptions {
  std::string target;       // as gRPC names them; all addresses of a name are servers
  ChannelTlsFiles tls;      // empty: none; read again when they change
  std::string server_name;  // the name in the servers' certificates; empty: that of target
  int64_t max_request_bytes = 16 << 20;  // requests up to this size can be sent again
};

// All of it is gRPC's own policy, as its service config says it:
//
//   health   each server is watched (grpc.health.v1.Watch) and has no new requests while it does
//            not serve kAcceptingHealth; one without a health service counts as serving
//   turns    the servers that are left take turns
//   retries  what a server refuses with UNAVAILABLE or RESOURCE_EXHAUSTED, or loses before its
//            first event, goes to the next one, three attempts in all; not in a storm of refusals
//   loss     a server that is gone is tried again every second, at most; one that does not answer
//            a ping counts as gone after 20 s; names are resolved anew when a server is lost
//
// Without any server, calls fail at once with UNAVAILABLE. When the TLS files change, a new channel
// takes the place of the old one, on which the calls that run come to their ends. Thread-safe.
class ServerChannel {
 public:
  // What a call begins with, and holds until it has ended.
  struct Stubs {
    explicit Stubs(const std::shared_ptr<grpc::Channel>& channel);
    const std::unique_ptr<v1::Inference::Stub> inference;
    const std::unique_ptr<grpc::health::v1::Health::Stub> health;
  };

  // INVALID_ARGUMENT for TLS files that cannot be used. Later such files leave the channel as it
  // was, and an error in the log.
  static absl::StatusOr<std::unique_ptr<ServerChannel>> Open(
      ServerChannelOptions options, absl::Duration reload_interval = kReloadInterval);
  // A channel that stays what it is.
  explicit ServerChannel(const std::shared_ptr<grpc::Channel>& channel);
  ~ServerChannel();

  // For a call that begins now. Not to be called on a thread of gRPC's.
  std::shared_ptr<const Stubs> stubs();

 private:
  ServerChannel(ServerChannelOptions options, absl::Duration reload_interval);
  absl::Status Connect();
  void Reload();

  const ServerChannelOptions options_;
  absl::Mutex mutex_;
  std::shared_ptr<const Stubs> current_ ABSL_GUARDED_BY(mutex_);
  // Replaced, and perhaps in use. A channel waits, when it goes, for gRPC's threads; so it must not
  // go with the last call on it, which may end on one of them.
  std::vector<std::shared_ptr<const Stubs>> old_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<FileWatcher> watcher_;  // last: its thread ends before the rest goes
};

}  // namespace tidal

#endif  // TIDAL_SERVER_GATEWAY_SERVER_CHANNEL_H_
