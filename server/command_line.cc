#include "server/command_line.h"

#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace tidal {

absl::string_view Version() { return TIDAL_VERSION; }

std::vector<std::string> ParseCommandLine(int argc, char** argv, absl::string_view usage) {
  absl::SetProgramUsageMessage(usage);
  absl::FlagsUsageConfig config;
  // --help means every flag of ours, not only those of the file with main().
  config.contains_help_flags = [](absl::string_view file) {
    return absl::EndsWith(file, "_flags.cc") || absl::EndsWith(file, "_main.cc");
  };
  config.version_string = [] { return absl::StrCat("tidalserve ", Version(), "\n"); };
  absl::SetFlagsUsageConfig(config);
  const std::vector<char*> rest = absl::ParseCommandLine(argc, argv);
  return std::vector<std::string>(rest.begin() + 1, rest.end());
}

}  // namespace tidal
