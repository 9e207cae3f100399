// A large load for decode attention that is quick to make: all rows share a few cache blocks, and
// V says which part of its row a token is in, so that every 16 tokens that are left out or counted
// twice show.
#ifndef TIDAL_TESTS_KERNELS_CUDA_LONG_DECODE_CASE_H_
#define TIDAL_TESTS_KERNELS_CUDA_LONG_DECODE_CASE_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/reference/attention_decode.h"
#include "tests/kernels/cuda/cuda_fixture.h"
#include "tests/kernels/decode_case.h"

namespace tidal {

// A row is head_dim runs of equally many blocks, one after the other, perhaps with a rest: run p is
// cache block p again and again. V of block p is head_dim in dim p and 0 elsewhere, so each output
// is about the share of the row that its run has, times head_dim; or 0, in short rows.
class LongDecodeCase {
 public:
  // `budget`: of every row; 0: dense.
  LongDecodeCase(const DecodeShape& shape, const std::vector<int32_t>& lens, int32_t budget = 0)
      : shape_(shape),
        lens_(lens),
        budgets_(lens.size(), budget),
        sequence_slots_(RowSlots(rows())) {
    const int32_t blocks = shape.head_dim, b = shape.block_size;
    const int64_t size = int64_t{blocks} * shape.num_kv_heads * b * shape.head_dim;
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < size; ++i) k_.push_back(ToBFloat16(normal(random)));
    v_.assign(size, ToBFloat16(0.0f));
    for (int64_t token = 0; token < int64_t{blocks} * shape.num_kv_heads * b; ++token) {
      const int64_t block = token / b / shape.num_kv_heads;
      v_[token * shape.head_dim + block] = ToBFloat16(static_cast<float>(shape.head_dim));
    }
    for (int64_t i = 0; i < out_size(); ++i) q_.push_back(ToBFloat16(normal(random) / 4));
    stride_ = max_len() / b + 2;
    tables_.assign(int64_t{NumSlots(rows())} * stride_, std::numeric_limits<int32_t>::max());
    for (int32_t row = 0; row < rows(); ++row) {
      const int32_t row_blocks = (lens[row] + b - 1) / b;
      const int32_t run = std::max(row_blocks / blocks, 1);
      int32_t* const table = &tables_[int64_t{sequence_slots_[row]} * stride_];
      for (int32_t i = 0; i < row_blocks; ++i) table[i] = i / run % blocks;
    }

    std::string error;
    backend_ = MakeCudaBackend({}, &error);
    BackendLimits limits{};
    limits.max_tokens = limits.max_decode_rows = NumSlots(rows());
    limits.max_context_len = max_len();
    limits.num_heads = shape.num_heads;
    limits.num_kv_heads = shape.num_kv_heads;
    limits.head_dim = shape.head_dim;
    limits.window = shape.window;
    limits.block_size = b;
    limits.vocab_size = 64;
    if (budget > 0) {
      for (int32_t len : lens) limits.max_scored_tokens += len;
    }
    EXPECT_TRUE(backend_->Reserve(limits));
    device_q_ = Upload(q_);
    device_k_ = Upload(k_);
    device_v_ = Upload(v_);
    device_tables_ = Upload(tables_);
    device_slots_ = Upload(sequence_slots_);
    device_row_begins_ =
        Upload(SelectionBuffer(shape, lens, budgets_, SelectionGranularity::kShared).row_begins());
    device_lens_ = Upload(lens_);
    device_budgets_ = Upload(budgets_);
    out_ = Upload(std::vector<float>(out_size()));
  }

  int32_t rows() const { return static_cast<int32_t>(lens_.size()); }
  Backend& backend() { return *backend_; }
  const int32_t* budgets() const { return device_budgets_->get(); }
  DeviceArray<float>& out() { return *out_; }
  int32_t Slot(int32_t row, int32_t position) const {
    const int32_t b = shape_.block_size;
    return tables_[int64_t{sequence_slots_[row]} * stride_ + position / b] * b + position % b;
  }
  // Of the device; the reference goes on with the lengths that the case was made with.
  void SetLens(const std::vector<int32_t>& lens) { device_lens_->Write(lens); }

  PagedDecodeParams HostParams() {
    PagedDecodeParams params{};
    params.q = q_.data();
    params.kv = {k_.data(), v_.data(), shape_.num_kv_heads, shape_.block_size, shape_.head_dim};
    params.tables = {tables_.data(), stride_, sequence_slots_.data(), lens_.data()};
    params.out_type = DType::kF32;
    params.rows = rows();
    params.num_heads = shape_.num_heads;
    params.max_context_len = max_len();
    params.softmax_scale = 1.0f / std::sqrt(static_cast<float>(shape_.head_dim));
    params.window = shape_.window;
    return params;
  }
  PagedDecodeParams Params() {
    PagedDecodeParams params = HostParams();
    params.q = device_q_->get();
    params.kv.k = device_k_->get();
    params.kv.v = device_v_->get();
    params.tables = {device_tables_->get(), stride_, device_slots_->get(), device_lens_->get()};
    params.out = out_->get();
    return params;
  }

  void Plan() {
    backend_->PlanDecode(
        {device_slots_->get(), device_lens_->get(), budgets(), device_row_begins_->get(), rows()});
  }
  std::vector<float> RunPaged() {
    ClearOut();
    Plan();
    backend_->PagedDecode(Params());
    return out_->Read();
  }
  void ClearOut() { out_->Write(std::vector<float>(out_size())); }
  // Rows without tokens keep the zeros that were there.
  std::vector<double> Reference() { return reference::PagedDecode(HostParams()); }

 private:
  template <typename T>
  std::unique_ptr<DeviceArray<T>> Upload(const std::vector<T>& host) {
    return std::make_unique<DeviceArray<T>>(*backend_, host);
  }
  int64_t out_size() const { return int64_t{rows()} * shape_.num_heads * shape_.head_dim; }
  int32_t max_len() const { return *std::max_element(lens_.begin(), lens_.end()); }

  const DecodeShape shape_;
  const std::vector<int32_t> lens_, budgets_, sequence_slots_;
  int32_t stride_ = 0;
  std::vector<bfloat16> q_, k_, v_;
  std::vector<int32_t> tables_;  // [NumSlots(rows), stride]
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<DeviceArray<bfloat16>> device_q_, device_k_, device_v_;
  std::unique_ptr<DeviceArray<int32_t>> device_tables_, device_slots_, device_lens_,
      device_budgets_, device_row_begins_;
  std::unique_ptr<DeviceArray<float>> out_;
};

}  // namespace tidal

#endif  // TIDAL_TESTS_KERNELS_CUDA_LONG_DECODE_CASE_H_
