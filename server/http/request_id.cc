#include "server/http/request_id.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "absl/random/random.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace tidal {
namespace {

constexpr size_t kMaxRequestIdBytes = 128;

}  // namespace

std::string RequestId(const std::string& wanted) {
  const auto is_plain = [](char c) { return absl::ascii_isgraph(c); };
  if (!wanted.empty() && wanted.size() <= kMaxRequestIdBytes &&
      std::all_of(wanted.begin(), wanted.end(), is_plain)) {
    return wanted;
  }
  static thread_local absl::BitGen random;
  return absl::StrCat(absl::Hex(absl::Uniform<uint64_t>(random), absl::kZeroPad16),
                      absl::Hex(absl::Uniform<uint64_t>(random), absl::kZeroPad16));
}

}  // namespace tidal
