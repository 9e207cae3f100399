#include "server/text/file.h"

#include <filesystem>
#include <fstream>
#include <system_error>

#include "server/text/concat.h"

namespace tidal {
namespace {

constexpr uintmax_t kMaxBytes = 256u << 20;

}  // namespace

absl::StatusOr<std::string> ReadTextFile(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    return absl::NotFoundError(Concat(path, ": no such file"));
  }
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error) return absl::InvalidArgumentError(Concat(path, ": ", error.message()));
  if (size > kMaxBytes) {
    return absl::InvalidArgumentError(
        Concat(path, ": must be at most ", kMaxBytes, " bytes, got ", size));
  }
  std::string text(size, '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.read(text.data(), static_cast<std::streamsize>(size))) {
    return absl::InvalidArgumentError(Concat(path, ": could not be read"));
  }
  return text;
}

}  // namespace tidal
