// How the gateway and its servers prove to each other who they are.
#ifndef TIDAL_SERVER_GATEWAY_CHANNEL_CREDENTIALS_H_
#define TIDAL_SERVER_GATEWAY_CHANNEL_CREDENTIALS_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace grpc {
class ChannelCredentials;
}

namespace tidal {

// All PEM. The flags are grpc_ca_file, grpc_cert_file, grpc_key_file.
struct ChannelTlsFiles {
  std::string ca_file;    // who signs the servers' certificates; empty: no TLS
  std::string cert_file;  // our certificate, for servers that want one; empty: none
  std::string key_file;   // its private key

  // Do they go together? Says nothing of their content.
  absl::Status Validate() const;
};

// Of the files as they are now: each is read once, checked, and handed on as it was read.
// INVALID_ARGUMENT names the flag at fault.
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeChannelCredentials(
    const ChannelTlsFiles& files);

}  // namespace tidal

#endif  // TIDAL_SERVER_GATEWAY_CHANNEL_CREDENTIALS_H_
