#include "kernels/cuda/cuda_backend.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "kernels/cuda/attention/decode.h"
#include "kernels/cuda/attention/prefill.h"
#include "kernels/cuda/attention/select_tokens.h"
#include "kernels/cuda/device_context.h"
#include "kernels/cuda/host_staging.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/ranks/rank_channels.h"
#include "kernels/cuda/ranks/rank_ops.h"
#include "kernels/cuda/read_bandwidth.h"
#include "kernels/cuda/row_ops.h"
#include "kernels/cuda/sampling.h"
#include "kernels/cuda/step_graphs.h"

namespace tidal {
namespace {

constexpr int kOldestSupported = 80;  // compute capability

// Streams and events; made before everything that uses them, destroyed after it.
class Streams {
 public:
  ~Streams() {
    for (cudaEvent_t event : {scored_, selected_}) {
      if (event != nullptr) cudaEventDestroy(event);
    }
    for (cudaStream_t stream : {context_.stream, context_.side_stream}) {
      if (stream != nullptr) cudaStreamDestroy(stream);
    }
    if (marks_ != nullptr) cudaFreeHost(marks_);
  }

  bool Open(int device) {
    cudaDeviceProp properties = {};
    context_.device = device;
    context_.MakeCurrent();
    if (!context_.error.empty() ||
        !context_.Check(cudaGetDeviceProperties(&properties, device), "device")) {
      return false;
    }
    context_.num_sms = properties.multiProcessorCount;
    context_.compute_capability = properties.major * 10 + properties.minor;
    context_.max_shared_memory = properties.sharedMemPerBlockOptin;
    context_.l2_bytes = static_cast<size_t>(properties.l2CacheSize);
    name_ = std::string(properties.name) + ", " + std::to_string(properties.multiProcessorCount) +
            " SMs, " + std::to_string(properties.totalGlobalMem >> 30) + " GiB";
    if (context_.compute_capability < kOldestSupported) {
      context_.error = name_ + ": compute capability " +
                       std::to_string(context_.compute_capability) + " is older than " +
                       std::to_string(kOldestSupported);
      return false;
    }
    if (!context_.Check(
            cudaHostAlloc(&marks_, cuda::kLaunchWords * sizeof(uint64_t), cudaHostAllocDefault),
            "pinned memory")) {
      return false;
    }
    std::fill_n(marks_, cuda::kLaunchWords, 0);
    context_.trail = cuda::LaunchTrail(marks_);
    const auto flags = cudaStreamNonBlocking;
    return context_.Check(cudaStreamCreateWithFlags(&context_.stream, flags), "stream") &&
           context_.Check(cudaStreamCreateWithFlags(&context_.side_stream, flags), "stream") &&
           context_.Check(cudaEventCreateWithFlags(&scored_, cudaEventDisableTiming), "event") &&
           context_.Check(cudaEventCreateWithFlags(&selected_, cudaEventDisableTiming), "event");
  }

  // Work enqueued on the side stream from here on comes after all work of the main stream so far.
  void Fork() {
    context_.Check(cudaEventRecord(scored_, context_.stream), "fork");
    context_.Check(cudaStreamWaitEvent(context_.side_stream, scored_), "fork");
  }
  // Work enqueued on the main stream from here on comes after the side stream's.
  void Join() {
    context_.Check(cudaEventRecord(selected_, context_.side_stream), "join");
    context_.Check(cudaStreamWaitEvent(context_.stream, selected_), "join");
  }

  cuda::DeviceContext& context() { return context_; }
  const cuda::DeviceContext& context() const { return context_; }
  const std::string& name() const { return name_; }

 private:
  cuda::DeviceContext context_;
  std::string name_;
  uint64_t* marks_ = nullptr;  // [kLaunchWords], of context_.trail
  cudaEvent_t scored_ = nullptr, selected_ = nullptr;
};

class CudaBackend final : public Backend {
 public:
  CudaBackend(std::unique_ptr<Streams> device, const CudaBackendOptions& options)
      : device_(std::move(device)),
        context_(device_->context()),
        graphs_enabled_(options.graphs),
        staging_(context_),
        graphs_(context_),
        matmul_(context_),
        prefill_(context_, cuda::PrefillLibrary::kAuto) {
    info_.name = device_->name();
    info_.matmul_type = DType::kBF16;
    info_.asynchronous = true;
  }
  ~CudaBackend() override {
    context_.MakeCurrent();
    cudaStreamSynchronize(context_.stream);
    cudaStreamSynchronize(context_.side_stream);
  }

  // Staging and the matrix products' workspace: without them nothing works.
  bool Start() { return staging_.Reserve() && matmul_.Reserve(); }
  // Meets the other ranks. "", or why they cannot work together.
  std::string Join(RankGroup* group) {
    ranks_ = std::make_unique<cuda::RankChannels>(group, context_);
    matmul_.ShareChoices(&ranks_->exchange());
    return ranks_->Connect();
  }

