#include "server/config/config_flags.h"

ABSL_FLAG(std::string, config, "",
          "YAML file with flags: a mapping of their names to values. The environment (TIDAL_ and "
          "the flag's name in upper case) and the command line take precedence.");
ABSL_FLAG(bool, print_config, false,
          "Print the value of each flag and where it comes from, as a file for --config, and end.");
