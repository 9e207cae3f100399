// The one interface between the engine and the hardware: memory, copies, operations.
//
// Operations are enqueued in order, run in that order, and may run later; Submit() names what has
// been enqueued, Wait() waits for it. An operation that the hardware fails makes the back end fail
// for good: Wait() then names it.
// Shapes are checked by the engine; an operation aborts on a shape it was promised not to get.
// Not thread-safe: one thread drives a back end.
#ifndef TIDAL_KERNELS_BACKEND_H_
#define TIDAL_KERNELS_BACKEND_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "kernels/attention/params.h"
#include "kernels/layer_params.h"
#include "kernels/sampling_params.h"
#include "kernels/types.h"

namespace tidal {

struct BackendInfo {
  std::string name;    // "cpu", "cuda"
  std::string device;  // "AMD EPYC, 2 threads, avx512_bf16"
  DType matmul_type;   // type of what enters a matrix product
  // Operations run while the host goes on, so it pays to enqueue a step before the last has ended.
  bool asynchronous = false;
};

// The largest step the back end will be asked to run: its scratch memory is taken from this.
struct BackendLimits {
  int32_t max_tokens = 0;  // rows of one step, prefill tokens included
  int32_t max_decode_rows = 0;
  int32_t max_context_len = 0;
  int32_t num_heads = 0, num_kv_heads = 0, head_dim = 0;
  int32_t vocab = 0;
  int32_t block_size = 0;
  // Sum of the context lengths of a step's sparse rows, at most. One row of max_context_len fits.
  int64_t max_scored_tokens = 0;
  // The attention window of the layers that have one, where it is smaller than max_context_len;
  // else 0.
  int32_t window = 0;
};

struct DeviceMemory {
  int64_t free_bytes, total_bytes;
};

// Names a recorded step: steps with equal keys run the same operations on the same pointers with
// the same host numbers, whatever device memory holds.
using GraphKey = uint64_t;

// Names all work enqueued before a Submit().
using Ticket = uint64_t;

class Backend {
 public:
  virtual ~Backend() = default;

  virtual const BackendInfo& info() const = 0;

  // Memory, aligned to 256 bytes, zeroed. Null when it does not fit.
  virtual void* Allocate(size_t bytes) = 0;
  virtual void Free(void* ptr) = 0;
  virtual DeviceMemory memory() const = 0;
  // Bytes per second of a plain read of memory far larger than the caches: what the bounds of
  // benchmarks are made of. 0 when there is no memory to measure with.
  virtual double MeasureReadBandwidth() = 0;
  // The source may change as soon as the call returns.
  virtual void CopyToDevice(void* dst, const void* host_src, size_t bytes) = 0;
  // The copy is there after Wait() for a later Submit(); until then `host_dst` stays writable.
  virtual void CopyToHost(void* host_dst, const void* src, size_t bytes) = 0;
  // Normal numbers of the given deviation: a pure function of (seed, index).
  virtual void FillRandom(bfloat16* dst, int64_t count, uint64_t seed, float deviation) = 0;

  virtual Ticket Submit() = 0;
  // Waits for the work that `ticket` names; work enqueued later may still run. Empty when no
  // operation is known to have failed, else the failed operation and the reason.
  [[nodiscard]] virtual std::string Wait(Ticket ticket) = 0;
  // Waits for everything.
  [[nodiscard]] std::string Synchronize() { return Wait(Submit()); }

  // Empty when the back end can run such a model, else "field: must be ..., got ...".
  virtual std::string WhyUnsupported(const BackendLimits& /*limits*/) const { return ""; }

  // Scratch memory for steps up to `limits`. False when it does not fit. Call once, before any
  // operation below.
  [[nodiscard]] virtual bool Reserve(const BackendLimits& limits) = 0;

  // weight: host memory [out_features, in_features], not kept.
  virtual std::unique_ptr<PackedWeight> PackWeight(const bfloat16* weight, int32_t out_features,
                                                   int32_t in_features) = 0;
  // The same of random numbers, for benchmarks without a checkpoint.
  virtual std::unique_ptr<PackedWeight> PackRandomWeight(int32_t out_features, int32_t in_features,
                                                         uint64_t seed, float deviation) = 0;

  // Replay. A back end without graphs has none to run and records nothing.
  virtual bool supports_graphs() const { return false; }
  // Runs what was recorded under `key`; false when nothing was.
  virtual bool RunGraph(GraphKey /*key*/) { return false; }
  // Operations between these two are recorded under `key` and run once, by EndGraph(). Between them
  // no memory is taken and nothing is copied from or to the host.
  virtual void BeginGraph(GraphKey /*key*/) {}
  virtual void EndGraph() {}

  virtual void UpdateTables(const UpdateTablesParams& params) = 0;
  virtual void Embedding(const EmbeddingParams& params) = 0;
  virtual void RmsNorm(const RmsNormParams& params) = 0;
  virtual void MatMul(const MatMulParams& params) = 0;
  virtual void RopeStoreKv(const RopeStoreKvParams& params) = 0;
  virtual void SwiGlu(const SwiGluParams& params) = 0;
  virtual void GatherRows(const GatherRowsParams& params) = 0;

  virtual void PrefillAttention(const PrefillAttentionParams& params) = 0;
  // Once a step, before its decode operations, which are called with these rows. Their block tables
  // are there by then, and of each row's tokens the K and V of all but the last.
  virtual void PlanDecode(const DecodeRows& rows) = 0;
  virtual void PagedDecode(const PagedDecodeParams& params) = 0;
  // PagedDecode, and the token sets of its sparse rows; the scores come from the pass that reads K.
  virtual void SelectingDecode(const PagedDecodeParams& params,
                               const SelectTokensParams& select) = 0;
  virtual void SparseDecode(const SparseDecodeParams& params) = 0;

  virtual void Sample(const SampleParams& params) = 0;
  virtual void CountTokens(const CountTokensParams& params) = 0;
};

}  // namespace tidal

#endif  // TIDAL_KERNELS_BACKEND_H_
