#include "kernels/cpu/cpu_backend.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cpu/aligned_memory.h"
#include "kernels/cpu/attention/paged_decode.h"
#include "kernels/cpu/attention/prefill.h"
#include "kernels/cpu/cpu_isa.h"
#include "kernels/cpu/logprobs.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/rank_ops.h"
#include "kernels/cpu/read_bandwidth.h"
#include "kernels/cpu/row_ops.h"
#include "kernels/cpu/sampling.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/ranks/rank_exchange.h"

namespace tidal {
namespace {

// Every operation has finished when its call returns.
class CpuBackend final : public Backend {
 public:
  CpuBackend(int num_threads, bool avx512_bf16, RankGroup* group)
      : avx512_bf16_(avx512_bf16),
        pool_(num_threads),
        row_kernels_(cpu::GetRowKernels(avx512_bf16)),
        attention_kernels_(cpu::GetAttentionKernels(avx512_bf16)),
        matmul_(avx512_bf16 ? DType::kBF16 : DType::kF32, pool_),
        sampling_scratch_(num_threads),
        group_(group) {
    if (group != nullptr) exchange_.emplace(group, group->backend_area(), kBackendPiece);
    info_.shares_host_memory = true;
    info_.name = cpu::ProcessorName() + ", " + std::to_string(num_threads) +
                 (num_threads == 1 ? " thread, " : " threads, ") +
                 (avx512_bf16 ? "avx512_bf16" : "portable");
    info_.matmul_type = avx512_bf16 ? DType::kBF16 : DType::kF32;
  }

  const DeviceInfo& info() const override { return info_; }

  void* Allocate(size_t bytes) override { return cpu::AllocateAligned(bytes, &pool_); }
  void Free(void* ptr) override { cpu::FreeAligned(ptr); }
  DeviceMemory memory() const override {
    return {static_cast<int64_t>(cpu::AvailableMemory()), static_cast<int64_t>(cpu::TotalMemory())};
  }
  double MeasureReadBandwidth() override { return cpu::MeasureReadBandwidth(pool_); }
  void CopyToDevice(void* dst, const void* host_src, size_t bytes) override {
    if (bytes > 0) std::memcpy(dst, host_src, bytes);
  }
  void CopyToHost(void* host_dst, const void* src, size_t bytes) override {
    if (bytes > 0) std::memcpy(host_dst, src, bytes);
  }
  void FillRandom(bfloat16* dst, int64_t count, uint64_t seed, float deviation) override {
    cpu::FillRandom(dst, count, seed, deviation, pool_);
  }
  Ticket Submit() override { return 0; }
  std::string Wait(Ticket /*ticket*/) override {
    if (group_ != nullptr && group_->failed()) return group_->failure();
    return matmul_.error();
  }
  bool Reserve(const BackendLimits& limits) override {
    return decode_workspace_.Reserve(limits, pool_.num_threads()) &&
           prefill_workspace_.Reserve(limits, pool_.num_threads());
  }

  std::unique_ptr<PackedWeight> PackWeight(const HostWeight& weight) override {
    return matmul_.Pack(weight.data, weight.out_features, weight.in_features);
  }

  std::unique_ptr<PackedWeight> PackRandomWeight(int32_t out_features, int32_t in_features,
                                                 uint64_t seed, float deviation) override {
    std::vector<bfloat16> weight(static_cast<size_t>(out_features) * in_features);
    FillRandom(weight.data(), static_cast<int64_t>(weight.size()), seed, deviation);
    return matmul_.Pack(weight.data(), out_features, in_features);
  }

  void UpdateTables(const UpdateTablesParams& params) override { cpu::UpdateTables(params); }
  void Embedding(const EmbeddingParams& params) override { cpu::Embedding(params, pool_); }
  void RmsNorm(const RmsNormParams& params) override { cpu::RmsNorm(params, row_kernels_, pool_); }
  void MatMul(const MatMulParams& params) override { matmul_.MatMul(params); }
  void RopeStoreKv(const RopeStoreKvParams& params) override {
    cpu::RopeStoreKv(params, row_kernels_, pool_);
  }
  void SwiGlu(const SwiGluParams& params) override { cpu::SwiGlu(params, row_kernels_, pool_); }
  void GatherRows(const GatherRowsParams& params) override { cpu::GatherRows(params, pool_); }

  void PrefillAttention(const PrefillAttentionParams& params) override {
    cpu::PrefillAttention(params, avx512_bf16_, pool_, prefill_workspace_);
  }
  void PlanDecode(const DecodeRows& /*rows*/) override {}
  void PagedDecode(const PagedDecodeParams& params) override {
    cpu::PagedDecode(params, attention_kernels_, pool_, decode_workspace_);
  }
  void ScoringDecode(const PagedDecodeParams& params, const SelectTokensParams& select) override {
    cpu::ScoringDecode(params, select, attention_kernels_, pool_, decode_workspace_);
  }
  void SelectTokens(const PagedDecodeParams& params, const SelectTokensParams& select) override {
    cpu::SelectTokens(params, select, attention_kernels_, pool_, decode_workspace_);
  }
  void SparseDecode(const SparseDecodeParams& params) override {
    cpu::SparseDecode(params, attention_kernels_, pool_, decode_workspace_);
  }

  void Sample(const SampleParams& params) override {
    cpu::Sample(params, row_kernels_, pool_, sampling_scratch_);
  }
  void TokenLogprobs(const TokenLogprobsParams& params) override {
    cpu::TokenLogprobs(params, row_kernels_, pool_);
  }
  void AcceptDrafts(const SampleParams& params) override { cpu::AcceptDrafts(params); }
  void CountTokens(const CountTokensParams& params) override { cpu::CountTokens(params); }

  void ReduceNorm(const ReduceNormParams& params) override {
    cpu::ReduceNorm(params, row_kernels_, pool_, *exchange_);
  }
  void GatherColumns(const GatherColumnsParams& params) override {
    cpu::GatherColumns(params, *exchange_);
  }
  void ReduceScores(const PagedDecodeParams& params, const SelectTokensParams& select,
                    RankSpan ranks) override {
    cpu::ReduceScores(params, select, ranks, *exchange_, decode_workspace_);
  }

 private:
  const bool avx512_bf16_;
  DeviceInfo info_;
  cpu::ThreadPool pool_;
  const cpu::RowKernels& row_kernels_;
  const cpu::AttentionKernels& attention_kernels_;
  cpu::MatMulEngine matmul_;
  cpu::DecodeWorkspace decode_workspace_;
  cpu::PrefillWorkspace prefill_workspace_;
  std::vector<cpu::SamplingScratch> sampling_scratch_;
  RankGroup* const group_;
  std::optional<RankExchange> exchange_;  // with a group
};

}  // namespace

std::unique_ptr<Backend> MakeCpuBackend(const CpuBackendOptions& options) {
  const bool has_avx512 = cpu::HasAvx512Bf16();
  if (options.isa == CpuIsa::kAvx512Bf16 && !has_avx512) return nullptr;
  const bool avx512 = has_avx512 && options.isa != CpuIsa::kPortable;
  const int ranks = options.group == nullptr ? 1 : options.group->size();
  const int threads =
      options.num_threads > 0 ? options.num_threads : std::max(1, cpu::UsableProcessors() / ranks);
  return std::make_unique<CpuBackend>(threads, avx512, options.group);
}

}  // namespace tidal
