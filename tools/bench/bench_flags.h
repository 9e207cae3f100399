// Flags and output that the modes of tidal-bench share.
#ifndef TIDAL_TOOLS_BENCH_BENCH_FLAGS_H_
#define TIDAL_TOOLS_BENCH_BENCH_FLAGS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/backends.h"
#include "nlohmann/json_fwd.hpp"

namespace tidal {

// From --device, --num_threads, --cuda_device and --cuda_graphs.
BackendOptions BackendOptionsFromFlags();

// INVALID_ARGUMENT names the flag.
absl::StatusOr<std::vector<int32_t>> ParsePositiveInts(const char* flag,
                                                       const std::vector<std::string>& values);

// To the file of --json, if one was named.
absl::Status WriteJson(const nlohmann::json& value);

}  // namespace tidal

#endif  // TIDAL_TOOLS_BENCH_BENCH_FLAGS_H_
