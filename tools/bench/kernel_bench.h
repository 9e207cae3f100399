// Times single operations of a back end on random data: attention of every kind, matrix products,
// sampling.
//
// Each cell calls the operation once for each of several layers, in turn, so that the data of a
// call has left the caches before its next turn; on a GPU these calls are one graph. The time is
// that of a call, the median over several rounds.
#ifndef TIDAL_TOOLS_BENCH_KERNEL_BENCH_H_
#define TIDAL_TOOLS_BENCH_KERNEL_BENCH_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"

namespace tidal {

struct KernelBenchOptions {
  int32_t num_heads = 32, num_kv_heads = 8, head_dim = 128, block_size = 16;
  int32_t hidden = 4096, intermediate = 14336, vocab = 128256;
  SelectionGranularity granularity = SelectionGranularity::kShared;
  std::vector<int32_t> contexts = {4096, 32768, 131072};
  std::vector<int32_t> batches = {1, 8, 32};
  std::vector<int32_t> token_budgets = {1024, 2048};
  std::vector<int32_t> prefill_lengths = {4096, 16384};
  std::vector<int32_t> matmul_rows = {1, 8, 32, 64};
  int64_t max_kv_bytes = int64_t{40} << 30;  // cells that need more are left out
  double read_bandwidth = 0;                 // bytes per second, measured
};

struct KernelResult {
  std::string operation;  // "paged_decode", "selecting_decode", "sparse_decode", "matmul", ...
  std::string shape;      // "batch 8, context 32768"
  double microseconds = 0;
  double gigabytes_per_second = 0;  // of the bytes that must be read
  double bound_share = 0;           // of the measured read bandwidth
  double teraflops = 0;             // of what computing limits; else 0
};

// UNAVAILABLE when an operation fails.
absl::StatusOr<std::vector<KernelResult>> RunKernelBench(
    Backend& backend, const KernelBenchOptions& options,
    const std::function<void(const KernelResult&)>& report);

// The program behind "tidal-bench kernels".
int RunKernelBenchMain(int argc, char** argv);

}  // namespace tidal

#endif  // TIDAL_TOOLS_BENCH_KERNEL_BENCH_H_
