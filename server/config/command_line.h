// What the programs share in reading their flags. A flag has the value of the first of these that
// gives it one:
//
//   the command line         --max_num_seqs=64, also in the lines of a --flagfile (arguments.h)
//   the environment          TIDAL_MAX_NUM_SEQS=64
//   a configuration file     max_num_seqs: 64, in the YAML file --config or TIDAL_CONFIG names
//   its default
#ifndef TIDAL_SERVER_CONFIG_COMMAND_LINE_H_
#define TIDAL_SERVER_CONFIG_COMMAND_LINE_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace tidal {

// Sets the flags and returns the other arguments; the first of them sets the flag `positional`, if
// that is not empty. Answers --help, with `usage` and all flags of ours, and --version; ends the
// program with one line that says why, and exit code 1, on a flag, variable or file that is wrong.
// Before other threads start.
std::vector<std::string> ParseCommandLine(int argc, char** argv, absl::string_view usage,
                                          absl::string_view positional = "");

// Where --print_config asks for it, prints the value of each flag and where it comes from, as a
// file for --config, and returns true; where it cannot be written, ends the program with exit code
// 1. To be called once the flags are known to be right.
bool PrintConfigIfAsked();

// A warning in the log for each variable TIDAL_... that is no flag. It is no error: programs that
// share an environment have different flags.
void LogUnknownVariables();

}  // namespace tidal

#endif  // TIDAL_SERVER_CONFIG_COMMAND_LINE_H_
