#include "server/security/pem_file.h"

#include <openssl/ssl.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/security/regular_file.h"

namespace tidal {
namespace {

constexpr size_t kMaxBytes = 4 << 20;  // ten times the bundle of a whole system

}  // namespace

absl::StatusOr<PemFile> PemFile::Read(const char* flag, const char* what, const std::string& path) {
  PemFile file(flag, what, path);
  absl::StatusOr<std::string> text = ReadRegularFile(path, kMaxBytes);
  if (!text.ok()) return file.Wrong(std::string(text.status().message()));
  file.text_ = *std::move(text);
  return file;
}

absl::Status PemFile::Check(const boost::system::error_code& error) const {
  return error ? Wrong(error.message()) : absl::OkStatus();
}

absl::Status PemFile::Wrong(const std::string& reason) const {
  return absl::InvalidArgumentError(
      absl::StrCat(flag_, ": must be ", what_, ", got ", path_, " (", reason, ")"));
}

absl::Status UseIdentity(const PemFile& cert, const PemFile& key,
                         boost::asio::ssl::context* context) {
  boost::system::error_code error;
  context->use_certificate_chain(cert.buffer(), error);
  if (const absl::Status status = cert.Check(error); !status.ok()) return status;
  // A key with a password is refused, rather than asked about on the terminal.
  context->set_password_callback([](auto...) { return std::string(); }, error);
  context->use_private_key(key.buffer(), boost::asio::ssl::context::pem, error);
  // A key of another kind than the certificate's is not compared with it before this.
  if (!error && SSL_CTX_check_private_key(context->native_handle()) != 1) {
    return key.Wrong("it is another certificate's");
  }
  return key.Check(error);
}

}  // namespace tidal
