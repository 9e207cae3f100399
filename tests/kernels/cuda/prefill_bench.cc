// Times prefill attention, our own kernel and cuDNN side by side: the numbers behind the choice in
// kernels/cuda/attention/prefill.cc.
//
//   cuda_prefill_bench [query heads = 32] [kv heads = 8] [head_dim = 128] [block size = 16]
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/attention/prefill.h"
#include "tests/kernels/prefill_case.h"

namespace tidal {
namespace {

using cuda::PrefillAttentionEngine;
using cuda::PrefillLibrary;

struct Call {
  int32_t sequences, query_len, context_len;
};

constexpr Call kCalls[] = {
    {1, 512, 512},   {1, 2048, 2048},  {1, 4096, 4096},   {1, 8192, 8192}, {1, 16384, 16384},
    {1, 2048, 8192}, {1, 2048, 32768}, {1, 2048, 131072}, {1, 512, 32768}, {1, 256, 32768},
    {1, 128, 32768}, {1, 64, 32768},   {1, 32, 32768},    {1, 16, 32768},  {1, 128, 1024},
    {1, 64, 1024},   {4, 512, 512},    {8, 1024, 1024},   {16, 256, 4096}, {32, 64, 1024},
};
constexpr int32_t kMaxTokens = 16384, kMaxContextLen = 131072;

void Require(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "cuda_prefill_bench: %s: %s\n", what,
               cudaGetErrorString(cudaGetLastError()));
  std::exit(1);
}

template <typename T>
T* Upload(const std::vector<T>& host) {
  T* device = nullptr;
  Require(cudaMalloc(&device, host.size() * sizeof(T)) == cudaSuccess, "cudaMalloc");
  Require(cudaMemcpy(device, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice) ==
              cudaSuccess,
          "cudaMemcpy");
  return device;
}

bfloat16* UploadRandom(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<bfloat16> some(1 << 20), all(count);
  for (bfloat16& x : some) x = ToBFloat16(normal(random));
  for (size_t i = 0; i < count; ++i) all[i] = some[(i + i / some.size() * 7919) % some.size()];
  return Upload(all);
}

// Microseconds of one call.
double Time(PrefillAttentionEngine& engine, const PrefillAttentionParams& params,
            cuda::DeviceContext& context) {
  cudaEvent_t begin, end;
  cudaEventCreate(&begin);
  cudaEventCreate(&end);
  const auto run = [&](int count) {
    cudaEventRecord(begin, context.stream);
    for (int i = 0; i < count; ++i) engine.Run(params);
    cudaEventRecord(end, context.stream);
    Require(cudaEventSynchronize(end) == cudaSuccess && context.error.empty(), "Run");
    float ms = 0;
    cudaEventElapsedTime(&ms, begin, end);
    return ms * 1e3 / count;
  };
  run(1);
  const int count = std::clamp(static_cast<int>(5e4 / run(2)), 2, 100);
  std::vector<double> times;
  for (int i = 0; i < 3; ++i) times.push_back(run(count));
  std::sort(times.begin(), times.end());
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  return times[1];
}

int Main(const PrefillHeads& heads) {
  cuda::DeviceContext context;
  int major = 0, minor = 0;
  Require(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0) == cudaSuccess,
          "no device");
  cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0);
  cudaDeviceGetAttribute(&context.num_sms, cudaDevAttrMultiProcessorCount, 0);
  context.compute_capability = 10 * major + minor;
  Require(cudaStreamCreate(&context.stream) == cudaSuccess, "cudaStreamCreate");

  PrefillAttentionEngine own(context, PrefillLibrary::kOwn);
  PrefillAttentionEngine cudnn(context, PrefillLibrary::kCudnn);
  for (PrefillAttentionEngine* engine : {&own, &cudnn}) {
    Require(engine->Reserve(PrefillLimits(heads, kMaxTokens, kMaxContextLen)), "Reserve");
  }
  std::printf("%d / %d heads, head_dim %d, blocks of %d; cuDNN: %s\n", heads.heads, heads.kv_heads,
              heads.head_dim, heads.block_size, cudnn.description().c_str());

  const size_t row = size_t(heads.heads) * heads.head_dim;
  const size_t cache = size_t(kMaxContextLen) * heads.kv_heads * heads.head_dim;
  std::vector<int32_t> blocks(kMaxContextLen / heads.block_size);
  std::iota(blocks.begin(), blocks.end(), 0);
  std::shuffle(blocks.begin(), blocks.end(), std::mt19937(1));
  const bfloat16* q = UploadRandom(kMaxTokens * row, 2);
  bfloat16* k = UploadRandom(cache, 3);
  bfloat16* v = UploadRandom(cache, 4);
  const int32_t* tables = Upload(blocks);
  void* out = Upload(std::vector<bfloat16>(kMaxTokens * row));

  std::printf("%9s %9s %9s | %10s %10s | %10s %10s\n", "sequences", "query", "context", "own us",
              "TFLOP/s", "cuDNN us", "TFLOP/s");
  for (const Call& call : kCalls) {
    std::vector<int32_t> cu, lens(call.sequences, call.context_len);
    for (int32_t s = 0; s <= call.sequences; ++s) cu.push_back(s * call.query_len);
    int32_t* const device_cu = Upload(cu);
    int32_t* const device_lens = Upload(lens);
    std::vector<int32_t> slots(call.sequences);
    std::iota(slots.begin(), slots.end(), 0);
    int32_t* const device_slots = Upload(slots);
    PrefillAttentionParams p{};
    p.q = q;
    p.kv = {k, v, heads.kv_heads, heads.block_size, heads.head_dim};
    // Each sequence has blocks of its own.
    p.tables = {tables, (call.context_len + heads.block_size - 1) / heads.block_size, device_slots,
                device_lens};
    p.cu_query_lens = device_cu;
    p.out = out;
    p.out_type = DType::kBF16;
    p.num_sequences = call.sequences;
    p.num_heads = heads.heads;
    p.max_query_len = call.query_len;
    p.max_context_len = call.context_len;
    p.softmax_scale = 0.1f;
    const double pairs =
        double(call.sequences) * call.query_len * (call.context_len - 0.5 * (call.query_len - 1));
    const double tera = 4 * pairs * heads.heads * heads.head_dim / 1e12;
    const double own_us = Time(own, p, context), cudnn_us = Time(cudnn, p, context);
    std::printf("%9d %9d %9d | %10.1f %10.1f | %10.1f %10.1f\n", call.sequences, call.query_len,
                call.context_len, own_us, tera / own_us * 1e6, cudnn_us, tera / cudnn_us * 1e6);
    cudaFree(device_cu);
    cudaFree(device_lens);
    cudaFree(device_slots);
  }
  std::printf("cuDNN at the end: %s\n", cudnn.description().c_str());
  return 0;
}

}  // namespace
}  // namespace tidal

int main(int argc, char** argv) {
  const auto argument = [&](int i, int default_value) {
    return argc > i ? std::atoi(argv[i]) : default_value;
  };
  return tidal::Main({argument(1, 32), argument(2, 8), argument(3, 128), argument(4, 16)});
}
