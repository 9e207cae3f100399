// Times FlashInfer's decode attention over a paged KV cache, under the protocol of
// `tidal-bench kernels`: a graph of N calls that take turns with several KV caches, so that none
// finds its data in a cache; the median of nine replays by the host's clock, divided by N. Planning
// is done once, outside of the timing, and every timed output is compared with a computation on the
// host; a path that is wrong once is left out from there on, and the exit status is 1. The paths:
//   cuda_cores    BatchDecodeWithPagedKVCacheWrapper(use_tensor_cores=False)
//   tensor_cores  BatchDecodeWithPagedKVCacheWrapper(use_tensor_cores=True): for bf16 the FA2
//                 template of the paged prefill, with one query token a request and the query
//                 heads of a KV head packed into one tile
//   xqa           trtllm_batch_decode_with_kv_cache, which chooses XQA on Hopper
// The first two run with both kinds of plan (for the exact batch, or padded for the reuse of a
// CUDA graph), and all with and without programmatic dependent launch; the fastest is reported.
//
// FlashInfer's sources are not part of this repository. They come from a wheel; then either set
// CMake's cache variable FLASHINFER_INCLUDE_DIR to $FI/include, or, with FlashInfer's own flags:
//   python3 -m pip download --no-deps flashinfer-python==0.7.2.post1
//   python3 -m zipfile -e flashinfer_python-*.whl flashinfer_wheel
//   FI=flashinfer_wheel/flashinfer/data
//   nvcc -std=c++20 -O3 -DNDEBUG -use_fast_math --expt-relaxed-constexpr
//     -gencode=arch=compute_90a,code=sm_90a -I. -isystem $FI/cccl/libcudacxx/include
//     -isystem $FI/cccl/cub -isystem $FI/cccl/thrust -isystem $FI/include -isystem $FI/csrc/xqa
//     -o flashinfer_decode_bench tools/bench/peers/*.cu          (in one line)
//
// Run: flashinfer_decode_bench [--json FILE] [--all_modes] [--skip PATH]...
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <flashinfer/attention/decode.cuh>
#include <flashinfer/attention/default_decode_params.cuh>
#include <flashinfer/attention/default_prefill_params.cuh>
#include <flashinfer/attention/prefill.cuh>
#include <flashinfer/attention/scheduler.cuh>
#include <flashinfer/attention/variants.cuh>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "tools/bench/peers/decode_problem.cuh"
#include "tools/bench/peers/flashinfer_xqa.h"

namespace tidal::peers {
namespace {

using flashinfer::GetPtrFromBaseOffset;
using flashinfer::PosEncodingMode;
using PagedKv = flashinfer::paged_kv_t<bfloat16, int32_t>;
using Variant =
    flashinfer::DefaultAttention</*use_custom_mask=*/false, /*use_sliding_window=*/false,
                                 /*use_logits_soft_cap=*/false, /*use_alibi=*/false>;
using DecodeParams = flashinfer::BatchDecodeParams<bfloat16, bfloat16, bfloat16, int32_t>;
using PrefillParams = flashinfer::BatchPrefillPagedParams<bfloat16, bfloat16, bfloat16, int32_t>;

constexpr uint32_t kTileQ = 16;  // what PrefillPlan chooses for up to 16 query heads a KV head
constexpr float kScale = 0.08838834764831845f;  // 1 / sqrt(kHeadDim)
constexpr double kMemoryShare = 0.6;            // of what is free, for KV caches
constexpr size_t kFloatWorkspace = size_t{256} << 20, kIntWorkspace = size_t{8} << 20;

struct Mode {
  bool graph_plan;  // padded, as the wrapper plans with use_cuda_graph=True
  bool pdl;         // programmatic dependent launch
};

struct Result {
  std::string path;
  Shape shape;
  Mode mode;
  double microseconds, gigabytes_per_second;
};

// What a wrapper holds.
struct Workspace {
  Workspace() : floats(kFloatWorkspace), ints(kIntWorkspace), semaphores(kIntWorkspace / 4) {
    Check(cudaMallocHost(&pinned, kIntWorkspace), "cudaMallocHost");
    Check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
  }
  ~Workspace() {
    cudaStreamDestroy(stream);
    cudaFreeHost(pinned);
  }
  DeviceArray<uint8_t> floats, ints;
  DeviceArray<uint32_t> semaphores;
  void* pinned = nullptr;
  cudaStream_t stream = nullptr;
};

// One of FlashInfer's ways through a problem.
class Path {
 public:
  Path(DecodeProblem& problem, Workspace& workspace) : p_(problem), w_(workspace) {}
  virtual ~Path() = default;
  virtual const char* name() const = 0;
  virtual bool plans() const { return true; }  // false: Mode::graph_plan means nothing
  virtual void Plan(bool /*graph_plan*/) {}
  virtual void Run(int call, bool pdl) = 0;

