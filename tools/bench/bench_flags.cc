#include "tools/bench/bench_flags.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

ABSL_FLAG(std::string, device, "auto", "auto, cpu or cuda");
ABSL_FLAG(int32_t, num_threads, 0, "threads of the CPU back end; 0 = all cores");
ABSL_FLAG(int32_t, cuda_device, 0, "number of the GPU");
ABSL_FLAG(bool, cuda_graphs, true, "replay decode steps as CUDA graphs");
ABSL_FLAG(std::string, json, "", "file to write the results to");

namespace tidal {

void ParseBenchFlags(int argc, char** argv, absl::string_view usage, const char* main_file) {
  for (int i = 1; i < argc; ++i) {
    char* const name = argv[i] + std::strspn(argv[i], "-");
    if (name != argv[i]) std::replace(name, name + std::strcspn(name, "="), '-', '_');
  }
  absl::SetProgramUsageMessage(usage);
  absl::FlagsUsageConfig config;
  config.contains_help_flags = [main_file](absl::string_view file) {
    return absl::EndsWith(file, "bench_flags.cc") || absl::EndsWith(file, main_file);
  };
  config.normalize_filename = [](absl::string_view file) {
    return std::string(file.substr(std::min(file.rfind("tools/"), file.size())));
  };
  absl::SetFlagsUsageConfig(config);
  absl::ParseCommandLine(argc, argv);
}

BackendOptions BackendOptionsFromFlags() {
  BackendOptions options;
  options.device = absl::GetFlag(FLAGS_device);
  options.num_threads = absl::GetFlag(FLAGS_num_threads);
  options.cuda_device = absl::GetFlag(FLAGS_cuda_device);
  options.cuda_graphs = absl::GetFlag(FLAGS_cuda_graphs);
  return options;
}

absl::StatusOr<std::vector<int32_t>> ParsePositiveInts(const char* flag,
                                                       const std::vector<std::string>& values) {
  std::vector<int32_t> ints;
  for (const std::string& value : values) {
    int32_t parsed = 0;
    if (!absl::SimpleAtoi(value, &parsed) || parsed < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("--", flag, ": must be positive numbers, got '", value, "'"));
    }
    ints.push_back(parsed);
  }
  return ints;
}

absl::Status WriteJson(const nlohmann::json& value) {
  const std::string path = absl::GetFlag(FLAGS_json);
  if (path.empty()) return absl::OkStatus();
  std::ofstream file(path);
  file << value.dump(1) << "\n";
  file.flush();
  return file.good() ? absl::OkStatus()
                     : absl::UnknownError(absl::StrCat("--json: cannot write '", path, "'"));
}

}  // namespace tidal
