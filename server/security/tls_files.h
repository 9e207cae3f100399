// The files of a port with TLS.
#ifndef TIDAL_SERVER_SECURITY_TLS_FILES_H_
#define TIDAL_SERVER_SECURITY_TLS_FILES_H_

#include <string>

#include "absl/status/status.h"

namespace tidal {

// All PEM. The flags are tls_cert_file, tls_key_file and tls_client_ca_file.
struct TlsFiles {
  std::string cert_file;       // our certificate and what leads to its root; empty: no TLS
  std::string key_file;        // its private key
  std::string client_ca_file;  // who signs clients' certificates; empty: clients need none

  bool enabled() const { return !cert_file.empty(); }

  // Do they go together? Says nothing of their content.
  absl::Status Validate() const {
    if (cert_file.empty() != key_file.empty()) {
      return absl::InvalidArgumentError(
          "tls_key_file: must be given together with tls_cert_file, got only one of them");
    }
    if (!client_ca_file.empty() && !enabled()) {
      return absl::InvalidArgumentError(
          "tls_client_ca_file: must be given together with tls_cert_file, got it alone");
    }
    return absl::OkStatus();
  }
};

}  // namespace tidal

#endif  // TIDAL_SERVER_SECURITY_TLS_FILES_H_
