// A DecodeCase in device memory, with a back end reserved for just that case.
#ifndef TIDAL_TESTS_KERNELS_CUDA_DEVICE_DECODE_CASE_H_
#define TIDAL_TESTS_KERNELS_CUDA_DEVICE_DECODE_CASE_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "tests/kernels/cuda/cuda_fixture.h"
#include "tests/kernels/decode_case.h"

namespace tidal {

// What outputs hold before an operation. Rows that pad a batch keep it.
inline constexpr float kPoison = -7.0f;

// A SelectionBuffer in device memory.
class DeviceSelection {
 public:
  DeviceSelection(Backend& backend, SelectionBuffer& host)
      : view_(host.view()),
        positions_(backend, host.positions()),
        slots_(backend, host.slots()),
        counts_(backend, host.counts()),
        row_begins_(backend, host.row_begins()) {
    view_.positions = positions_.get();
    view_.slots = slots_.get();
    view_.counts = counts_.get();
    view_.row_begins = row_begins_.get();
  }

  const TokenSelection& view() const { return view_; }
  const int32_t* row_begins() const { return row_begins_.get(); }
  void ReadTo(SelectionBuffer* host) const {
    host->positions() = positions_.Read();
    host->slots() = slots_.Read();
    host->counts() = counts_.Read();
    host->ExpectPoisonElsewhere();
  }

 private:
  TokenSelection view_;
  DeviceArray<int32_t> positions_, slots_, counts_, row_begins_;
};

class DeviceDecodeCase {
 public:
  // `budgets`: one a row, 0 = dense. Later changes of `c` are not seen.
  DeviceDecodeCase(DecodeCase& c, const std::vector<int32_t>& budgets)
      : backend_(MakeBackend(c, budgets)),
        host_(c.Params(nullptr)),
        out_size_(c.out_size()),
        q_(*backend_, c.q()),
        k_(*backend_, c.k()),
        v_(*backend_, c.v()),
        blocks_(*backend_, c.blocks()),
        sequence_slots_(*backend_, c.sequence_slots()),
        context_lens_(*backend_, c.context_lens()),
        budgets_(*backend_, budgets),
        row_begins_(*backend_, SelectionBuffer(c.shape(), c.context_lens(), budgets,
                                               SelectionGranularity::kShared)
                                   .row_begins()) {}

  Backend& backend() { return *backend_; }
  PagedDecodeParams Params(void* out) const {
    PagedDecodeParams params = host_;
    params.q = q_.get();
    params.kv.k = k_.get();
    params.kv.v = v_.get();
    params.tables = {blocks_.get(), host_.tables.stride, sequence_slots_.get(),
                     context_lens_.get()};
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

  void Plan() {
    backend_->PlanDecode({sequence_slots_.get(), context_lens_.get(), budgets_.get(),
                          row_begins_.get(), host_.rows});
  }

  std::vector<float> RunPaged() {
    DeviceArray<float> out(*backend_, Poison());
    Plan();
    backend_->PagedDecode(Params(out.get()));
    return out.Read();
  }
  // `selection` was made for the budgets of this case.
  std::vector<float> RunSparse(SelectionBuffer& selection) {
    const DeviceSelection device_selection(*backend_, selection);
    DeviceArray<float> out(*backend_, Poison());
    Plan();
    backend_->SparseDecode(SparseParams(device_selection.view(), out.get()));
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
    BackendLimits limits = c.Limits();
    limits.vocab_size = 64;
    for (int32_t row = 0; row < c.rows(); ++row) {
      if (budgets[row] > 0) limits.max_scored_tokens += c.context_len(row);
    }
    EXPECT_TRUE(backend->Reserve(limits));
    return backend;
  }

  std::unique_ptr<Backend> backend_;
  PagedDecodeParams host_;
  int64_t out_size_;
  DeviceArray<bfloat16> q_, k_, v_;
  DeviceArray<int32_t> blocks_, sequence_slots_, context_lens_, budgets_, row_begins_;
};

}  // namespace tidal

#endif  // TIDAL_TESTS_KERNELS_CUDA_DEVICE_DECODE_CASE_H_
