// What a peer's decode attention is measured on, and how: the shapes, random KV caches in pages,
// the right output, and the protocol of `tidal-bench kernels`. Knows no peer.
#ifndef TIDAL_TOOLS_BENCH_PEERS_DECODE_PROBLEM_CUH_
#define TIDAL_TOOLS_BENCH_PEERS_DECODE_PROBLEM_CUH_

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <vector>

namespace tidal::peers {

using bfloat16 = __nv_bfloat16;

constexpr int kHeadDim = 128, kPageSize = 16;

// As in kernel_bench.cc.
constexpr int64_t kColdBytes = int64_t{256} << 20;
constexpr int kMinCopies = 4, kCalls = 32, kRounds = 9;

constexpr double kTolerance = 0.03;  // of the largest element of an output

[[noreturn]] inline void Fail(const std::string& what) {
  std::fprintf(stderr, "error: %s\n", what.c_str());
  std::exit(1);
}

inline void Check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) Fail(std::string(what) + ": " + cudaGetErrorString(error));
}

// Device memory, zeroed or a copy.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(int64_t count) {
    Check(cudaMalloc(&data_, count * sizeof(T)), "cudaMalloc");
    Check(cudaMemset(data_, 0, count * sizeof(T)), "cudaMemset");
  }
  explicit DeviceArray(const std::vector<T>& host)
      : DeviceArray(static_cast<int64_t>(host.size())) {
    Check(cudaMemcpy(data_, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice), "copy");
  }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() { cudaFree(data_); }
  T* get() const { return data_; }

 private:
  T* data_ = nullptr;
};

// Normal numbers: a hash of the element's number, by Box and Muller's method.
static __global__ void FillNormalKernel(bfloat16* out, int64_t count, uint64_t seed) {
  const auto mix = [](uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
  };
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride) {
    const uint64_t bits = mix(mix(seed) + static_cast<uint64_t>(i + 1) * 0x9e3779b97f4a7c15u);
    const float u = static_cast<float>((bits >> 40) + 1) * 0x1p-24f;
    const float angle = static_cast<float>((bits >> 8) & 0xffffffu) * (6.28318531f * 0x1p-24f);
    out[i] = __float2bfloat16(sqrtf(-2.0f * __logf(u)) * __cosf(angle));
  }
}

inline void FillNormal(bfloat16* out, int64_t count, uint64_t seed) {
  FillNormalKernel<<<4096, 256>>>(out, count, seed);
  Check(cudaDeviceSynchronize(), "FillNormalKernel");
}

struct Shape {
  int heads, kv_heads, batch, context;

  int64_t pages_per_request() const { return (context + kPageSize - 1) / kPageSize; }
  int64_t pages() const { return pages_per_request() * batch; }
  int64_t page_elements() const { return int64_t{kv_heads} * kPageSize * kHeadDim; }
  int64_t layer_elements() const { return 2 * pages() * page_elements(); }  // K and V
  int64_t layer_bytes() const { return layer_elements() * int64_t{sizeof(bfloat16)}; }
  int64_t query_elements() const { return int64_t{batch} * heads * kHeadDim; }
  // What a call must read.
  double read_bytes() const {
    return 2.0 * sizeof(bfloat16) * batch * context * kv_heads * kHeadDim;
  }
  // KV caches, used in turn, so many that none is in a cache when its turn comes.
  int copies() const {
    return static_cast<int>(std::clamp<int64_t>(kColdBytes / layer_bytes(), kMinCopies, kCalls));
  }
};

// Queries and KV caches of `copies` layers, and the page tables that the layers share. A layer is
// its keys, then its values, each [page][KV head][token][kHeadDim]; the pages are in random order.
class DecodeProblem {
 public:
  // kv: random numbers, layer_elements() of them for each copy.
  DecodeProblem(const Shape& shape, bfloat16* kv, int copies)
      : shape(shape),
        copies(copies),
        kv_indptr(Ramp(shape.batch + 1, static_cast<int32_t>(shape.pages_per_request()))),
        qo_indptr(Ramp(shape.batch + 1, 1)),
        pages(ShuffledPages(shape)),
        device_kv_indptr(kv_indptr),
        device_qo_indptr(qo_indptr),
        device_pages(pages),
        last_page_lens(std::vector<int32_t>(shape.batch, (shape.context - 1) % kPageSize + 1)),
        context_lens(std::vector<uint32_t>(shape.batch, shape.context)),
        out(shape.query_elements()),
        kv_(kv),
        queries_(shape.query_elements() * copies) {
    FillNormal(queries_.get(), shape.query_elements() * copies, 2);
  }

  bfloat16* Query(int call) { return queries_.get() + shape.query_elements() * call; }
  bfloat16* Keys(int call) { return kv_ + shape.layer_elements() * call; }
  bfloat16* Values(int call) { return Keys(call) + shape.layer_elements() / 2; }

  // What `call` must return for the last request's heads from first_head on.
  std::vector<double> Expected(int call, int first_head);
  // The same rows of what it did return.
  std::vector<double> Actual(int first_head) const {
    const int64_t row = int64_t{shape.batch - 1} * shape.heads + first_head;
    return Download(out.get() + row * kHeadDim, int64_t{shape.heads - first_head} * kHeadDim);
  }

  const Shape shape;
  const int copies;
  std::vector<int32_t> kv_indptr, qo_indptr, pages;  // mutable, as planners want them
  const DeviceArray<int32_t> device_kv_indptr, device_qo_indptr, device_pages, last_page_lens;
  const DeviceArray<uint32_t> context_lens;
  const DeviceArray<bfloat16> out;

