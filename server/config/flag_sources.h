// Flags that are set elsewhere than on the command line, and where each got its value from.
#ifndef TIDAL_SERVER_CONFIG_FLAG_SOURCES_H_
#define TIDAL_SERVER_CONFIG_FLAG_SOURCES_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/commandlineflag.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace tidal {

// Whether a flag that this source file defines is one of ours.
bool DefinesOurFlags(absl::string_view file);
// Our flags of this program, by name.
std::map<std::string, absl::CommandLineFlag*> OurFlags();
std::vector<std::string> OurFlagNames();

// Name and value of the process's variables whose names begin with TIDAL_, sorted.
using Variables = std::vector<std::pair<std::string, std::string>>;
Variables TidalVariables();

// Not thread-safe, as nothing is that sets flags.
class FlagSources {
 public:
  // Sets flags from a YAML file (config_file.h), whose keys are what FlagSpelling finds.
  // INVALID_ARGUMENT "FILE:LINE: ..." for what is wrong there, with the nearest name where there is
  // no such flag.
  absl::Status SetFromFile(const std::string& path);

  // Sets each flag whose name in upper case, after TIDAL_, is a variable that is not empty. Other
  // variables are left to others, see UnknownVariables(). INVALID_ARGUMENT names the variable.
  absl::Status SetFromVariables(const Variables& variables);

  // The flag got its value from `source`, whoever set it.
  void RecordSource(const std::string& flag, std::string source);

  // All flags as a file that SetFromFile() takes, grouped by the source file that defines them,
  // with the source of each value as a comment. Secrets are named only.
  std::string ToYaml() const;

 private:
  std::map<std::string, std::string> sources_;  // by flag; the others have their defaults
};

// The variables that are no flag and that Kubernetes did not make of a service's name, as
// "NAME" or "NAME; did you mean OTHER?".
std::vector<std::string> UnknownVariables(const Variables& variables);

}  // namespace tidal

#endif  // TIDAL_SERVER_CONFIG_FLAG_SOURCES_H_