 protected:
  template <typename T>
  T* Ints(int64_t offset) const {
    return GetPtrFromBaseOffset<T>(w_.ints.get(), offset);
  }
  template <typename T>
  T* Floats(int64_t offset) const {
    return GetPtrFromBaseOffset<T>(w_.floats.get(), offset);
  }
  PagedKv Layer(int call) const {
    return PagedKv(p_.shape.kv_heads, kPageSize, kHeadDim, p_.shape.batch,
                   flashinfer::QKVLayout::kHND, p_.Keys(call), p_.Values(call),
                   p_.device_pages.get(), p_.device_kv_indptr.get(), p_.last_page_lens.get());
  }
  DecodeProblem& p_;
  Workspace& w_;
};

class CudaCores : public Path {
 public:
  using Path::Path;
  const char* name() const override { return "cuda_cores"; }
  void Plan(bool graph_plan) override {
    switch (p_.shape.heads / p_.shape.kv_heads) {
      case 1:
        return PlanGroup<1>(graph_plan);
      case 4:
        return PlanGroup<4>(graph_plan);
      default:
        Fail("no plan for this number of query heads a KV head");
    }
  }
  void Run(int call, bool pdl) override {
    const int heads = p_.shape.heads;
    DecodeParams params(p_.Query(call), /*q_rope_offset=*/nullptr, Layer(call), p_.out.get(),
                        /*lse=*/nullptr, /*maybe_alibi_slopes=*/nullptr, heads, heads * kHeadDim,
                        kHeadDim, /*window_left=*/-1, /*logits_soft_cap=*/0, kScale,
                        /*rope_scale=*/1, /*rope_theta=*/1e4f);
    params.request_indices = Ints<int32_t>(plan_.request_indices_offset);
    params.kv_tile_indices = Ints<int32_t>(plan_.kv_tile_indices_offset);
    params.o_indptr = Ints<int32_t>(plan_.o_indptr_offset);
    params.kv_chunk_size_ptr = Ints<int32_t>(plan_.kv_chunk_size_ptr_offset);
    params.padded_batch_size = static_cast<uint32_t>(plan_.padded_batch_size);
    bfloat16* partial = nullptr;
    float* partial_lse = nullptr;
    if (plan_.split_kv) {
      partial = Floats<bfloat16>(plan_.v_offset);
      partial_lse = Floats<float>(plan_.s_offset);
      if (plan_.enable_cuda_graph) {
        params.block_valid_mask = Ints<bool>(plan_.block_valid_mask_offset);
      }
    }
    Check(flashinfer::BatchDecodeWithPagedKVCacheDispatched<kHeadDim, PosEncodingMode::kNone,
                                                            Variant, DecodeParams>(
              params, partial, partial_lse, pdl, w_.stream),
          "BatchDecodeWithPagedKVCache");
  }