 private:
  static std::vector<int32_t> ShuffledPages(const Shape& shape) {
    std::vector<int32_t> pages(shape.pages());
    std::iota(pages.begin(), pages.end(), 0);
    std::shuffle(pages.begin(), pages.end(), std::mt19937(1));
    return pages;
  }
  static std::vector<int32_t> Ramp(int count, int32_t step) {
    std::vector<int32_t> ramp(count);
    for (int i = 0; i < count; ++i) ramp[i] = i * step;
    return ramp;
  }
  static std::vector<double> Download(const bfloat16* device, int64_t count) {
    std::vector<bfloat16> raw(count);
    Check(cudaMemcpy(raw.data(), device, count * sizeof(bfloat16), cudaMemcpyDeviceToHost), "copy");
    std::vector<double> values(count);
    for (int64_t i = 0; i < count; ++i) values[i] = __bfloat162float(raw[i]);
    return values;
  }
  // The last request's rows of a layer's keys or values.
  std::vector<double> GatherLast(const bfloat16* cache, int kv_head) const {
    constexpr int64_t kElements = int64_t{kPageSize} * kHeadDim;
    std::vector<double> rows;
    rows.reserve(shape.pages_per_request() * kElements);
    for (int64_t i = shape.pages() - shape.pages_per_request(); i < shape.pages(); ++i) {
      const std::vector<double> page =
          Download(cache + pages[i] * shape.page_elements() + kv_head * kElements, kElements);
      rows.insert(rows.end(), page.begin(), page.end());
    }
    return rows;
  }

  bfloat16* const kv_;
  const DeviceArray<bfloat16> queries_;
};

inline std::vector<double> DecodeProblem::Expected(int call, int first_head) {
  std::vector<double> result, keys, values, weights(shape.context);
  int gathered = -1;
  for (int head = first_head; head < shape.heads; ++head) {
    const int kv_head = head / (shape.heads / shape.kv_heads);
    if (kv_head != gathered) {
      keys = GatherLast(Keys(call), kv_head);
      values = GatherLast(Values(call), kv_head);
      gathered = kv_head;
    }
    const int64_t row = int64_t{shape.batch - 1} * shape.heads + head;
    const std::vector<double> q = Download(Query(call) + row * kHeadDim, kHeadDim);
    for (int64_t t = 0; t < shape.context; ++t) {
      weights[t] = std::inner_product(q.begin(), q.end(), keys.begin() + t * kHeadDim, 0.0) /
                   std::sqrt(double{kHeadDim});
    }
    const double most = *std::max_element(weights.begin(), weights.end());
    double sum = 0;
    std::vector<double> row_out(kHeadDim, 0.0);
    for (int64_t t = 0; t < shape.context; ++t) {
      const double weight = std::exp(weights[t] - most);
      sum += weight;
      for (int d = 0; d < kHeadDim; ++d) row_out[d] += weight * values[t * kHeadDim + d];
    }
    for (double x : row_out) result.push_back(x / sum);
  }
  return result;
}

// False, with a line on stderr, unless every element is as expected.
inline bool IsRight(const std::vector<double>& actual, const std::vector<double>& expected,
                    const std::string& what) {
  double largest = 0;
  for (double x : expected) largest = std::max(largest, std::abs(x));
  for (size_t i = 0; i < expected.size(); ++i) {
    const double error = std::abs(actual[i] - expected[i]);
    if (error <= kTolerance * largest) continue;  // false for what is not a number
    std::fprintf(stderr, "%s is wrong: element %zu is %g, not %g\n", what.c_str(), i, actual[i],
                 expected[i]);
    return false;
  }
  return true;
}

// Median seconds of a call of run(copy), which enqueues a call on the stream. Leaves the output of
// the last copy.
inline double Time(const DecodeProblem& problem, cudaStream_t stream,
                   const std::function<void(int)>& run) {
  // Every copy equally often, the last one last.
  const int calls = (kCalls + problem.copies - 1) / problem.copies * problem.copies;
  const auto run_all = [&] {
    for (int call = 0; call < calls; ++call) run(call % problem.copies);
  };
  run_all();  // loads the kernels
  Check(cudaStreamSynchronize(stream), "the kernels");
  // Not a number, unless the graph writes it.
  Check(cudaMemset(problem.out.get(), 0xff, problem.shape.query_elements() * sizeof(bfloat16)),
        "cudaMemset");
  Check(cudaDeviceSynchronize(), "cudaMemset");
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  Check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  run_all();
  Check(cudaStreamEndCapture(stream, &graph), "capture");
  Check(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
  Check(cudaGraphLaunch(executable, stream), "cudaGraphLaunch");
  std::vector<double> seconds;
  for (int round = 0; round < kRounds; ++round) {
    Check(cudaStreamSynchronize(stream), "the kernels");
    const auto start = std::chrono::steady_clock::now();
    Check(cudaGraphLaunch(executable, stream), "cudaGraphLaunch");
    Check(cudaStreamSynchronize(stream), "the kernels");
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    seconds.push_back(elapsed.count() / calls);
  }
  Check(cudaGraphExecDestroy(executable), "cudaGraphExecDestroy");
  Check(cudaGraphDestroy(graph), "cudaGraphDestroy");
  std::nth_element(seconds.begin(), seconds.begin() + kRounds / 2, seconds.end());
  return seconds[kRounds / 2];
}

}  // namespace tidal::peers

#endif  // TIDAL_TOOLS_BENCH_PEERS_DECODE_PROBLEM_CUH_
