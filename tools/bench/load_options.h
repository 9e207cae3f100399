// The flags of tidal-bench load.
#ifndef TIDAL_TOOLS_BENCH_LOAD_OPTIONS_H_
#define TIDAL_TOOLS_BENCH_LOAD_OPTIONS_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace tidal {

struct LoadOptions {
  std::string target = "127.0.0.1:8000";
  std::string api = "http";  // or grpc
  int32_t concurrency = 8;   // requests in flight; with request_rate: at most
  double request_rate = 0;   // requests per second, Poisson arrivals; 0 = as fast as answered
  int32_t num_requests = 100;
  int32_t prompt_tokens = 512;
  int32_t max_tokens = 64;         // exactly so many are generated
  std::string attention = "auto";  // or full, tidal
  uint32_t token_budget = 0;       // 0 = the model's default
  // Of prompts and arrivals. 0 = another one in each run, so that none finds the prompts of the
  // last in the prefix cache; ParseLoadOptions puts it here.
  uint64_t seed = 0;
  std::string extra_body;  // JSON object whose members each HTTP request has besides; empty = none
  std::string api_key;
  std::string json;  // file for the results; empty = none
};

// Parses and checks the sub-command's flags, --name=value each. INVALID_ARGUMENT names the flag.
absl::StatusOr<LoadOptions> ParseLoadOptions(int argc, char** argv);

// What --help prints.
std::string LoadUsage();

}  // namespace tidal

#endif  // TIDAL_TOOLS_BENCH_LOAD_OPTIONS_H_
