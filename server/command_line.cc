#include "server/command_line.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/reflection.h"
#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/base/status_macros.h"
#include "server/config_flags.h"
#include "server/flag_sources.h"
#include "server/logging.h"
#include "server/nearest_name.h"

namespace tidal {
namespace {

// Of this process; main's thread alone reads and writes it.
FlagSources& Sources() {
  static FlagSources* const sources = new FlagSources;
  return *sources;
}

// Source files as they lie in the tree, wherever it was built.
std::string InTree(absl::string_view file) {
  for (const char* folder : {"server/", "tools/"}) {
    const size_t at = file.rfind(folder);
    if (at != file.npos) return std::string(file.substr(at));
  }
  return std::string(file);
}

void DescribeProgram(absl::string_view usage) {
  absl::SetProgramUsageMessage(usage);
  absl::FlagsUsageConfig config;
  // --help means every flag of ours, not only those of the file with main().
  config.contains_help_flags = DefinesOurFlags;
  config.version_string = [] { return absl::StrCat("tidalserve ", Version(), "\n"); };
  config.normalize_filename = InTree;
  absl::SetFlagsUsageConfig(config);
}

// The flags of the command line, read as Abseil reads it: --name=value, --name value, --noname.
// INVALID_ARGUMENT, with the nearest name, for one that there is not.
absl::StatusOr<std::set<std::string>> FlagsOnCommandLine(int argc, char** argv) {
  std::set<std::string> given;
  for (int i = 1; i < argc; ++i) {
    absl::string_view argument = argv[i];
    if (!absl::ConsumePrefix(&argument, "-") || argument.empty()) continue;
    absl::ConsumePrefix(&argument, "-");
    if (argument.empty()) break;  // after "--" there are no flags
    const size_t equals = argument.find('=');
    absl::string_view name = argument.substr(0, equals);
    if (name == "version" || absl::StartsWith(name, "help")) continue;  // Abseil's, hidden flags
    const absl::CommandLineFlag* flag = absl::FindCommandLineFlag(name);
    if (flag == nullptr && absl::ConsumePrefix(&name, "no")) {
      flag = absl::FindCommandLineFlag(name);
    }
    if (flag == nullptr) {
      if (given.count("undefok") > 0) continue;  // Abseil's own leave for unknown flags
      name = argument.substr(0, equals);
      return absl::InvalidArgumentError(
          absl::StrCat("unknown flag --", name, DidYouMean(name, OurFlagNames())));
    }
    given.emplace(name);
    if (equals == argument.npos && !flag->IsOfType<bool>()) ++i;
  }
  return given;
}

std::map<std::string, std::string> Values() {
  std::map<std::string, std::string> values;
  for (const auto& [name, flag] : OurFlags()) values[name] = flag->CurrentValue();
  return values;
}

absl::StatusOr<std::vector<std::string>> SetFlags(int argc, char** argv) {
  TIDAL_ASSIGN_OR_RETURN(const std::set<std::string> given, FlagsOnCommandLine(argc, argv));
  const Variables variables = TidalVariables();

  // The command line names the file but comes after it: it is parsed before and once more.
  const std::map<std::string, std::string> defaults = Values();
  absl::ParseCommandLine(argc, argv);
  const std::map<std::string, std::string> first = Values();
  std::string file = absl::GetFlag(FLAGS_config);
  for (const auto& [name, value] : variables) {
    if (name == "TIDAL_CONFIG" && file.empty()) file = value;
  }
  if (!file.empty()) {
    if (const absl::Status status = Sources().SetFromFile(file); !status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("config: ", status.message()));
    }
  }
  TIDAL_RETURN_IF_ERROR(Sources().SetFromVariables(variables));

  const std::map<std::string, std::string> before = Values();
  const std::vector<char*> arguments = absl::ParseCommandLine(argc, argv);
  for (const auto& [name, value] : Values()) {
    if (given.count(name) > 0) {
      Sources().Note(name, "command line");
    } else if (first.at(name) != defaults.at(name) || value != before.at(name)) {
      Sources().Note(name, "flagfile");
    }
  }
  return std::vector<std::string>(arguments.begin() + 1, arguments.end());
}

}  // namespace

absl::string_view Version() { return TIDAL_VERSION; }

std::vector<std::string> ParseCommandLine(int argc, char** argv, absl::string_view usage) {
  DescribeProgram(usage);
  const absl::StatusOr<std::vector<std::string>> arguments = SetFlags(argc, argv);
  if (arguments.ok()) return *arguments;
  std::fprintf(stderr, "%s: %s\n", std::filesystem::path(argv[0]).filename().c_str(),
               std::string(arguments.status().message()).c_str());
  std::exit(1);
}

bool PrintConfigIfAsked() {
  if (!absl::GetFlag(FLAGS_print_config)) return false;
  if (std::fputs(Sources().ToYaml().c_str(), stdout) < 0 || std::fflush(stdout) != 0) {
    std::fprintf(stderr, "print_config: cannot be written: %s\n", std::strerror(errno));
    std::exit(1);  // what stands in a file may be cut short
  }
  return true;
}

void LogUnknownVariables() {
  for (const std::string& variable : UnknownVariables(TidalVariables())) {
    Log(LogLevel::kWarning, "an environment variable is not a flag of this program",
        {{"variable", variable}});
  }
}

}  // namespace tidal
