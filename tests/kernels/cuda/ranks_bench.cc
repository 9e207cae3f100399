// What the operations between ranks take, in a graph, on 2 GPUs or more; ranks share a GPU where
// there are too few, which shows that it works and not how fast it is.
//
//   cuda_ranks_bench [ranks] [hidden] [columns of a rank's logits]
#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/ranks/rank_channels.h"
#include "kernels/cuda/ranks/rank_ops.h"
#include "tests/kernels/cuda/device_ranks.h"

namespace tidal {
namespace {

constexpr int kOperations = 64;  // of a graph
constexpr int kRuns = 20;

// Of one operation, the least of a few runs, in microseconds.
double Time(Backend& backend, GraphKey key, const std::function<void()>& run) {
  for (int i = 0; i < 3; ++i) run();
  backend.BeginGraph(key);
  for (int i = 0; i < kOperations; ++i) run();
  std::string error = backend.EndGraph();
  error += backend.Synchronize();
  if (!error.empty()) {
    std::fprintf(stderr, "%s\n", error.c_str());
    std::abort();
  }
  double least = 1e9;
  for (int i = 0; i < kRuns; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    backend.RunGraph(key);
    (void)backend.Synchronize();
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin;
    least = std::min(least, took.count() / kOperations);
  }
  return least;
}

void Run(int size, int32_t hidden, int32_t part_columns) {
  constexpr int32_t kMostRows = 2048;
  const auto groups = MakeTestGroup(size, true);
  OnEachRank(size, [&](int rank) {
    std::string error;
    std::unique_ptr<Backend> backend = MakeRankBackend(groups[rank].get(), &error);
    BackendLimits limits;
    limits.vocab_size = part_columns;
    limits.hidden_size = hidden;
    limits.num_heads = limits.num_kv_heads = 1;
    limits.head_dim = 16;
    limits.max_tokens = kMostRows;
    limits.max_decode_rows = limits.max_sampled_rows = 16;
    limits.max_context_len = 64;
    limits.block_size = 16;
    if (backend == nullptr || !backend->Reserve(limits)) {
      std::fprintf(stderr, "rank %d: %s\n", rank, error.c_str());
      std::abort();
    }
    const size_t elements = size_t{kMostRows} * hidden;
    auto* const partial = static_cast<float*>(backend->Allocate(elements * sizeof(float)));
    auto* const residual = static_cast<float*>(backend->Allocate(elements * sizeof(float)));
    auto* const out = static_cast<bfloat16*>(backend->Allocate(elements * sizeof(bfloat16)));
    auto* const weight = static_cast<bfloat16*>(backend->Allocate(hidden * sizeof(bfloat16)));
    const size_t part = size_t{64} * part_columns;
    auto* const part_logits = static_cast<float*>(backend->Allocate(part * sizeof(float)));
    auto* const logits = static_cast<float*>(backend->Allocate(part * size * sizeof(float)));
    GraphKey key = 0;
    for (const int32_t rows : {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048}) {
      const double us = Time(*backend, ++key, [&] {
        backend->ReduceNorm({partial, residual, weight, out, DType::kBF16, rows, hidden, 1e-5f});
      });
      if (rank == 0) {
        std::printf("ReduceNorm     %5d x %d, %8.0f KB: %8.2f us\n", rows, hidden,
                    rows * hidden * 2 / 1024.0, us);
      }
    }
    for (const int32_t rows : {1, 8, 64}) {
      const double us = Time(*backend, ++key, [&] {
        backend->GatherColumns({part_logits, logits, rows, part_columns, part_columns * size});
      });
      if (rank == 0) {
        std::printf("GatherColumns  %5d x %d, %8.0f KB: %8.2f us\n", rows, part_columns,
                    4.0 * rows * part_columns / 1024.0, us);
      }
    }
    const double us = Time(*backend, ++key, [&] {
      backend->RmsNorm({residual, weight, out, DType::kBF16, 1, hidden, 1e-5f});
    });
    int devices = 0;
    cudaGetDeviceCount(&devices);
    if (rank == 0 && devices < size) std::printf("the ranks share a GPU\n");
    if (rank == 0) std::printf("RmsNorm            1 x %d, for comparison: %8.2f us\n", hidden, us);
  });
}

// The exchange of one set's scores, of rows of one length.
void RunScores(int size) {
  constexpr int32_t kMostRows = 8, kContext = 131072;
  const auto groups = MakeTestGroup(size, true);
  OnEachRank(size, [&](int rank) {
    const auto require = [](bool ok, const std::string& what) {
      if (ok) return;
      std::fprintf(stderr, "%s\n", what.c_str());
      std::abort();
    };
    std::string error;
    cuda::DeviceContext context;
    context.device = cuda::DeviceOfRank(*groups[rank], 0, /*share=*/false, &error);
    context.MakeCurrent();
    cudaSetDevice(context.device);  // of this program's CUDA runtime
    context.compute_capability = 90;
    cudaDeviceGetAttribute(&context.num_sms, cudaDevAttrMultiProcessorCount, context.device);
    cudaStreamCreateWithFlags(&context.stream, cudaStreamNonBlocking);
    context.side_stream = context.stream;
    cuda::RankChannels channels(groups[rank].get(), context);
    error = channels.Connect();
    require(error.empty(), error);
    BackendLimits limits;
    limits.hidden_size = 64;
    limits.max_tokens = limits.max_decode_rows = kMostRows;
    limits.max_scored_tokens = int64_t{kMostRows} * kContext;
    require(channels.Reserve(limits), "memory");
    // Row after row of four arrays: context lengths, budgets, recency, beginnings.
    std::vector<int32_t> numbers;
    for (const int32_t number : {kContext, 4096, 400})
      numbers.resize(numbers.size() + kMostRows, number);
    for (int32_t row = 0; row < kMostRows; ++row) numbers.push_back(row * kContext);
    int32_t* on_device = nullptr;
    cuda::SelectionScores scores{};
    scores.head_stride = int64_t{kMostRows} * kContext;
    cudaMalloc(&on_device, numbers.size() * sizeof(int32_t));
    cudaMalloc(&scores.keys, scores.head_stride * sizeof(uint32_t));
    cudaMemcpy(on_device, numbers.data(), numbers.size() * sizeof(int32_t), cudaMemcpyDefault);
    cudaMemset(scores.keys, 0x70, scores.head_stride * sizeof(uint32_t));
    scores.row_begins = on_device + 3 * kMostRows;
    PagedDecodeParams rows{};
    rows.kv.num_kv_heads = rows.num_heads = 1;
    rows.tables.context_lens = on_device;
    SelectTokensParams select{};
    select.token_budgets = on_device + kMostRows;
    select.recency = on_device + 2 * kMostRows;
    select.score = SelectionScore::kMaxLogit;
    for (rows.rows = 1; rows.rows <= kMostRows; rows.rows *= 8) {
      cudaGraph_t graph = nullptr;
      cudaGraphExec_t executable = nullptr;
      cudaStreamBeginCapture(context.stream, cudaStreamCaptureModeThreadLocal);
      for (int i = 0; i < kOperations; ++i) {
        cuda::SendScores(rows, select, scores, {0, size}, channels.scores(), context);
        cuda::CombineScores(rows, select, scores, {0, size}, channels.scores(), context);
      }
      cudaStreamEndCapture(context.stream, &graph);
      require(cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess, "graph");
      require(channels.AllAgree(true), groups[rank]->failure());
      double least = 1e9;
      for (int i = 0; i < kRuns; ++i) {
        const auto begin = std::chrono::steady_clock::now();
        cudaGraphLaunch(executable, context.stream);
        require(cudaStreamSynchronize(context.stream) == cudaSuccess, "ReduceScores");
        const std::chrono::duration<double, std::micro> took =
            std::chrono::steady_clock::now() - begin;
        least = std::min(least, took.count() / kOperations);
      }
      error = channels.Failure();
      require(error.empty() && context.error.empty(), error + context.error);
      if (rank == 0) {
        std::printf("ReduceScores   %5d x %d, %8.0f KB: %8.2f us\n", rows.rows, kContext,
                    4.0 * rows.rows * kContext / 1024, least);
      }
    }
  });
}

}  // namespace
}  // namespace tidal

int main(int argc, char** argv) {
  const auto argument = [&](int i, int otherwise) {
    return argc > i ? std::atoi(argv[i]) : otherwise;
  };
  tidal::Run(argument(1, 2), argument(2, 8192), argument(3, 64128));
  tidal::RunScores(argument(1, 2));
  return 0;
}
