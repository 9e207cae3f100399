// The flags that say where the other flags are.
#ifndef TIDAL_SERVER_CONFIG_CONFIG_FLAGS_H_
#define TIDAL_SERVER_CONFIG_CONFIG_FLAGS_H_

#include <string>

#include "absl/flags/declare.h"
#include "absl/flags/flag.h"

ABSL_DECLARE_FLAG(std::string, config);
ABSL_DECLARE_FLAG(bool, print_config);

#endif  // TIDAL_SERVER_CONFIG_CONFIG_FLAGS_H_
