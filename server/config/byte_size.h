// Numbers of bytes as people write them: 512MiB, 4GiB, 1073741824.
#ifndef TIDAL_SERVER_CONFIG_BYTE_SIZE_H_
#define TIDAL_SERVER_CONFIG_BYTE_SIZE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tidal {

// A flag's type.
struct ByteSize {
  int64_t bytes = 0;
};

// A number, not negative, and one of KiB, MiB, GiB, TiB (1024), KB, MB, GB, TB (1000), B or
// nothing. INVALID_ARGUMENT says so.
absl::StatusOr<ByteSize> ParseByteSize(absl::string_view text);
// The shortest exact form: "512MiB".
std::string FormatByteSize(ByteSize size);

bool AbslParseFlag(absl::string_view text, ByteSize* size, std::string* error);
std::string AbslUnparseFlag(ByteSize size);

}  // namespace tidal

#endif  // TIDAL_SERVER_CONFIG_BYTE_SIZE_H_
