#include "server/gateway/channel_credentials.h"

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <boost/asio/ssl/context.hpp>
#include <vector>

#include "engine/base/status_macros.h"
#include "server/security/pem_file.h"

namespace tidal {

using Context = boost::asio::ssl::context;
using grpc::experimental::IdentityKeyCertPair;

absl::Status ChannelTlsFiles::Validate() const {
  if (cert_file.empty() != key_file.empty()) {
    return absl::InvalidArgumentError(
        "grpc_key_file: must be given together with grpc_cert_file, got only one of them");
  }
  if (ca_file.empty() && !cert_file.empty()) {
    return absl::InvalidArgumentError(
        "grpc_cert_file: must be given together with grpc_ca_file, got it alone");
  }
  return absl::OkStatus();
}

// gRPC would start with files it cannot use, and then reach nobody; or end the program, where one
// is empty.
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeChannelCredentials(
    const ChannelTlsFiles& files) {
  TIDAL_RETURN_IF_ERROR(files.Validate());
  if (files.ca_file.empty()) return grpc::InsecureChannelCredentials();
  Context context(Context::tls_client);
  TIDAL_ASSIGN_OR_RETURN(
      const PemFile ca,
      PemFile::Read("grpc_ca_file", "a readable file of PEM certificates", files.ca_file));
  boost::system::error_code error;
  context.add_certificate_authority(ca.buffer(), error);
  TIDAL_RETURN_IF_ERROR(ca.Check(error));
  std::vector<IdentityKeyCertPair> identity;
  if (!files.cert_file.empty()) {
    TIDAL_ASSIGN_OR_RETURN(
        const PemFile cert,
        PemFile::Read("grpc_cert_file", "a readable PEM certificate", files.cert_file));
    TIDAL_ASSIGN_OR_RETURN(
        const PemFile key,
        PemFile::Read("grpc_key_file", "the readable PEM private key of grpc_cert_file",
                      files.key_file));
    TIDAL_RETURN_IF_ERROR(UseIdentity(cert, key, &context));
    identity.push_back({.private_key = key.text(), .certificate_chain = cert.text()});
  }
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(
      std::make_shared<grpc::experimental::StaticDataCertificateProvider>(ca.text(), identity));
  options.watch_root_certs();
  if (!identity.empty()) options.watch_identity_key_cert_pairs();
  return grpc::experimental::TlsCredentials(options);
}

}  // namespace tidal
