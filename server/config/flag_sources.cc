#include "server/config/flag_sources.h"

#include <unistd.h>
#include <yaml-cpp/emitter.h>

#include <algorithm>
#include <cstdint>
#include <optional>

#include "absl/flags/reflection.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "engine/base/status_macros.h"
#include "server/config/byte_size.h"
#include "server/config/config_file.h"
#include "server/config/flag_spelling.h"
#include "server/config/nearest_name.h"
#include "server/config/quoted.h"

namespace tidal {
namespace {

constexpr char kPrefix[] = "TIDAL_";

bool IsSecret(absl::string_view flag) { return flag == "api_key"; }

// These say where the rest is, or what to do; a file cannot.
bool IsForFiles(absl::string_view flag) { return flag != "config" && flag != "print_config"; }

bool IsList(const absl::CommandLineFlag& flag) { return flag.IsOfType<std::vector<std::string>>(); }

// What a value of this flag looks like, as the end of "must be ...".
const char* FormOf(const absl::CommandLineFlag& flag) {
  if (flag.IsOfType<bool>()) return "true or false";
  if (flag.IsOfType<int32_t>() || flag.IsOfType<std::optional<int32_t>>()) {
    return "a whole number of 32 bits";
  }
  if (flag.IsOfType<int64_t>()) return "a whole number";
  if (flag.IsOfType<std::optional<uint32_t>>() || flag.IsOfType<std::optional<uint64_t>>()) {
    return "a whole number, 0 or more";
  }
  if (flag.IsOfType<double>() || flag.IsOfType<std::optional<float>>()) return "a number";
  if (flag.IsOfType<absl::Duration>()) return "a duration, such as 500ms, 30s or 2m";
  if (flag.IsOfType<ByteSize>()) return "a number of bytes, such as 65536, 512MiB or 4GiB";
  return "a value of its kind";
}

absl::Status SetFlag(absl::CommandLineFlag* flag, const std::string& value) {
  std::string error;
  if (flag->ParseFrom(value, &error)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("must be ", FormOf(*flag), ", got ", Quoted(value)));
}

absl::Status CheckList(const absl::CommandLineFlag* flag, const ConfigEntry& entry) {
  if (!entry.is_list) return absl::OkStatus();
  if (flag == nullptr || !IsList(*flag)) {
    return absl::InvalidArgumentError("must be one value, got a list");
  }
  for (const std::string& value : entry.values) {
    if (absl::StrContains(value, ',')) {
      return absl::InvalidArgumentError("must be a list of values without commas");
    }
  }
  return absl::OkStatus();
}

absl::Status SetFlag(const FlagSpelling& spelling, const ConfigEntry& entry) {
  absl::Status status = CheckList(spelling.flag(), entry);
  if (status.ok()) {
    TIDAL_ASSIGN_OR_RETURN(const std::string value,
                           spelling.Value(absl::StrJoin(entry.values, ",")));
    if (spelling.flag() == nullptr) return absl::OkStatus();
    status = SetFlag(spelling.flag(), value);
  }
  if (status.ok()) return status;
  return absl::InvalidArgumentError(absl::StrCat(entry.key, ": ", status.message()));
}

std::string VariableOf(absl::string_view flag) {
  return absl::StrCat(kPrefix, absl::AsciiStrToUpper(flag));
}

std::map<std::string, absl::CommandLineFlag*> FlagsByVariable() {
  std::map<std::string, absl::CommandLineFlag*> flags;
  for (const auto& [name, flag] : OurFlags()) flags.emplace(VariableOf(name), flag);
  return flags;
}

// A service called tidal-server makes Kubernetes give every container TIDAL_SERVER_SERVICE_HOST,
// TIDAL_SERVER_SERVICE_PORT_HTTP, TIDAL_SERVER_PORT=tcp://10.0.0.1:8000 and
// TIDAL_SERVER_PORT_8000_TCP_ADDR. One called tidal-http makes a TIDAL_HTTP_PORT, the name of a
// flag: its value tells.
bool IsOfKubernetes(absl::string_view name, absl::string_view value) {
  if (absl::EndsWith(name, "_SERVICE_HOST") || absl::StrContains(name, "_SERVICE_PORT")) {
    return true;
  }
  if (absl::EndsWith(name, "_PORT") && absl::StrContains(value, "://")) return true;
  for (const char* suffix : {"_PROTO", "_PORT", "_ADDR"}) {
    if (absl::ConsumeSuffix(&name, suffix)) break;
  }
  for (const char* protocol : {"_TCP", "_UDP", "_SCTP"}) {
    if (!absl::ConsumeSuffix(&name, protocol)) continue;
    const size_t number = name.find_last_not_of("0123456789") + 1;
    return number < name.size() && absl::EndsWith(name.substr(0, number), "_PORT_");
  }
  return false;
}

// As YAML has it, in one line.
std::string Scalar(const std::string& value) {
  YAML::Emitter emitter;
  emitter << value;
  return emitter.c_str();
}

}  // namespace

bool DefinesOurFlags(absl::string_view file) {
  return absl::EndsWith(file, "_flags.cc") || absl::EndsWith(file, "_main.cc");
}

std::map<std::string, absl::CommandLineFlag*> OurFlags() {
  std::map<std::string, absl::CommandLineFlag*> flags;
  for (const auto& [name, flag] : absl::GetAllFlags()) {
    if (DefinesOurFlags(flag->Filename())) flags.emplace(name, flag);
  }
  return flags;
}

std::vector<std::string> OurFlagNames() {
  std::vector<std::string> names;
  for (const auto& [name, flag] : OurFlags()) names.push_back(name);
  return names;
}

Variables TidalVariables() {
  Variables variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const absl::string_view text = *entry;
    const size_t equals = text.find('=');
    if (!absl::StartsWith(text, kPrefix) || equals == text.npos) continue;
    variables.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  std::sort(variables.begin(), variables.end());
  return variables;
}

absl::Status FlagSources::SetFromFile(const std::string& path) {
  TIDAL_ASSIGN_OR_RETURN(const std::vector<ConfigEntry> entries, ReadConfigFile(path));
  const std::map<std::string, absl::CommandLineFlag*> flags = OurFlags();
  std::map<std::string, int> lines;  // of the flags that have one, however they were written
  for (const ConfigEntry& entry : entries) {
    const std::string place = absl::StrCat(path, ":", entry.line);
    const std::optional<FlagSpelling> spelling = FlagSpelling::Find(entry.key);
    absl::CommandLineFlag* const flag = spelling.has_value() ? spelling->flag() : nullptr;
    const std::string name(flag == nullptr ? "" : flag->Name());
    if (!spelling.has_value() || (flag != nullptr && flags.count(name) == 0) || !IsForFiles(name)) {
      return absl::InvalidArgumentError(
          absl::StrCat(place, ": unknown key ", Quoted(entry.key), FlagSpelling::Hint(entry.key)));
    }
    if (const absl::Status status = SetFlag(*spelling, entry); !status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(place, ": ", status.message()));
    }
    if (flag == nullptr) continue;
    if (const auto [first, is_new] = lines.emplace(name, entry.line); !is_new) {
      return absl::InvalidArgumentError(
          absl::StrCat(place, ": ", entry.key, ": is already on line ", first->second));
    }
    RecordSource(name, place);
  }
  return absl::OkStatus();
}

