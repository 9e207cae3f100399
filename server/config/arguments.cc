#include "server/config/arguments.h"

#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "engine/base/status_macros.h"
#include "server/config/config_file.h"
#include "server/config/flag_spelling.h"

namespace tidal {
namespace {

constexpr int kMaxFlagFiles = 100;  // they may name each other

// Abseil's, which are no flags that FindCommandLineFlag() knows.
bool AsksForHelp(absl::string_view name) {
  return name == "version" || absl::StartsWith(name, "help");
}

class Reader {
 public:
  explicit Reader(absl::string_view positional) : positional_(positional) {}

  absl::StatusOr<Arguments> Read(int argc, char** argv) {
    arguments_.list.emplace_back(argv[0]);
    for (int i = 1; i < argc; ++i) {
      const absl::string_view argument = argv[i];
      if (argument == "--") {  // no flags after it
        rest_.insert(rest_.end(), argv + i + 1, argv + argc);
        break;
      }
      if (argument.size() < 2 || argument[0] != '-') {
        rest_.emplace_back(argument);
        continue;
      }
      const char* const next = i + 1 < argc ? argv[i + 1] : nullptr;
      TIDAL_ASSIGN_OR_RETURN(const bool took_next, AddFlag(argument, next, "command line"));
      if (took_next) ++i;
    }
    TIDAL_RETURN_IF_ERROR(SetPositional());
    arguments_.list.emplace_back("--");
    arguments_.list.insert(arguments_.list.end(), rest_.begin(), rest_.end());
    return std::move(arguments_);
  }

 private:
  // One argument that begins with a dash. `next` may be its value, which is then taken (true); null
  // where there is none.
  absl::StatusOr<bool> AddFlag(absl::string_view argument, const char* next, const char* source) {
    absl::string_view name = argument;
    absl::ConsumePrefix(&name, "-");
    absl::ConsumePrefix(&name, "-");
    const size_t equals = name.find('=');
    std::optional<std::string> value;
    if (equals != name.npos) value = std::string(name.substr(equals + 1));
    name = name.substr(0, equals);
    if (AsksForHelp(name)) {
      arguments_.list.emplace_back(argument);
      return false;
    }
    if (argument == "-h") {
      arguments_.list.emplace_back("--help");
      return false;
    }
    const std::optional<FlagSpelling> spelling = FlagSpelling::Find(name);
    if (!spelling.has_value()) {
      if (arguments_.sources.count("undefok") > 0) {  // Abseil's own leave for unknown flags
        arguments_.list.emplace_back(argument);
        return false;
      }
      return absl::InvalidArgumentError(
          absl::StrCat("unknown flag --", name, FlagSpelling::Hint(name)));
    }
    const bool take_next = !value.has_value() && spelling->takes_value();
    if (take_next && next == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("--", name, ": must have a value"));
    }
    if (!value.has_value()) value = take_next ? next : "true";
    TIDAL_ASSIGN_OR_RETURN(const std::string set, spelling->Value(*value));
    if (spelling->flag() != nullptr) {
      TIDAL_RETURN_IF_ERROR(Set(std::string(spelling->flag()->Name()), set, source));
    }
    return take_next;
  }

  absl::Status Set(const std::string& flag, const std::string& value, const char* source) {
    if (flag == "flagfile") {
      for (const absl::string_view path : absl::StrSplit(value, ',', absl::SkipEmpty())) {
        TIDAL_RETURN_IF_ERROR(AddFlagFile(std::string(path)));
      }
      return absl::OkStatus();
    }
    arguments_.list.push_back(absl::StrCat("--", flag, "=", value));
    arguments_.sources[flag] = source;
    return absl::OkStatus();
  }

  // A flag a line, --name=value or --name value; empty lines and those after # are nothing.
  absl::Status AddFlagFile(const std::string& path) {
    const auto error = [&](int line, absl::string_view what) {
      return absl::InvalidArgumentError(absl::StrCat("flagfile: ", path, ":", line, ": ", what));
    };
    if (++num_flag_files_ > kMaxFlagFiles) {
      return absl::InvalidArgumentError(
          absl::StrCat("flagfile: must be at most ", kMaxFlagFiles, " files"));
    }
    const absl::StatusOr<std::string> text = ReadConfigText(path);
    if (!text.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("flagfile: ", text.status().message()));
    }
    int number = 0;
    for (absl::string_view line : absl::StrSplit(*text, '\n')) {
      ++number;
      line = absl::StripAsciiWhitespace(line);
      if (line.empty() || line[0] == '#') continue;
      if (line.size() < 2 || line[0] != '-' || line == "--") {
        return error(number, "must be a flag, --name=value");
      }
      const size_t end = line.find_first_of("= \t");
      const bool apart = end != line.npos && line[end] != '=';
      const std::string next =
          apart ? std::string(absl::StripLeadingAsciiWhitespace(line.substr(end))) : "";
      const absl::StatusOr<bool> took_next =
          AddFlag(apart ? line.substr(0, end) : line, apart ? next.c_str() : nullptr, "flagfile");
      if (!took_next.ok()) return error(number, took_next.status().message());
      if (apart && !*took_next) return error(number, "must be a switch alone or with =value");
    }
    return absl::OkStatus();
  }

  absl::Status SetPositional() {
    if (positional_.empty() || rest_.empty()) return absl::OkStatus();
    if (rest_.front() == "serve") rest_.erase(rest_.begin());
    if (rest_.empty()) return absl::OkStatus();
    const std::string flag(positional_);
    const auto found = arguments_.sources.find(flag);
    if (found != arguments_.sources.end()) {
      return absl::InvalidArgumentError(absl::StrCat(flag, ": must be given once, got a flag (",
                                                     found->second, ") and ", rest_.front(),
                                                     "; lists have commas between their values"));
    }
    TIDAL_RETURN_IF_ERROR(Set(flag, rest_.front(), "command line"));
    rest_.erase(rest_.begin());
    return absl::OkStatus();
  }

  const absl::string_view positional_;
  int num_flag_files_ = 0;
  std::vector<std::string> rest_;  // no flags
  Arguments arguments_;
};

}  // namespace

absl::StatusOr<Arguments> ReadArguments(int argc, char** argv, absl::string_view positional) {
  return Reader(positional).Read(argc, argv);
}

}  // namespace tidal
