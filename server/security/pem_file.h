// A certificate or key file as it was at one moment: what is checked is then what is used, however
// the file changes meanwhile.
#ifndef TIDAL_SERVER_SECURITY_PEM_FILE_H_
#define TIDAL_SERVER_SECURITY_PEM_FILE_H_

#include <boost/asio/buffer.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/system/error_code.hpp>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tidal {

class PemFile {
 public:
  // `flag` names the file, `what` it must be: for messages. INVALID_ARGUMENT where it cannot be
  // read.
  static absl::StatusOr<PemFile> Read(const char* flag, const char* what, const std::string& path);

  const std::string& text() const { return text_; }
  boost::asio::const_buffer buffer() const { return boost::asio::buffer(text_); }

  // INVALID_ARGUMENT "FLAG: must be WHAT, got PATH (...)" where who took it found an error.
  absl::Status Check(const boost::system::error_code& error) const;
  absl::Status Wrong(const std::string& reason) const;  // the same, for this reason

 private:
  PemFile(const char* flag, const char* what, std::string path)
      : flag_(flag), what_(what), path_(std::move(path)) {}

  const char* flag_;
  const char* what_;
  std::string path_;
  std::string text_;
};

// Makes `context` show `cert` with its private key `key`. INVALID_ARGUMENT names the one at fault,
// `key` where they do not belong together.
absl::Status UseIdentity(const PemFile& cert, const PemFile& key,
                         boost::asio::ssl::context* context);

}  // namespace tidal

#endif  // TIDAL_SERVER_SECURITY_PEM_FILE_H_
