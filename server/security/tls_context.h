// The TLS settings of a port, from files that may be replaced while it runs.
#ifndef TIDAL_SERVER_SECURITY_TLS_CONTEXT_H_
#define TIDAL_SERVER_SECURITY_TLS_CONTEXT_H_

#include <boost/asio/ssl/context.hpp>
#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/security/file_watcher.h"
#include "server/security/tls_files.h"

namespace tidal {

// What a port speaks through TLS; a client that offers only other protocols (ALPN) is refused.
enum class TlsProtocol : uint8_t { kHttp1, kHttp2 };

// TLS 1.2 and later; with a client_ca_file only clients whose certificate it signs. Each file is
// read once, so that what is checked is what is used. INVALID_ARGUMENT names the flag whose file is
// at fault.
absl::StatusOr<std::shared_ptr<boost::asio::ssl::context>> MakeTlsContext(const TlsFiles& files,
                                                                          TlsProtocol protocol);

// Thread-safe.
class TlsContext {
 public:
  // Files that turn bad later leave the settings as they were, and an error in the log.
  static absl::StatusOr<std::unique_ptr<TlsContext>> Load(
      const TlsFiles& files, TlsProtocol protocol,
      absl::Duration reload_interval = kReloadInterval);

  // For a connection that begins now; it keeps these settings until it ends.
  std::shared_ptr<boost::asio::ssl::context> current() const;

 private:
  TlsContext(const TlsFiles& files, TlsProtocol protocol, absl::Duration reload_interval);
  absl::Status LoadFiles();
  void Reload();

  const TlsFiles files_;
  const TlsProtocol protocol_;
  mutable absl::Mutex mutex_;
  std::shared_ptr<boost::asio::ssl::context> context_ ABSL_GUARDED_BY(mutex_);
  FileWatcher watcher_;  // last: its thread ends before the rest goes
};

}  // namespace tidal

#endif  // TIDAL_SERVER_SECURITY_TLS_CONTEXT_H_