  const DeviceInfo& info() const override { return info_; }

  void* Allocate(size_t bytes) override {
    void* memory = nullptr;
    context_.MakeCurrent();
    if (cudaMalloc(&memory, bytes == 0 ? 1 : bytes) != cudaSuccess) {
      cudaGetLastError();  // an answer, not a broken device
      return nullptr;
    }
    context_.Check(cudaMemsetAsync(memory, 0, bytes, context_.stream), "Allocate");
    return memory;
  }
  // Waits for the device: what runs may still use the memory.
  void Free(void* memory) override { cudaFree(memory); }
  DeviceMemory memory() const override {
    size_t free = 0, total = 0;
    context_.MakeCurrent();
    cudaMemGetInfo(&free, &total);
    return {static_cast<int64_t>(free), static_cast<int64_t>(total)};
  }
  double MeasureReadBandwidth() override { return cuda::MeasureReadBandwidth(context_); }
  void CopyToDevice(void* dst, const void* host_src, size_t bytes) override {
    context_.MakeCurrent();
    staging_.ToDevice(dst, host_src, bytes);
  }
  void CopyToHost(void* host_dst, const void* src, size_t bytes) override {
    context_.MakeCurrent();
    JoinSelection();
    staging_.ToHost(host_dst, src, bytes);
  }
  void FillRandom(bfloat16* dst, int64_t count, uint64_t seed, float deviation) override {
    cuda::FillRandom(dst, count, seed, deviation, context_);
  }

  Ticket Submit() override {
    context_.MakeCurrent();
    JoinSelection();
    context_.trail.EndStep();
    return staging_.Submit();
  }
  std::string Wait(Ticket ticket) override {
    context_.MakeCurrent();
    staging_.Wait(ticket);
    context_.Check(cudaGetLastError(), "step");
    if (ranks_ != nullptr) {
      if (std::string failure = ranks_->Failure(); !failure.empty()) return failure;
    }
    return context_.error;
  }

  std::string WhyUnsupported(const BackendLimits& limits) const override {
    if (std::string reason = cuda::WhyUnsupportedHeadDim(limits.head_dim); !reason.empty()) {
      return reason;
    }
    const int32_t group = limits.num_heads / limits.num_kv_heads;
    if (group > cuda::kMaxGroup) {
      return "num_attention_heads: must be at most 16 for each KV head on a GPU, got " +
             std::to_string(group);
    }
    if (ranks_ != nullptr && limits.hidden_size > cuda::kMaxReducedHidden) {
      return "hidden_size: must be at most " + std::to_string(cuda::kMaxReducedHidden) +
             " on several GPUs, got " + std::to_string(limits.hidden_size);
    }
    return "";
  }

  bool Reserve(const BackendLimits& limits) override {
    context_.MakeCurrent();
    const bool fits = decode_workspace_.Reserve(limits, context_) && prefill_.Reserve(limits) &&
                      sampling_workspace_.Reserve(limits, context_);
    if (ranks_ != nullptr && (!ranks_->AllAgree(fits) || !ranks_->Reserve(limits))) return false;
    if (!fits) return false;
    info_.name = device_->name() + ", prefill attention: " + prefill_.description();
    return true;
  }

  std::unique_ptr<PackedWeight> PackWeight(const HostWeight& weight) override {
    context_.MakeCurrent();
    auto packed = matmul_.Allocate(weight.out_features, weight.in_features);
    if (packed != nullptr) {
      staging_.ToDevice(cuda::MatMulEngine::Data(*packed), weight.data, packed->bytes());
    }
    return packed;
  }
  std::unique_ptr<PackedWeight> PackRandomWeight(int32_t out_features, int32_t in_features,
                                                 uint64_t seed, float deviation) override {
    context_.MakeCurrent();
    std::unique_ptr<PackedWeight> packed = matmul_.Allocate(out_features, in_features);
    if (packed != nullptr) {
      FillRandom(cuda::MatMulEngine::Data(*packed), int64_t{out_features} * in_features, seed,
                 deviation);
      // Matrix products read weights before the kernel in front of them has ended.
      context_.Check(cudaStreamSynchronize(context_.stream), "PackRandomWeight");
    }
    return packed;
  }

  bool supports_graphs() const override { return graphs_enabled_; }
  bool RunGraph(GraphKey key) override {
    context_.MakeCurrent();
    return graphs_.Run(key);
  }
  void BeginGraph(GraphKey key) override {
    context_.MakeCurrent();
    JoinSelection();
    if (ranks_ != nullptr) ranks_->Quieten();
    graphs_.Begin(key);
  }
  std::string EndGraph() override {
    JoinSelection();
    return graphs_.End(
        [this](bool mine) { return ranks_ == nullptr ? mine : ranks_->AllAgree(mine); });
  }

