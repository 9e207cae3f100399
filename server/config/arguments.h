// The arguments of a program, brought to the one form that Abseil reads.
#ifndef TIDAL_SERVER_CONFIG_ARGUMENTS_H_
#define TIDAL_SERVER_CONFIG_ARGUMENTS_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tidal {

struct Arguments {
  // The program's name, then "--flag=value" each, with the flags' own names, and the others.
  std::vector<std::string> list;
  // Of each flag in the list: "command line" or "flagfile".
  std::map<std::string, std::string> sources;
};

// Reads flags as FlagSpelling has them, --name=value, --name value or, of a switch, --name, and in
// place of each --flagfile its lines. `positional` names the flag that the first argument which is
// none sets, after the word "serve" if that comes first; empty: no flag. INVALID_ARGUMENT for a
// flag that there is not, with the nearest name or what to do instead; for a value that a flag of
// vLLM's cannot have here; for a flagfile that cannot be read.
absl::StatusOr<Arguments> ReadArguments(int argc, char** argv, absl::string_view positional);

}  // namespace tidal

#endif  // TIDAL_SERVER_CONFIG_ARGUMENTS_H_
