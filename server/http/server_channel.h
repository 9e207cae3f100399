// The gateway's channel to its servers: which of them gets a request, and what becomes of it when
// that one does not take it.
#ifndef TIDAL_SERVER_HTTP_SERVER_CHANNEL_H_
#define TIDAL_SERVER_HTTP_SERVER_CHANNEL_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/http/channel_credentials.h"

namespace grpc {
class Channel;
}

namespace tidal {

// The service name of grpc.health.v1 that is true while a server takes requests, or tells them
// itself when to come again.
inline constexpr char kAcceptingHealth[] = "accepting";

struct ServerChannelOptions {
  std::string target;       // as gRPC names them; all addresses of a name are servers
  ChannelTlsFiles tls;      // empty: none
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
// Without any server, calls fail at once with UNAVAILABLE. INVALID_ARGUMENT for TLS files that
// cannot be used.
absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenServerChannel(
    const ServerChannelOptions& options);

}  // namespace tidal

#endif  // TIDAL_SERVER_HTTP_SERVER_CHANNEL_H_
