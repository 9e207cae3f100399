// A Backend that passes everything on and can be told to fail.
#ifndef TIDAL_TESTS_SUPPORT_FORWARDING_BACKEND_H_
#define TIDAL_TESTS_SUPPORT_FORWARDING_BACKEND_H_

#include <cstddef>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "kernels/backend.h"

namespace tidal {

class ForwardingBackend : public Backend {
 public:
  explicit ForwardingBackend(std::unique_ptr<Backend> backend) : backend_(std::move(backend)) {}

  std::string error;   // what Wait() answers when not empty
  bool eager = false;  // what would be recorded runs at once, and nothing is replayed
  size_t max_allocation = std::numeric_limits<size_t>::max();  // larger ones fail

  const DeviceInfo& info() const override { return backend_->info(); }
  void* Allocate(size_t bytes) override {
    return bytes > max_allocation ? nullptr : backend_->Allocate(bytes);
  }
  void Free(void* ptr) override { backend_->Free(ptr); }
  DeviceMemory memory() const override { return backend_->memory(); }
  double MeasureReadBandwidth() override { return backend_->MeasureReadBandwidth(); }
  void CopyToDevice(void* dst, const void* host_src, size_t bytes) override {
    backend_->CopyToDevice(dst, host_src, bytes);
  }
  void CopyToHost(void* host_dst, const void* src, size_t bytes) override {
    backend_->CopyToHost(host_dst, src, bytes);
  }
  void FillRandom(bfloat16* dst, int64_t count, uint64_t seed, float deviation) override {
    backend_->FillRandom(dst, count, seed, deviation);
  }
  Ticket Submit() override { return backend_->Submit(); }
  std::string Wait(Ticket ticket) override {
    const std::string result = backend_->Wait(ticket);
    return error.empty() ? result : error;
  }
  std::string WhyUnsupported(const BackendLimits& limits) const override {
    return backend_->WhyUnsupported(limits);
  }
  bool Reserve(const BackendLimits& limits) override { return backend_->Reserve(limits); }
  std::unique_ptr<PackedWeight> PackWeight(const HostWeight& weight) override {
    return backend_->PackWeight(weight);
  }
  std::unique_ptr<PackedWeight> PackRandomWeight(int32_t out_features, int32_t in_features,
                                                 uint64_t seed, float deviation) override {
    return backend_->PackRandomWeight(out_features, in_features, seed, deviation);
  }
  bool supports_graphs() const override { return backend_->supports_graphs(); }
  bool RunGraph(GraphKey key) override { return !eager && backend_->RunGraph(key); }
  void BeginGraph(GraphKey key) override {
    if (!eager) backend_->BeginGraph(key);
  }
  std::string EndGraph() override { return eager ? "it is eager" : backend_->EndGraph(); }
  void UpdateTables(const UpdateTablesParams& params) override { backend_->UpdateTables(params); }
  void Embedding(const EmbeddingParams& params) override { backend_->Embedding(params); }
  void RmsNorm(const RmsNormParams& params) override { backend_->RmsNorm(params); }
  void MatMul(const MatMulParams& params) override { backend_->MatMul(params); }
  void RopeStoreKv(const RopeStoreKvParams& params) override { backend_->RopeStoreKv(params); }
  void SwiGlu(const SwiGluParams& params) override { backend_->SwiGlu(params); }
  void GatherRows(const GatherRowsParams& params) override { backend_->GatherRows(params); }
  void PrefillAttention(const PrefillAttentionParams& params) override {
    backend_->PrefillAttention(params);
  }
  void PlanDecode(const DecodeRows& rows) override { backend_->PlanDecode(rows); }
  void PagedDecode(const PagedDecodeParams& params) override { backend_->PagedDecode(params); }
  void ScoringDecode(const PagedDecodeParams& params, const SelectTokensParams& select) override {
    backend_->ScoringDecode(params, select);
  }
  void SelectTokens(const PagedDecodeParams& params, const SelectTokensParams& select) override {
    backend_->SelectTokens(params, select);
  }
  void SparseDecode(const SparseDecodeParams& params) override { backend_->SparseDecode(params); }
  void Sample(const SampleParams& params) override { backend_->Sample(params); }
  void TokenLogprobs(const TokenLogprobsParams& params) override {
    backend_->TokenLogprobs(params);
  }
  void AcceptDrafts(const SampleParams& params) override { backend_->AcceptDrafts(params); }
  void CountTokens(const CountTokensParams& params) override { backend_->CountTokens(params); }
  void ReduceNorm(const ReduceNormParams& params) override { backend_->ReduceNorm(params); }
  void GatherColumns(const GatherColumnsParams& params) override {
    backend_->GatherColumns(params);
  }
  void ReduceScores(const PagedDecodeParams& params, const SelectTokensParams& select,
                    RankSpan ranks) override {
    backend_->ReduceScores(params, select, ranks);
  }

 private:
  std::unique_ptr<Backend> backend_;
};

}  // namespace tidal

#endif  // TIDAL_TESTS_SUPPORT_FORWARDING_BACKEND_H_
