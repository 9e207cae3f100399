// What the programs share in reading their command line.
#ifndef TIDAL_SERVER_COMMAND_LINE_H_
#define TIDAL_SERVER_COMMAND_LINE_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace tidal {

// The version of this build, "0.1.0".
absl::string_view Version();

// Parses flags (also from --flagfile) and returns the other arguments. Answers --help, with `usage`
// and all flags of ours, and --version; ends the program on an unknown flag.
std::vector<std::string> ParseCommandLine(int argc, char** argv, absl::string_view usage);

}  // namespace tidal

#endif  // TIDAL_SERVER_COMMAND_LINE_H_
