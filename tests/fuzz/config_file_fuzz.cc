// libFuzzer entry: no configuration file may crash its parser, and what it accepts has the form
// that is promised. Errors are one line that names the file.
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "server/config/byte_size.h"
#include "server/config/config_file.h"
#include "server/config/nearest_name.h"

namespace {

void Require(bool holds) {
  if (!holds) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto entries = tidal::ParseConfig({reinterpret_cast<const char*>(data), size}, "c.yaml");
  if (!entries.ok()) {
    const absl::string_view message = entries.status().message();
    Require(absl::IsInvalidArgument(entries.status()));
    Require(absl::StartsWith(message, "c.yaml:") && !absl::StrContains(message, '\n'));
    return 0;
  }
  std::set<std::string> keys;
  int line = 0;
  for (const tidal::ConfigEntry& entry : *entries) {
    Require(keys.insert(entry.key).second);
    Require(entry.is_list || entry.values.size() == 1);
    Require(entry.line >= 1 && entry.line >= line);
    line = entry.line;
    tidal::DidYouMean(entry.key, {"max_num_seqs", "host"});
    for (const std::string& value : entry.values) {
      tidal::ByteSize bytes;
      std::string error;
      if (AbslParseFlag(value, &bytes, &error)) Require(bytes.bytes >= 0);
    }
  }
  return 0;
}
