#include "server/security/api_key_file.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace tidal {
namespace {

absl::Status CheckName(absl::string_view name) {
  const bool ok = !name.empty() && name.size() <= kMaxApiKeyNameBytes &&
                  std::all_of(name.begin(), name.end(), [](char c) {
                    return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.';
                  });
  if (ok) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("a name must have 1 to ", kMaxApiKeyNameBytes, " of A-Z a-z 0-9 . _ -"));
}

// One line that is neither empty nor a comment. The first colon ends the name.
absl::StatusOr<ApiKey> ParseLine(absl::string_view line) {
  ApiKey out;
  if (const size_t colon = line.find(':'); colon != absl::string_view::npos) {
    const absl::string_view name = absl::StripTrailingAsciiWhitespace(line.substr(0, colon));
    if (absl::Status status = CheckName(name); !status.ok()) return status;
    out.name = std::string(name);
    line = absl::StripLeadingAsciiWhitespace(line.substr(colon + 1));
  }
  if (absl::Status status = CheckApiKey(line); !status.ok()) return status;
  out.key = std::string(line);
  return out;
}

}  // namespace

absl::Status CheckApiKey(absl::string_view key) {
  const bool ok = !key.empty() && key.size() <= kMaxApiKeyBytes &&
                  std::all_of(key.begin(), key.end(), absl::ascii_isgraph);
  if (ok) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("a key must have 1 to ", kMaxApiKeyBytes, " visible ASCII characters"));
}

absl::StatusOr<std::vector<ApiKey>> ParseApiKeyFile(absl::string_view text) {
  std::vector<ApiKey> keys;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line[0] == '#') continue;
    absl::StatusOr<ApiKey> key = ParseLine(line);
    if (!key.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", number, ": must be KEY or NAME: KEY; ", key.status().message()));
    }
    if (keys.size() == kMaxApiKeys) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", number, ": must be the last key, there may be ", kMaxApiKeys));
    }
    keys.push_back(*std::move(key));
  }
  // An empty file would mean that everybody may come in, which is nobody's intent.
  if (keys.empty()) return absl::InvalidArgumentError("must have at least one key, has none");
  return keys;
}

}  // namespace tidal