absl::Status FlagSources::SetFromVariables(const Variables& variables) {
  const std::map<std::string, absl::CommandLineFlag*> flags = FlagsByVariable();
  for (const auto& [name, value] : variables) {
    const auto found = flags.find(name);
    if (found == flags.end() || value.empty() || IsOfKubernetes(name, value)) continue;
    if (const absl::Status status = SetFlag(found->second, value); !status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": ", status.message()));
    }
    RecordSource(std::string(found->second->Name()), name);
  }
  return absl::OkStatus();
}

void FlagSources::RecordSource(const std::string& flag, std::string source) {
  sources_[flag] = std::move(source);
}

std::string FlagSources::ToYaml() const {
  std::map<std::string, std::string> text_of_file;
  for (const auto& [name, flag] : OurFlags()) {
    if (!IsForFiles(name)) continue;
    const auto found = sources_.find(name);
    const std::string source = found == sources_.end() ? "default" : found->second;
    std::string& text = text_of_file[flag->Filename()];
    if (IsSecret(name) && flag->CurrentValue() != flag->DefaultValue()) {
      absl::StrAppend(&text, "# ", name, ": set, not shown  # ", source, "\n");
    } else {
      absl::StrAppend(&text, name, ": ", Scalar(flag->CurrentValue()), "  # ", source, "\n");
    }
  }
  std::string yaml;
  for (const auto& [file, text] : text_of_file) {
    absl::StrAppend(&yaml, yaml.empty() ? "" : "\n", "# Flags from ", file, "\n", text);
  }
  return yaml;
}

std::vector<std::string> UnknownVariables(const Variables& variables) {
  std::vector<std::string> names;
  for (const auto& [name, flag] : FlagsByVariable()) names.push_back(name);
  std::vector<std::string> unknown;
  for (const auto& [name, value] : variables) {
    if (IsOfKubernetes(name, value) || std::count(names.begin(), names.end(), name) > 0) continue;
    unknown.push_back(absl::StrCat(name, DidYouMean(name, names)));
  }
  return unknown;
}

}  // namespace tidal
