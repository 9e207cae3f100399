#include "server/http/channel_credentials.h"

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <boost/asio/ssl/context.hpp>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "server/security/file_watcher.h"

namespace tidal {
namespace {

using boost::system::error_code;
using Context = boost::asio::ssl::context;

absl::Status CheckFile(const char* flag, const char* must, const std::string& path,
                       const error_code& error) {
  if (!error) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(flag, ": must be ", must, ", got ", path, " (", error.message(), ")"));
}

// gRPC would start with files it cannot use, and then reach nobody.
absl::Status CheckFiles(const ChannelTlsFiles& files) {
  if (files.cert_file.empty() != files.key_file.empty()) {
    return absl::InvalidArgumentError(
        "grpc_key_file: must be given together with grpc_cert_file, got only one of them");
  }
  if (files.ca_file.empty() && !files.cert_file.empty()) {
    return absl::InvalidArgumentError(
        "grpc_cert_file: must be given together with grpc_ca_file, got it alone");
  }
  Context context(Context::tls_client);
  error_code error;
  if (!files.ca_file.empty()) context.load_verify_file(files.ca_file, error);
  TIDAL_RETURN_IF_ERROR(
      CheckFile("grpc_ca_file", "a readable file of PEM certificates", files.ca_file, error));
  if (files.cert_file.empty()) return absl::OkStatus();
  context.use_certificate_chain_file(files.cert_file, error);
  TIDAL_RETURN_IF_ERROR(
      CheckFile("grpc_cert_file", "a readable PEM certificate", files.cert_file, error));
  context.use_private_key_file(files.key_file, Context::pem, error);
  return CheckFile("grpc_key_file", "the readable PEM private key of grpc_cert_file",
                   files.key_file, error);
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeChannelCredentials(
    const ChannelTlsFiles& files) {
  TIDAL_RETURN_IF_ERROR(CheckFiles(files));
  if (files.ca_file.empty()) return grpc::InsecureChannelCredentials();
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(
      std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
          files.key_file, files.cert_file, files.ca_file,
          static_cast<unsigned>(absl::ToInt64Seconds(kReloadInterval))));
  options.watch_root_certs();
  if (!files.cert_file.empty()) options.watch_identity_key_cert_pairs();
  return grpc::experimental::TlsCredentials(options);
}

}  // namespace tidal
