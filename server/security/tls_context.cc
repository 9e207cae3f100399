#include "server/security/tls_context.h"

#include <openssl/pem.h>
#include <openssl/ssl.h>

#include <boost/asio/ssl/verify_mode.hpp>
#include <string>
#include <utility>

#include "engine/base/status_macros.h"
#include "server/observe/logging.h"
#include "server/security/pem_file.h"

namespace tidal {
namespace {

namespace net = boost::asio;
using boost::system::error_code;
using Context = net::ssl::context;

// By TlsProtocol, in the form of ALPN: each name after its length.
const absl::string_view kProtocols[] = {"\x08http/1.1", "\x02h2"};

int ChooseProtocol(SSL* /*connection*/, const unsigned char** out, unsigned char* out_size,
                   const unsigned char* offered, unsigned offered_size, void* protocol) {
  const auto& ours = *static_cast<const absl::string_view*>(protocol);
  unsigned char* chosen = nullptr;
  const int result =
      SSL_select_next_proto(&chosen, out_size, reinterpret_cast<const unsigned char*>(ours.data()),
                            static_cast<unsigned>(ours.size()), offered, offered_size);
  *out = chosen;
  return result == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

// A client must show a certificate that one of the file's signs.
absl::Status AskForCertificates(const std::string& client_ca_file, Context* context) {
  TIDAL_ASSIGN_OR_RETURN(
      const PemFile file,
      PemFile::Read("tls_client_ca_file", "a readable file of PEM certificates", client_ca_file));
  error_code error;
  context->add_certificate_authority(file.buffer(), error);
  TIDAL_RETURN_IF_ERROR(file.Check(error));
  context->set_verify_mode(net::ssl::verify_peer | net::ssl::verify_fail_if_no_peer_cert, error);
  // Clients that are told which certificates are taken can choose among theirs.
  BIO* const text = BIO_new_mem_buf(file.text().data(), static_cast<int>(file.text().size()));
  while (X509* certificate = PEM_read_bio_X509(text, nullptr, nullptr, nullptr)) {
    SSL_CTX_add_client_CA(context->native_handle(), certificate);
    X509_free(certificate);
  }
  BIO_free(text);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<Context>> MakeTlsContext(const TlsFiles& files,
                                                        TlsProtocol protocol) {
  TIDAL_RETURN_IF_ERROR(files.Validate());
  auto context = std::make_shared<Context>(Context::tls_server);
  SSL_CTX* const handle = context->native_handle();
  SSL_CTX_set_min_proto_version(handle, TLS1_2_VERSION);
  SSL_CTX_set_options(handle, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_alpn_select_cb(
      handle, ChooseProtocol,
      const_cast<absl::string_view*>(&kProtocols[static_cast<int>(protocol)]));
  // Sessions are resumed by tickets only, whose keys belong to one context: after a reload every
  // client is looked at anew.
  SSL_CTX_set_session_cache_mode(handle, SSL_SESS_CACHE_OFF);
  static constexpr unsigned char kSessions[] = "tidalserve";
  SSL_CTX_set_session_id_context(handle, kSessions, sizeof(kSessions) - 1);
  // An idle connection gives its two buffers of 16 KiB back.
  SSL_CTX_set_mode(handle, SSL_MODE_RELEASE_BUFFERS);

  TIDAL_ASSIGN_OR_RETURN(
      const PemFile cert,
      PemFile::Read("tls_cert_file", "a readable PEM certificate", files.cert_file));
  TIDAL_ASSIGN_OR_RETURN(
      const PemFile key,
      PemFile::Read("tls_key_file", "the readable PEM private key of tls_cert_file",
                    files.key_file));
  TIDAL_RETURN_IF_ERROR(UseIdentity(cert, key, context.get()));
  if (!files.client_ca_file.empty()) {
    TIDAL_RETURN_IF_ERROR(AskForCertificates(files.client_ca_file, context.get()));
  }
  return context;
}

TlsContext::TlsContext(const TlsFiles& files, TlsProtocol protocol, absl::Duration reload_interval)
    : files_(files),
      protocol_(protocol),
      watcher_({files.cert_file, files.key_file, files.client_ca_file}, reload_interval,
               [this] { Reload(); }) {}

absl::StatusOr<std::unique_ptr<TlsContext>> TlsContext::Load(const TlsFiles& files,
                                                             TlsProtocol protocol,
                                                             absl::Duration reload_interval) {
  std::unique_ptr<TlsContext> out(new TlsContext(files, protocol, reload_interval));
  TIDAL_RETURN_IF_ERROR(out->LoadFiles());
  out->watcher_.Start();
  return out;
}

absl::Status TlsContext::LoadFiles() {
  TIDAL_ASSIGN_OR_RETURN(std::shared_ptr<Context> context, MakeTlsContext(files_, protocol_));
  absl::MutexLock lock(&mutex_);
  context_ = std::move(context);
  return absl::OkStatus();
}

void TlsContext::Reload() {
  const absl::string_view port = protocol_ == TlsProtocol::kHttp1 ? "HTTP" : "gRPC";
  if (const absl::Status status = LoadFiles(); !status.ok()) {
    Log(LogLevel::kError, "the TLS files could not be read again; the old ones stay",
        {{"port", port}, {"reason", status.message()}});
  } else {
    Log(LogLevel::kInfo, "TLS files read again", {{"port", port}, {"file", files_.cert_file}});
  }
}

std::shared_ptr<Context> TlsContext::current() const {
  absl::MutexLock lock(&mutex_);
  return context_;
}

}  // namespace tidal