 private:
  template <uint32_t kGroup>
  void PlanGroup(bool graph_plan) {
    plan_ = {};
    Check(flashinfer::DecodePlan<kHeadDim, PosEncodingMode::kNone, Variant, DecodeParams>(
              w_.floats.get(), kFloatWorkspace, w_.ints.get(), w_.pinned, kIntWorkspace, plan_,
              p_.kv_indptr.data(), p_.shape.batch, p_.shape.heads, kPageSize, graph_plan, w_.stream,
              flashinfer::BatchDecodeWithPagedKVCacheWorkEstimationDispatched<
                  kGroup, kHeadDim, PosEncodingMode::kNone, Variant, DecodeParams>),
          "DecodePlan");
  }

  flashinfer::DecodePlanInfo plan_;
};

class TensorCores : public Path {
 public:
  using Path::Path;
  const char* name() const override { return "tensor_cores"; }
  void Plan(bool graph_plan) override {
    const Shape& s = p_.shape;
    plan_ = {};
    Check(flashinfer::PrefillPlan<int32_t>(
              w_.floats.get(), kFloatWorkspace, w_.ints.get(), w_.pinned, kIntWorkspace, plan_,
              p_.qo_indptr.data(), p_.kv_indptr.data(), /*total_num_rows=*/s.batch, s.batch,
              s.heads, s.kv_heads, kHeadDim, kHeadDim, kPageSize, graph_plan, sizeof(bfloat16),
              /*window_left=*/-1, /*fixed_split_size=*/-1, /*disable_split_kv=*/false,
              /*num_colocated_ctas=*/0, /*uniform_q_len=*/0, w_.stream),
          "PrefillPlan");
    if (plan_.cta_tile_q != kTileQ) Fail("PrefillPlan chose a tile that is not compiled");
  }
  void Run(int call, bool pdl) override {
    const int heads = p_.shape.heads;
    PrefillParams params(p_.Query(call), Layer(call), /*maybe_custom_mask=*/nullptr,
                         p_.device_qo_indptr.get(), /*maybe_mask_indptr=*/nullptr,
                         /*maybe_q_rope_offset=*/nullptr, p_.out.get(), /*lse=*/nullptr,
                         /*maybe_alibi_slopes=*/nullptr, heads, heads * kHeadDim, kHeadDim,
                         /*window_left=*/-1, /*logits_soft_cap=*/0, kScale, /*rope_scale=*/1,
                         /*rope_theta=*/1e4f);
    params.request_indices = Ints<int32_t>(plan_.request_indices_offset);
    params.qo_tile_indices = Ints<int32_t>(plan_.qo_tile_indices_offset);
    params.kv_tile_indices = Ints<int32_t>(plan_.kv_tile_indices_offset);
    params.o_indptr = Ints<int32_t>(plan_.o_indptr_offset);
    params.kv_chunk_size_ptr = Ints<int32_t>(plan_.kv_chunk_size_ptr_offset);
    params.padded_batch_size = static_cast<uint32_t>(plan_.padded_batch_size);
    params.max_total_num_rows = static_cast<uint32_t>(plan_.total_num_rows);
    bfloat16* partial = nullptr;
    float* partial_lse = nullptr;
    if (plan_.split_kv) {
      params.merge_indptr = Ints<int32_t>(plan_.merge_indptr_offset);
      partial = Floats<bfloat16>(plan_.v_offset);
      partial_lse = Floats<float>(plan_.s_offset);
    }
    if (plan_.enable_cuda_graph) {
      params.block_valid_mask = Ints<bool>(plan_.block_valid_mask_offset);
      params.total_num_rows = Ints<uint32_t>(plan_.total_num_rows_offset);
    }
    Check(flashinfer::BatchPrefillWithPagedKVCacheDispatched<
              /*SAME_KV_STRIDES=*/true, kTileQ, kHeadDim, kHeadDim, PosEncodingMode::kNone,
              /*USE_FP16_QK_REDUCTION=*/false, flashinfer::MaskMode::kNone, Variant, PrefillParams>(
              params, partial, partial_lse, pdl, w_.stream),
          "BatchPrefillWithPagedKVCache");
  }

