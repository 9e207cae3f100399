#include "server/config/byte_size.h"

#include <cmath>
#include <cstddef>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace tidal {
namespace {

struct Unit {
  absl::string_view name;
  int64_t bytes;
};
constexpr Unit kUnits[] = {
    {"TiB", 1LL << 40},
    {"GiB", 1LL << 30},
    {"MiB", 1LL << 20},
    {"KiB", 1LL << 10},
    {"TB", 1'000'000'000'000},
    {"GB", 1'000'000'000},
    {"MB", 1'000'000},
    {"KB", 1'000},
    {"B", 1},
    {"", 1},
};
constexpr double kLimit = 9e18;  // below the largest int64_t

}  // namespace

absl::StatusOr<ByteSize> ParseByteSize(absl::string_view text) {
  size_t digits = 0;
  while (digits < text.size() && (absl::ascii_isdigit(text[digits]) || text[digits] == '.')) {
    ++digits;
  }
  const absl::string_view unit_name = absl::StripAsciiWhitespace(text.substr(digits));
  double number;
  for (const Unit& unit : kUnits) {
    if (unit.name != unit_name) continue;
    if (!absl::SimpleAtod(text.substr(0, digits), &number)) break;
    const double bytes = number * static_cast<double>(unit.bytes);
    if (bytes > kLimit) break;
    return ByteSize{static_cast<int64_t>(std::llround(bytes))};
  }
  return absl::InvalidArgumentError(
      absl::StrCat("must be a number of bytes such as 1073741824, 512MiB or 4GiB, got ", text));
}

std::string FormatByteSize(ByteSize size) {
  for (const Unit& unit : kUnits) {
    const bool is_binary = unit.bytes % 1024 == 0;
    if (is_binary && size.bytes > 0 && size.bytes % unit.bytes == 0) {
      return absl::StrCat(size.bytes / unit.bytes, unit.name);
    }
  }
  return absl::StrCat(size.bytes);
}

bool AbslParseFlag(absl::string_view text, ByteSize* size, std::string* error) {
  absl::StatusOr<ByteSize> parsed = ParseByteSize(text);
  if (!parsed.ok()) {
    *error = std::string(parsed.status().message());
    return false;
  }
  *size = *parsed;
  return true;
}

std::string AbslUnparseFlag(ByteSize size) { return FormatByteSize(size); }

}  // namespace tidal
