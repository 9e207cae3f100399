// A DecodeCase in device memory, with a back end reserved for just that case.
#ifndef TIDAL_TESTS_KERNELS_CUDA_DEVICE_DECODE_CASE_H_
#define TIDAL_TESTS_KERNELS_CUDA_DEVICE_DECODE_CASE_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "tests/kernels/cuda/cuda_fixture.h"
#include "tests/kernels/decode_case.h"

namespace tidal {

// What outputs hold before an operation. Rows that pad a batch keep it.
inline constexpr float kPoison = -7.0f;

class DeviceDecodeCase {
 public:
  // `budgets`: one a row, 0 = dense. Later changes of `c` are not seen.
  DeviceDecodeCase(DecodeCase& c, const std::vector<int32_t>& budgets)
      : backend_(MakeBackend(c, budgets)),
        host_(c.Params(nullptr)),
        out_size_(c.out_size()),
        q_(*backend_, {host_.q, host_.q + c.out_size()}),
        k_(*backend_, Cache(host_.kv.k)),
        v_(*backend_, Cache(host_.kv.v)),
        blocks_(*backend_, Tables()),
        context_lens_(*backend_, {host_.tables.context_lens, host_.tables.context_lens + c.rows()}),
        budgets_(*backend_, budgets) {}

  Backend& backend() { return *backend_; }
  PagedDecodeParams Params(void* out) const {
    PagedDecodeParams params = host_;
    params.q = q_.get();
    params.kv.k = k_.get();
    params.kv.v = v_.get();
    params.tables = {blocks_.get(), host_.tables.stride, context_lens_.get()};
    params.out = out;
    return params;
  }
  SparseDecodeParams SparseParams(const TokenSelection& device_selection, void* out) const {
    const PagedDecodeParams dense = Params(out);
    return {.q = dense.q,
            .kv = dense.kv,
            .tables = dense.tables,
            .token_budgets = budgets_.get(),
            .selection = device_selection,
            .out = out,
            .out_type = dense.out_type,
            .rows = dense.rows,
            .num_heads = dense.num_heads,
            .max_context_len = dense.max_context_len,
            .softmax_scale = dense.softmax_scale};
  }
  void SetContextLens(const std::vector<int32_t>& lens) { context_lens_.Write(lens); }
  void SetScale(float scale) { host_.softmax_scale = scale; }
  const int32_t* budgets() const { return budgets_.get(); }

  void Plan() { backend_->PlanDecode({context_lens_.get(), budgets_.get(), host_.rows}); }

  std::vector<float> RunPaged() {
    DeviceArray<float> out(*backend_, Poison());
    Plan();
    backend_->PagedDecode(Params(out.get()));
    return out.Read();
  }
  std::vector<float> RunSparse(const SelectionBuffer& selection) {
    const TokenSelection& host = selection.view();
    const size_t sets = size_t(host_.rows) * selection.sets();
    DeviceArray<int32_t> slots(*backend_, {host.slots, host.slots + sets * host.capacity});
    DeviceArray<int32_t> counts(*backend_, {host.counts, host.counts + sets});
    DeviceArray<float> out(*backend_, Poison());
    Plan();
    backend_->SparseDecode(SparseParams(
        {nullptr, slots.get(), counts.get(), host.capacity, host.granularity}, out.get()));
    return out.Read();
  }

  std::vector<float> Poison() const { return std::vector<float>(out_size_, kPoison); }

 private:
  static std::unique_ptr<Backend> MakeBackend(DecodeCase& c, const std::vector<int32_t>& budgets) {
    std::string error;
    std::unique_ptr<Backend> backend = MakeCudaBackend({}, &error);
    if (backend == nullptr) {
      ADD_FAILURE() << error;
      std::abort();
    }
    BackendLimits limits = c.Limits(std::max(1, *std::max_element(budgets.begin(), budgets.end())));
    limits.block_size = c.Params(nullptr).kv.block_size;
    limits.vocab = limits.hidden = limits.intermediate = 64;
    for (int32_t row = 0; row < c.rows(); ++row) {
      if (budgets[row] > 0) limits.max_scored_tokens += c.context_len(row);
    }
    EXPECT_TRUE(backend->Reserve(limits));
    return backend;
  }

  // Visits the block table entries that the contexts reach.
  template <typename Visit>
  void VisitTables(Visit visit) const {
    for (int32_t row = 0; row < host_.rows; ++row) {
      const int32_t reached =
          (host_.tables.context_lens[row] + host_.kv.block_size - 1) / host_.kv.block_size;
      for (int32_t i = 0; i < reached; ++i) visit(int64_t{row} * host_.tables.stride + i);
    }
  }
  // The cache up to the last block that a context reaches.
  std::vector<bfloat16> Cache(const bfloat16* cache) const {
    int64_t last = 0;
    VisitTables([&](int64_t i) { last = std::max<int64_t>(last, host_.tables.blocks[i]); });
    const PagedKvCache& kv = host_.kv;
    return {cache, cache + (last + 1) * kv.num_kv_heads * kv.block_size * kv.head_dim};
  }
  // Entries that must not be read point far outside the cache.
  std::vector<int32_t> Tables() const {
    std::vector<int32_t> tables(size_t(host_.rows) * host_.tables.stride,
                                std::numeric_limits<int32_t>::max());
    VisitTables([&](int64_t i) { tables[i] = host_.tables.blocks[i]; });
    return tables;
  }

  std::unique_ptr<Backend> backend_;
  PagedDecodeParams host_;
  int64_t out_size_;
  DeviceArray<bfloat16> q_, k_, v_;
  DeviceArray<int32_t> blocks_, context_lens_, budgets_;
};

}  // namespace tidal

#endif  // TIDAL_TESTS_KERNELS_CUDA_DEVICE_DECODE_CASE_H_
