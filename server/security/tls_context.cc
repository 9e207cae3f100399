#include "server/security/tls_context.h"

#include <openssl/ssl.h>

#include <boost/asio/ssl/verify_mode.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "server/logging.h"

namespace tidal {
namespace {

using boost::system::error_code;
using Context = boost::asio::ssl::context;

// In the form of ALPN: each name after its length.
constexpr unsigned char kProtocols[] = "\x08http/1.1";

int ChooseProtocol(SSL* /*connection*/, const unsigned char** out, unsigned char* out_size,
                   const unsigned char* offered, unsigned offered_size, void* /*unused*/) {
  unsigned char* chosen = nullptr;
  const int result = SSL_select_next_proto(&chosen, out_size, kProtocols, sizeof(kProtocols) - 1,
                                           offered, offered_size);
  *out = chosen;
  return result == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

absl::Status CheckFile(const char* flag, const char* must, const std::string& path,
                       const error_code& error) {
  if (!error) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(flag, ": must be ", must, ", got ", path, " (", error.message(), ")"));
}

// A client must show a certificate that one of the file's signs.
absl::Status AskForCertificates(const std::string& client_ca_file, Context* context) {
  error_code error;
  context->load_verify_file(client_ca_file, error);
  TIDAL_RETURN_IF_ERROR(CheckFile("tls_client_ca_file", "a readable file of PEM certificates",
                                  client_ca_file, error));
  context->set_verify_mode(
      boost::asio::ssl::verify_peer | boost::asio::ssl::verify_fail_if_no_peer_cert, error);
  // Clients that are told which certificates are taken can choose among theirs.
  SSL_CTX_set_client_CA_list(context->native_handle(),
                             SSL_load_client_CA_file(client_ca_file.c_str()));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<Context>> MakeTlsContext(const TlsFiles& files) {
  TIDAL_RETURN_IF_ERROR(files.Validate());
  auto context = std::make_shared<Context>(Context::tls_server);
  SSL_CTX* const handle = context->native_handle();
  SSL_CTX_set_min_proto_version(handle, TLS1_2_VERSION);
  SSL_CTX_set_options(handle, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_alpn_select_cb(handle, ChooseProtocol, nullptr);
  // Sessions are resumed by tickets only, whose keys belong to one context: after a reload every
  // client is looked at anew.
  SSL_CTX_set_session_cache_mode(handle, SSL_SESS_CACHE_OFF);
  static constexpr unsigned char kSessions[] = "tidalserve";
  SSL_CTX_set_session_id_context(handle, kSessions, sizeof(kSessions) - 1);
  // An idle connection gives its two buffers of 16 KiB back.
  SSL_CTX_set_mode(handle, SSL_MODE_RELEASE_BUFFERS);

  error_code error;
  context->use_certificate_chain_file(files.cert_file, error);
  TIDAL_RETURN_IF_ERROR(
      CheckFile("tls_cert_file", "a readable PEM certificate", files.cert_file, error));
  context->use_private_key_file(files.key_file, Context::pem, error);
  TIDAL_RETURN_IF_ERROR(CheckFile("tls_key_file", "the readable PEM private key of tls_cert_file",
                                  files.key_file, error));
  if (!files.client_ca_file.empty()) {
    TIDAL_RETURN_IF_ERROR(AskForCertificates(files.client_ca_file, context.get()));
  }
  return context;
}

TlsContext::TlsContext(const TlsFiles& files, absl::Duration reload_interval)
    : files_(files),
      watcher_({files.cert_file, files.key_file, files.client_ca_file}, reload_interval,
               [this] { Reload(); }) {}

absl::StatusOr<std::unique_ptr<TlsContext>> TlsContext::Load(const TlsFiles& files,
                                                             absl::Duration reload_interval) {
  std::unique_ptr<TlsContext> out(new TlsContext(files, reload_interval));
  TIDAL_RETURN_IF_ERROR(out->LoadFiles());
  out->watcher_.Start();
  return out;
}

absl::Status TlsContext::LoadFiles() {
  TIDAL_ASSIGN_OR_RETURN(std::shared_ptr<Context> context, MakeTlsContext(files_));
  absl::MutexLock lock(&mutex_);
  context_ = std::move(context);
  return absl::OkStatus();
}

void TlsContext::Reload() {
  if (const absl::Status status = LoadFiles(); !status.ok()) {
    // gRPC reads the same files for itself, and has no way back to the old ones.
    Log(LogLevel::kError,
        "the TLS files could not be read again: HTTP goes on with the old ones, gRPC takes no new "
        "connections until they are right",
        {{"reason", status.message()}});
  } else {
    Log(LogLevel::kInfo, "TLS files read again", {{"file", files_.cert_file}});
  }
}

std::shared_ptr<Context> TlsContext::current() const {
  absl::MutexLock lock(&mutex_);
  return context_;
}

}  // namespace tidal