 private:
  flashinfer::PrefillPlanInfo plan_;
};

class Xqa : public Path {
 public:
  using Path::Path;
  const char* name() const override { return "xqa"; }
  bool plans() const override { return false; }
  void Run(int call, bool pdl) override {
    const Shape& s = p_.shape;
    int num_sms = 0;
    Check(cudaDeviceGetAttribute(&num_sms, cudaDevAttrMultiProcessorCount, 0), "attribute");
    XqaParams params = {};
    params.q = p_.Query(call);
    params.keys = p_.Keys(call);
    params.values = p_.Values(call);
    params.pages = p_.device_pages.get();
    params.context_lens = p_.context_lens.get();
    params.batch = s.batch;
    params.kv_heads = s.kv_heads;
    params.max_context = static_cast<uint32_t>(s.pages_per_request()) * kPageSize;
    params.out = p_.out.get();
    params.semaphores = w_.semaphores.get();
    params.scratch = w_.floats.get();
    params.num_sms = num_sms;
    params.pdl = pdl;
    LaunchXqa(params, w_.stream);
  }
};

// Results of all paths but `skipped` in all modes. Checks the last request's heads from first_head
// on; a path that is wrong joins `skipped`.
std::vector<Result> Measure(const Shape& shape, bfloat16* kv, int copies, int first_head,
                            Workspace& workspace, std::set<std::string>& skipped) {
  DecodeProblem problem(shape, kv, copies);
  const std::vector<double> expected = problem.Expected(copies - 1, first_head);
  CudaCores cuda_cores(problem, workspace);
  TensorCores tensor_cores(problem, workspace);
  Xqa xqa(problem, workspace);
  std::vector<Path*> paths = {&cuda_cores, &tensor_cores};
  if (shape.heads == shape.kv_heads * kXqaGroup) paths.push_back(&xqa);
  std::vector<Result> results;
  for (Path* path : paths) {
    for (const Mode mode : {Mode{true, true}, Mode{true, false}, Mode{false, true}, Mode{}}) {
      if (skipped.contains(path->name()) || (mode.graph_plan && !path->plans())) continue;
      path->Plan(mode.graph_plan);
      Check(cudaStreamSynchronize(workspace.stream), "plan");
      const double seconds =
          Time(problem, workspace.stream, [&](int call) { path->Run(call, mode.pdl); });
      if (!IsRight(problem.Actual(first_head), expected, path->name())) {
        skipped.insert(path->name());
        std::erase_if(results, [&](const Result& r) { return r.path == path->name(); });
        continue;
      }
      results.push_back(
          {path->name(), shape, mode, seconds * 1e6, shape.read_bytes() / seconds / 1e9});
    }
  }
  return results;
}

// The fastest mode of each path.
std::vector<Result> Fastest(const std::vector<Result>& results) {
  std::vector<Result> fastest;
  for (const Result& result : results) {
    if (fastest.empty() || fastest.back().path != result.path) {
      fastest.push_back(result);
    } else if (result.microseconds < fastest.back().microseconds) {
      fastest.back() = result;
    }
  }
  return fastest;
}

const char* PlanName(const Result& result) { return result.mode.graph_plan ? "graph" : "exact"; }

void Print(const Result& r) {
  std::printf("%-13s %5d/%-3d %6d %8d %6s %4s %11.1f %9.1f\n", r.path.c_str(), r.shape.heads,
              r.shape.kv_heads, r.shape.batch, r.shape.context, PlanName(r),
              r.mode.pdl ? "on" : "off", r.microseconds, r.gigabytes_per_second);
  std::fflush(stdout);
}

void WriteJson(const std::string& name, const std::vector<Result>& results) {
  std::FILE* const file = std::fopen(name.c_str(), "w");
  if (file == nullptr) Fail("cannot write " + name);
  std::fprintf(file, "[");
  for (const Result& r : results) {
    std::fprintf(file,
                 "%s\n  {\"path\": \"%s\", \"heads\": %d, \"kv_heads\": %d, \"batch\": %d, "
                 "\"context\": %d, \"plan\": \"%s\", \"pdl\": %s, \"microseconds\": %.3f, "
                 "\"gigabytes_per_second\": %.2f}",
                 &r == results.data() ? "" : ",", r.path.c_str(), r.shape.heads, r.shape.kv_heads,
                 r.shape.batch, r.shape.context, PlanName(r), r.mode.pdl ? "true" : "false",
                 r.microseconds, r.gigabytes_per_second);
  }
  std::fprintf(file, "\n]\n");
  if (std::fclose(file) != 0) Fail("cannot write " + name);
}

// False if a path was wrong.
bool RunBench(const std::string& json, bool all_modes, std::set<std::string> skipped) {
  const size_t skipped_by_wish = skipped.size();
  cudaDeviceProp device = {};
  Check(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
  Workspace workspace;
  size_t free_bytes = 0, total_bytes = 0;
  Check(cudaMemGetInfo(&free_bytes, &total_bytes), "cudaMemGetInfo");

  const Shape small[] = {{32, 8, 3, 1000}, {32, 32, 3, 1000}};  // the last page is half full
  constexpr int kSmallCalls = 2;
  std::vector<Shape> shapes;
  for (int context : {4096, 32768, 131072}) {
    for (int batch : {1, 8, 32}) shapes.push_back({32, 8, batch, context});
  }
  for (int context : {10240, 102400}) shapes.push_back({32, 32, 1, context});
  const auto kv_elements = [](const Shape& shape) {
    return shape.layer_elements() * shape.copies();
  };
  std::erase_if(shapes, [&](const Shape& shape) {
    const double bytes = static_cast<double>(kv_elements(shape)) * sizeof(bfloat16);
    if (bytes <= kMemoryShare * static_cast<double>(free_bytes)) return false;
    std::fprintf(stderr, "skipped, too large: batch %d, context %d\n", shape.batch, shape.context);
    return true;
  });
  int64_t most = kv_elements(small[1]);
  for (const Shape& shape : shapes) most = std::max(most, kv_elements(shape));
  const DeviceArray<bfloat16> kv(most);
  FillNormal(kv.get(), most, 1);

  for (const Shape& shape : small) Measure(shape, kv.get(), kSmallCalls, 0, workspace, skipped);
  std::printf("FlashInfer on %s\n", device.name);
  std::printf("%-13s %9s %6s %8s %6s %4s %11s %9s\n", "path", "heads/kv", "batch", "context",
              "plan", "pdl", "us", "GB/s");
  std::vector<Result> results;
  for (const Shape& shape : shapes) {
    const std::vector<Result> measured =
        Measure(shape, kv.get(), shape.copies(), shape.heads - 1, workspace, skipped);
    for (const Result& result : all_modes ? measured : Fastest(measured)) {
      Print(result);
      results.push_back(result);
    }
  }
  if (!json.empty()) WriteJson(json, results);
  return skipped.size() == skipped_by_wish;
}

}  // namespace
}  // namespace tidal::peers

int main(int argc, char** argv) {
  std::string json;
  bool all_modes = false;
  std::set<std::string> skipped;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (flag == "--json" && i + 1 < argc) {
      json = argv[++i];
    } else if (flag == "--all_modes") {
      all_modes = true;
    } else if (flag == "--skip" && i + 1 < argc) {
      skipped.insert(argv[++i]);
    } else {
      tidal::peers::Fail(
          "usage: flashinfer_decode_bench [--json FILE] [--all_modes] [--skip PATH]...");
    }
  }
  return tidal::peers::RunBench(json, all_modes, skipped) ? 0 : 1;
}
