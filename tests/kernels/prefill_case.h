// Prompt chunks over a paged cache, for the tests of prefill attention.
#ifndef TIDAL_TESTS_KERNELS_PREFILL_CASE_H_
#define TIDAL_TESTS_KERNELS_PREFILL_CASE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "kernels/attention/params.h"
#include "kernels/backend.h"
#include "tests/kernels/row_slots.h"

namespace tidal {

struct PrefillHeads {
  int32_t heads, kv_heads, head_dim, block_size;
  int32_t window = 0;
};

struct PrefillChunk {
  int32_t cached, tokens;
};

// Chunks of several sequences. Blocks are shuffled; unused cache slots, table entries past a
// context and the tables of nobody are poison.
class PrefillCase {
 public:
  PrefillCase(PrefillHeads heads, std::vector<PrefillChunk> chunks, uint32_t seed)
      : heads_(heads), chunks_(std::move(chunks)), random_(seed) {
    constexpr bfloat16 kNan = {0x7fc3};
    int32_t num_blocks = 2;
    for (const PrefillChunk& c : chunks_) {
      stride_ = std::max(stride_, Blocks(c) + 1);
      num_blocks += Blocks(c);
      cu_query_lens_.push_back(cu_query_lens_.back() + c.tokens);
      context_lens_.push_back(c.cached + c.tokens);
    }
    const size_t size = size_t(num_blocks) * heads.kv_heads * heads.block_size * heads.head_dim;
    k_.assign(size, kNan);
    v_.assign(size, kNan);
    const auto sequences = static_cast<int32_t>(chunks_.size());
    sequence_slots_ = RowSlots(sequences);
    tables_.assign(NumSlots(sequences) * stride_, -1000000);
    std::vector<int32_t> order(num_blocks);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random_);
    int32_t next = 0;
    for (int32_t s = 0; s < sequences; ++s) {
      int32_t* const table = &tables_[sequence_slots_[s] * stride_];
      for (int32_t b = 0; b < Blocks(chunks_[s]); ++b) table[b] = order[next++];
      for (int32_t t = 0; t < context_lens_[s]; ++t) {
        for (int32_t h = 0; h < heads.kv_heads; ++h) {
          Fill(KRow(s, t, h), heads.head_dim);
          Fill(VRow(s, t, h), heads.head_dim);
        }
      }
    }
    q_.resize(size_t(tokens()) * heads.heads * heads.head_dim);
    Fill(q_.data(), q_.size());
  }

  const PrefillHeads& heads() const { return heads_; }
  const std::vector<PrefillChunk>& chunks() const { return chunks_; }
  int32_t tokens() const { return cu_query_lens_.back(); }
  const std::vector<bfloat16>& q() const { return q_; }
  const std::vector<bfloat16>& k() const { return k_; }
  const std::vector<bfloat16>& v() const { return v_; }
  const std::vector<int32_t>& tables() const { return tables_; }
  const std::vector<int32_t>& sequence_slots() const { return sequence_slots_; }
  bfloat16* KRow(int32_t s, int32_t t, int32_t head) { return &k_[Offset(s, t, head)]; }
  bfloat16* VRow(int32_t s, int32_t t, int32_t head) { return &v_[Offset(s, t, head)]; }

  void ScaleKeys(float factor) {
    for (bfloat16& x : k_) x = ToBFloat16(ToFloat(x) * factor);
  }

  // With the pointers of this object's host memory.
  PrefillAttentionParams Params() const {
    PrefillAttentionParams p{};
    p.q = q_.data();
    p.kv = {const_cast<bfloat16*>(k_.data()), const_cast<bfloat16*>(v_.data()), heads_.kv_heads,
            heads_.block_size, heads_.head_dim};
    p.tables = {tables_.data(), stride_, sequence_slots_.data(), context_lens_.data()};
    p.cu_query_lens = cu_query_lens_.data();
    p.num_sequences = static_cast<int32_t>(chunks_.size());
    p.num_heads = heads_.heads;
    p.window = heads_.window;
    for (size_t s = 0; s < chunks_.size(); ++s) {
      p.max_query_len = std::max(p.max_query_len, chunks_[s].tokens);
      p.max_context_len = std::max(p.max_context_len, context_lens_[s]);
    }
    p.softmax_scale = 1 / std::sqrt(static_cast<float>(heads_.head_dim));
    return p;
  }

 private:
  int32_t Blocks(const PrefillChunk& c) const {
    return (c.cached + c.tokens + heads_.block_size - 1) / heads_.block_size;
  }
  size_t Offset(int32_t s, int32_t t, int32_t head) const {
    const size_t block = tables_[sequence_slots_[s] * stride_ + t / heads_.block_size];
    return ((block * heads_.kv_heads + head) * heads_.block_size + t % heads_.block_size) *
           heads_.head_dim;
  }
  void Fill(bfloat16* to, size_t count) {
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < count; ++i) to[i] = ToBFloat16(normal(random_));
  }

  const PrefillHeads heads_;
  const std::vector<PrefillChunk> chunks_;
  std::mt19937 random_;
  int32_t stride_ = 1;
  std::vector<int32_t> cu_query_lens_ = {0}, context_lens_, sequence_slots_, tables_;
  std::vector<bfloat16> k_, v_, q_;
};

// A step as large as the case needs, and no larger.
inline BackendLimits PrefillLimits(const PrefillHeads& heads, int32_t max_tokens,
                                   int32_t max_context_len) {
  BackendLimits limits{};
  limits.max_tokens = max_tokens;
  limits.max_decode_rows = 1;
  limits.max_context_len = max_context_len;
  limits.num_heads = heads.heads;
  limits.num_kv_heads = heads.kv_heads;
  limits.head_dim = heads.head_dim;
  limits.block_size = heads.block_size;
  return limits;
}

}  // namespace tidal

#endif  // TIDAL_TESTS_KERNELS_PREFILL_CASE_H_
