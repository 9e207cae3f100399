#include "server/config/command_line.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "server/config/arguments.h"
#include "server/config/config_flags.h"
#include "server/config/flag_sources.h"
#include "server/observe/logging.h"
#include "server/observe/version.h"

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

std::map<std::string, std::string> Values() {
  std::map<std::string, std::string> values;
  for (const auto& [name, flag] : OurFlags()) values[name] = flag->CurrentValue();
  return values;
}

// Those that are no flags.
std::vector<std::string> ParseFlags(const std::vector<std::string>& arguments) {
  std::vector<std::string> copies = arguments;
  std::vector<char*> argv;
  for (std::string& argument : copies) argv.push_back(argument.data());
  const std::vector<char*> rest =
      absl::ParseCommandLine(static_cast<int>(argv.size()), argv.data());
  return std::vector<std::string>(rest.begin() + 1, rest.end());
}

absl::StatusOr<std::vector<std::string>> SetFlags(int argc, char** argv,
                                                  absl::string_view positional) {
  TIDAL_ASSIGN_OR_RETURN(const Arguments arguments, ReadArguments(argc, argv, positional));
  const Variables variables = TidalVariables();

  // The command line names the file but comes after it: it is parsed before and once more.
  const std::map<std::string, std::string> defaults = Values();
  ParseFlags(arguments.list);
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
  std::vector<std::string> rest = ParseFlags(arguments.list);
  for (const auto& [name, value] : Values()) {
    if (const auto found = arguments.sources.find(name); found != arguments.sources.end()) {
      Sources().RecordSource(name, found->second);
    } else if (first.at(name) != defaults.at(name) || value != before.at(name)) {
      Sources().RecordSource(name, "fromenv");  // Abseil's flags --fromenv and --tryfromenv
    }
  }
  return rest;
}

}  // namespace

std::vector<std::string> ParseCommandLine(int argc, char** argv, absl::string_view usage,
                                          absl::string_view positional) {
  DescribeProgram(usage);
  const absl::StatusOr<std::vector<std::string>> arguments = SetFlags(argc, argv, positional);
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
