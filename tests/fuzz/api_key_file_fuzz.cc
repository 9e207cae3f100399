// libFuzzer entry: no bytes may crash the parser of key files; what it accepts is keys and names
// that can be written down again, what it refuses it refuses with a line.
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/security/api_key_file.h"

namespace {

void Check(bool condition) {
  if (!condition) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const auto keys = tidal::ParseApiKeyFile(text);
  if (!keys.ok()) {
    Check(absl::IsInvalidArgument(keys.status()));
    Check(absl::StartsWith(keys.status().message(), "line ") ||
          absl::StartsWith(keys.status().message(), "must have at least one key"));
    return 0;
  }
  Check(!keys->empty() && keys->size() <= tidal::kMaxApiKeys);
  std::string again;
  for (const tidal::ApiKey& key : *keys) {
    Check(tidal::CheckApiKey(key.key).ok() && key.name.size() <= tidal::kMaxApiKeyNameBytes);
    absl::StrAppend(&again, key.name, key.name.empty() ? "" : ": ", key.key, "\n");
  }
  const auto reread = tidal::ParseApiKeyFile(again);
  Check(reread.ok() && reread->size() == keys->size());
  for (size_t i = 0; i < keys->size(); ++i) {
    Check((*reread)[i].name == (*keys)[i].name && (*reread)[i].key == (*keys)[i].key);
  }
  return 0;
}
