// tidal-bench kernels: single operations on random data.
//   tidal-bench kernels --device=cuda --kernel_batches=1,8,32 --kernel_contexts=4096,131072
//   --json=F
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "kernels/backends.h"
#include "nlohmann/json.hpp"
#include "tools/bench/bench_flags.h"
#include "tools/bench/kernel_bench.h"

ABSL_FLAG(int32_t, num_heads, 32, "kernels: query heads");
ABSL_FLAG(int32_t, num_kv_heads, 8, "kernels: KV heads");
ABSL_FLAG(int32_t, head_dim, 128, "kernels: elements of a head");
ABSL_FLAG(int32_t, block_size, 16, "kernels: tokens of a KV block");
ABSL_FLAG(std::string, granularity, "shared", "kernels: shared or kv_head sets");
ABSL_FLAG(std::vector<std::string>, kernel_contexts,
          std::vector<std::string>({"4096", "32768", "131072"}), "kernels: context lengths");
ABSL_FLAG(std::vector<std::string>, kernel_batches, std::vector<std::string>({"1", "8", "32"}),
          "kernels: rows of decode attention");
ABSL_FLAG(std::vector<std::string>, kernel_budgets, std::vector<std::string>({"1024", "2048"}),
          "kernels: token budgets of selection and sparse attention");
ABSL_FLAG(std::vector<std::string>, kernel_prefill, std::vector<std::string>({"4096", "16384"}),
          "kernels: prompt lengths of prefill attention");
ABSL_FLAG(std::vector<std::string>, matmul_rows, std::vector<std::string>({"1", "8", "32", "64"}),
          "kernels: rows of matrix products and sampling");

namespace tidal {
namespace {

absl::StatusOr<KernelBenchOptions> OptionsFromFlags() {
  KernelBenchOptions options;
  options.num_heads = absl::GetFlag(FLAGS_num_heads);
  options.num_kv_heads = absl::GetFlag(FLAGS_num_kv_heads);
  options.head_dim = absl::GetFlag(FLAGS_head_dim);
  options.block_size = absl::GetFlag(FLAGS_block_size);
  const std::string granularity = absl::GetFlag(FLAGS_granularity);
  if (granularity != "shared" && granularity != "kv_head") {
    return absl::InvalidArgumentError(
        absl::StrCat("--granularity: must be shared or kv_head, got '", granularity, "'"));
  }
  if (granularity == "kv_head") options.granularity = SelectionGranularity::kKvHead;
  const struct {
    const char* name;
    std::vector<std::string> values;
    std::vector<int32_t>* out;
  } lists[] = {{"kernel_contexts", absl::GetFlag(FLAGS_kernel_contexts), &options.contexts},
               {"kernel_batches", absl::GetFlag(FLAGS_kernel_batches), &options.batches},
               {"kernel_budgets", absl::GetFlag(FLAGS_kernel_budgets), &options.token_budgets},
               {"kernel_prefill", absl::GetFlag(FLAGS_kernel_prefill), &options.prefill_lengths},
               {"matmul_rows", absl::GetFlag(FLAGS_matmul_rows), &options.matmul_rows}};
  for (const auto& list : lists) {
    absl::StatusOr<std::vector<int32_t>> parsed = ParsePositiveInts(list.name, list.values);
    if (!parsed.ok()) return parsed.status();
    *list.out = *std::move(parsed);
  }
  return options;
}

void PrintRow(const KernelResult& r) {
  std::printf("%-18s %-44s %10.1f %10.0f %6.0f%% %8.0f\n", r.operation.c_str(), r.shape.c_str(),
              r.microseconds, r.gigabytes_per_second, 100 * r.bound_share, r.teraflops);
  std::fflush(stdout);
}

absl::Status Run() {
  absl::StatusOr<KernelBenchOptions> options = OptionsFromFlags();
  if (!options.ok()) return options.status();
  std::string message;
  const std::unique_ptr<Backend> backend = MakeBackend(BackendOptionsFromFlags(), &message);
  if (backend == nullptr) return absl::UnavailableError(message);
  options->read_bandwidth = backend->MeasureReadBandwidth();
  if (options->read_bandwidth <= 0) {
    return absl::ResourceExhaustedError("no memory to measure the read bandwidth with");
  }
  options->max_kv_bytes = backend->memory().free_bytes / 10 * 7;
  std::printf("%s; read bandwidth %.1f GB/s\n", backend->info().name.c_str(),
              options->read_bandwidth / 1e9);
  std::printf("%-18s %-44s %10s %10s %7s %8s\n", "operation", "shape", "us", "GB/s", "bound",
              "TFLOP/s");
  absl::StatusOr<std::vector<KernelResult>> results = RunKernelBench(*backend, *options, PrintRow);
  if (!results.ok()) return results.status();

  nlohmann::json array = nlohmann::json::array();
  for (const KernelResult& r : *results) {
    array.push_back({{"operation", r.operation},
                     {"shape", r.shape},
                     {"microseconds", r.microseconds},
                     {"gigabytes_per_second", r.gigabytes_per_second},
                     {"bound_share", r.bound_share},
                     {"teraflops", r.teraflops}});
  }
  return WriteJson({{"device", backend->info().name},
                    {"read_bandwidth", options->read_bandwidth},
                    {"results", array}});
}

}  // namespace

int RunKernelBenchMain(int argc, char** argv) {
  ParseBenchFlags(argc, argv, "Times single operations of a back end on random data.",
                  "kernel_bench_main.cc");
  const absl::Status status = Run();
  if (status.ok()) return 0;
  std::fprintf(stderr, "tidal-bench kernels: %s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace tidal
