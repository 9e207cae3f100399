// Flags and output that the modes of tidal-bench share.
#ifndef TIDAL_TOOLS_BENCH_BENCH_FLAGS_H_
#define TIDAL_TOOLS_BENCH_BENCH_FLAGS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/backends.h"
#include "nlohmann/json_fwd.hpp"

namespace tidal {

// Parses the command line, where flags may have dashes for underscores, with the flags of this file
// and of `main_file`. Answers --help with `usage` and those flags. Ends the program on a mistake.
void ParseBenchFlags(int argc, char** argv, absl::string_view usage, const char* main_file);

// From --device, --num_threads, --cuda_device and --cuda_graphs.
BackendOptions BackendOptionsFromFlags();

// INVALID_ARGUMENT names the flag.
absl::StatusOr<std::vector<int32_t>> ParsePositiveInts(const char* flag,
                                                       const std::vector<std::string>& values);

// To the file of --json, if one was named.
absl::Status WriteJson(const nlohmann::json& value);

}  // namespace tidal

#endif  // TIDAL_TOOLS_BENCH_BENCH_FLAGS_H_