  void UpdateTables(const UpdateTablesParams& params) override {
    cuda::UpdateTables(params, context_);
  }
  void Embedding(const EmbeddingParams& params) override { cuda::Embedding(params, context_); }
  void RmsNorm(const RmsNormParams& params) override { cuda::RmsNorm(params, context_); }
  void MatMul(const MatMulParams& params) override { matmul_.MatMul(params); }
  void RopeStoreKv(const RopeStoreKvParams& params) override {
    cuda::RopeStoreKv(params, context_);
  }
  void SwiGlu(const SwiGluParams& params) override { cuda::SwiGlu(params, context_); }
  void GatherRows(const GatherRowsParams& params) override { cuda::GatherRows(params, context_); }

  void PrefillAttention(const PrefillAttentionParams& params) override { prefill_.Run(params); }
  void PlanDecode(const DecodeRows& rows) override {
    JoinSelection();
    cuda::PlanDecode(rows, decode_workspace_, context_);
  }
  void PagedDecode(const PagedDecodeParams& params) override {
    cuda::PagedDecode(params, decode_workspace_, context_);
  }
  void ScoringDecode(const PagedDecodeParams& params, const SelectTokensParams& select) override {
    JoinSelection();
    cuda::ScoringDecode(params, select, decode_workspace_, context_);
  }
  // On the side stream, beside the matrix products of its own layer: nobody needs it before the
  // next reuse layer.
  void SelectTokens(const PagedDecodeParams& params, const SelectTokensParams& select) override {
    ForkSelection();
    reducing_ = false;
    cuda::SelectTokens(params, select, decode_workspace_.scores(), context_.side_stream, context_);
  }
  void SparseDecode(const SparseDecodeParams& params) override {
    if (selecting_) context_.next_launch_is_full = true;  // the selection is read early
    JoinSelection();
    cuda::SparseDecode(params, decode_workspace_, context_);
  }

  void Sample(const SampleParams& params) override {
    cuda::Sample(params, sampling_workspace_, context_);
  }
  void TokenLogprobs(const TokenLogprobsParams& params) override {
    cuda::TokenLogprobs(params, sampling_workspace_, context_);
  }
  void AcceptDrafts(const SampleParams& params) override { cuda::AcceptDrafts(params, context_); }
  void CountTokens(const CountTokensParams& params) override {
    cuda::CountTokens(params, context_);
  }

  void ReduceNorm(const ReduceNormParams& params) override {
    cuda::ReduceNorm(params, ranks_->main(), context_);
  }
  void GatherColumns(const GatherColumnsParams& params) override {
    cuda::GatherColumns(params, ranks_->main(), context_);
  }
  // What waits for the other ranks is on the side stream, as the selection after it.
  void ReduceScores(const PagedDecodeParams& params, const SelectTokensParams& select,
                    RankSpan ranks) override {
    const cuda::SelectionScores scores = decode_workspace_.scores();
    cuda::SendScores(params, select, scores, ranks, ranks_->scores(), context_);
    ForkSelection();
    reducing_ = true;
    cuda::CombineScores(params, select, scores, ranks, ranks_->scores(), context_);
  }

 private:
  void ForkSelection() {
    if (!reducing_) device_->Fork();
    selecting_ = true;
  }
  void JoinSelection() {
    if (!selecting_) return;
    device_->Join();
    selecting_ = false;
  }

  std::unique_ptr<Streams> device_;
  cuda::DeviceContext& context_;
  const bool graphs_enabled_;
  DeviceInfo info_;
  cuda::HostStaging staging_;
  cuda::StepGraphs graphs_;
  cuda::MatMulEngine matmul_;
  cuda::PrefillAttentionEngine prefill_;
  cuda::DecodeWorkspace decode_workspace_;
  cuda::SamplingWorkspace sampling_workspace_;
  std::unique_ptr<cuda::RankChannels> ranks_;  // with a group
  bool selecting_ = false;  // the side stream has work that the main stream has not joined
  bool reducing_ = false;   // it ends with CombineScores
};

}  // namespace

std::unique_ptr<Backend> MakeCudaBackend(const CudaBackendOptions& options, std::string* error) {
  error->clear();
  int number = options.device;
  if (options.group != nullptr) {
    number = cuda::DeviceOfRank(*options.group, options.device, options.share_device, error);
    if (!error->empty()) return nullptr;
  }
  auto device = std::make_unique<Streams>();
  if (!device->Open(number)) {
    *error = device->context().error;
    cudaGetLastError();
    return nullptr;
  }
  const cuda::DeviceContext& context = device->context();
  auto backend = std::make_unique<CudaBackend>(std::move(device), options);
  if (!backend->Start()) {
    *error = context.error.empty() ? "its memory is full" : context.error;
  } else if (options.group != nullptr) {
    *error = backend->Join(options.group);
  }
  if (error->empty()) return backend;
  // The others would wait for this rank.
  if (options.group != nullptr) options.group->Fail(options.group->rank(), *error);
  return nullptr;
}

}  // namespace tidal
