#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/reference/attention_prefill.h"
#include "tests/kernels/cpu_backend_fixture.h"

namespace tidal {
namespace {

constexpr uint16_t kPoison = 0x7fc3;  // a NaN

struct HeadShape {
  int32_t heads, kv_heads, head_dim, block_size;
  int32_t window = 0;
};

struct Chunk {
  int32_t cached, tokens;
};

// Chunks of several sequences over a cache whose blocks are shuffled and whose unused slots, block
// table entries past the context included, are poison.
class PrefillCase {
 public:
  PrefillCase(HeadShape shape, std::vector<Chunk> chunks, uint32_t seed)
      : shape_(shape), chunks_(std::move(chunks)) {
    int32_t num_blocks = 2;
    for (const Chunk& c : chunks_) {
      const int32_t blocks = Blocks(c);
      stride_ = std::max(stride_, blocks + 1);
      num_blocks += blocks;
      cu_query_lens_.push_back(cu_query_lens_.back() + c.tokens);
      context_lens_.push_back(c.cached + c.tokens);
    }
    const size_t size = size_t(num_blocks) * shape.kv_heads * shape.block_size * shape.head_dim;
    k_.assign(size, {kPoison});
    v_.assign(size, {kPoison});
    tables_.assign(chunks_.size() * stride_, -1000000);
    std::vector<int32_t> order(num_blocks);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937(seed));
    int32_t next = 0;
    for (size_t s = 0; s < chunks_.size(); ++s) {
      for (int32_t b = 0; b < Blocks(chunks_[s]); ++b) tables_[s * stride_ + b] = order[next++];
      FillSequence(static_cast<int32_t>(s), seed + 100 + static_cast<uint32_t>(s));
    }
    q_ = AsBFloat16(RandomFloats(size_t(tokens()) * shape.heads * shape.head_dim, seed + 1));
  }

  int32_t tokens() const { return cu_query_lens_.back(); }
  bfloat16* k(int32_t s, int32_t t, int32_t head) { return k_.data() + Offset(s, t, head); }
  bfloat16* v(int32_t s, int32_t t, int32_t head) { return v_.data() + Offset(s, t, head); }

  PrefillAttentionParams Params() const {
    PrefillAttentionParams p{};
    p.q = q_.data();
    p.kv = {const_cast<bfloat16*>(k_.data()), const_cast<bfloat16*>(v_.data()), shape_.kv_heads,
            shape_.block_size, shape_.head_dim};
    p.tables = {tables_.data(), stride_, context_lens_.data()};
    p.cu_query_lens = cu_query_lens_.data();
    p.num_sequences = static_cast<int32_t>(chunks_.size());
    p.num_heads = shape_.heads;
    for (size_t s = 0; s < chunks_.size(); ++s) {
      p.max_query_len = std::max(p.max_query_len, chunks_[s].tokens);
      p.max_context_len = std::max(p.max_context_len, context_lens_[s]);
    }
    p.softmax_scale = 1 / std::sqrt(static_cast<float>(shape_.head_dim));
    p.window = shape_.window;
    return p;
  }

  // The tokens [first, first + count) of the only sequence, as a chunk of their own.
  std::vector<float> RunPart(Backend& backend, int32_t first, int32_t count) const {
    PrefillAttentionParams p = Params();
    const int32_t cu[] = {0, count};
    const int32_t context_len = chunks_[0].cached + first + count;
    const size_t row = size_t(shape_.heads) * shape_.head_dim;
    p.q += first * row;
    p.cu_query_lens = cu;
    p.tables.context_lens = &context_len;
    p.max_query_len = count;
    p.max_context_len = context_len;
    return Run(backend, p, count * row);
  }

  std::vector<float> Run(Backend& backend) const { return Run(backend, Params(), q_.size()); }

  BackendLimits Limits() const {
    return {tokens() + 1, 1, 1 << 15, shape_.heads, shape_.kv_heads, shape_.head_dim, 16, 16};
  }

  const HeadShape& shape() const { return shape_; }

 private:
  int32_t Blocks(const Chunk& c) const {
    return (c.cached + c.tokens + shape_.block_size - 1) / shape_.block_size;
  }
  size_t Offset(int32_t s, int32_t t, int32_t head) const {
    const size_t block = tables_[s * stride_ + t / shape_.block_size];
    return ((block * shape_.kv_heads + head) * shape_.block_size + t % shape_.block_size) *
           shape_.head_dim;
  }
  void FillSequence(int32_t s, uint32_t seed) {
    const size_t row = size_t(shape_.kv_heads) * shape_.head_dim;
    const auto k_rows = AsBFloat16(RandomFloats(context_lens_[s] * row, seed));
    const auto v_rows = AsBFloat16(RandomFloats(context_lens_[s] * row, seed + 7));
    for (int32_t t = 0; t < context_lens_[s]; ++t) {
      for (int32_t h = 0; h < shape_.kv_heads; ++h) {
        const size_t from = t * row + h * shape_.head_dim;
        std::copy_n(k_rows.data() + from, shape_.head_dim, k(s, t, h));
        std::copy_n(v_rows.data() + from, shape_.head_dim, v(s, t, h));
      }
    }
  }
  static std::vector<float> Run(Backend& backend, PrefillAttentionParams p, size_t size) {
    constexpr float kGuard = -77;
    std::vector<float> out(size + 16, kGuard);
    p.out = out.data();
    p.out_type = DType::kF32;
    backend.PrefillAttention(p);
    for (size_t i = size; i < out.size(); ++i) EXPECT_EQ(out[i], kGuard);
    out.resize(size);
    return out;
  }

  const HeadShape shape_;
  const std::vector<Chunk> chunks_;
  int32_t stride_ = 1;
  std::vector<int32_t> cu_query_lens_ = {0}, context_lens_, tables_;
  std::vector<bfloat16> k_, v_, q_;
};

class PrefillAttentionTest : public CpuBackendFixture {
 protected:
  void ExpectEqualsReference(const PrefillCase& c, const std::string& name,
                             double float_tolerance = 1e-5) {
    ASSERT_TRUE(backend_->Reserve(c.Limits()));
    const auto out = c.Run(*backend_);
    const auto want = reference::PrefillAttention(c.Params());
    // The AVX-512 form rounds weights to bf16: 2^-9 of values of order 1 to 4.
    const double tolerance = is_bf16() ? 0.008 : float_tolerance;
    for (size_t i = 0; i < out.size(); ++i) {
      ASSERT_NEAR(out[i], want[i], tolerance) << name << " at " << i;
    }
  }
};
TIDAL_INSTANTIATE_FOR_EVERY_ISA(PrefillAttentionTest);

TEST_P(PrefillAttentionTest, EqualsReferenceForEveryHeadShape) {
  for (const int32_t head_dim : {16, 32, 48, 64, 80, 112, 128, 256}) {
    for (const int32_t group : {1, 2, 3, 5, 8, 20}) {
      const HeadShape shape{2 * group, 2, head_dim, 16 << (head_dim / 16 + group) % 3};
      ExpectEqualsReference(PrefillCase(shape, {{0, 37}, {70, 3}}, head_dim + group),
                            "D " + std::to_string(head_dim) + " G " + std::to_string(group));
    }
  }
}

TEST_P(PrefillAttentionTest, EqualsReferenceForEveryLength) {
  for (const int32_t tokens : {1, 2, 3, 17, 63, 64, 65, 500}) {
    for (const int32_t cached : {0, 1, 15, 16, 17, 255, 256, 1000}) {
      const int32_t block_size = 16 << (tokens + cached) % 3;
      ExpectEqualsReference(PrefillCase({2, 1, 16, block_size}, {{cached, tokens}}, tokens),
                            std::to_string(tokens) + " after " + std::to_string(cached));
    }
  }
}

TEST_P(PrefillAttentionTest, EqualsReferenceForEveryWindow) {
  for (const int32_t window : {1, 2, 15, 16, 63, 64, 65, 255, 256, 257, 700, 5000}) {
    for (const Chunk chunk : {Chunk{0, 1}, {0, 90}, {300, 1}, {255, 3}, {700, 130}, {1000, 300}}) {
      const PrefillCase c({3, 1, 32, 16, window}, {chunk, {20, 30}}, window);
      ExpectEqualsReference(c, "window " + std::to_string(window) + ", " +
                                   std::to_string(chunk.tokens) + " after " +
                                   std::to_string(chunk.cached));
    }
  }
}

TEST_P(PrefillAttentionTest, WhatLiesBeforeTheWindowNeverTouchesARow) {
  constexpr int32_t kTokens = 400, kWindow = 70;
  const HeadShape shape{4, 2, 64, 16, kWindow};
  PrefillCase c(shape, {{0, kTokens}}, 6);
  ASSERT_TRUE(backend_->Reserve(c.Limits()));
  const auto clean = c.Run(*backend_);
  const int32_t row = shape.heads * shape.head_dim;
  for (const int32_t bad : {0, 100, 255, 256, 329}) {
    PrefillCase spoilt(shape, {{0, kTokens}}, 6);
    for (int32_t head = 0; head < shape.kv_heads; ++head) {
      std::fill_n(spoilt.k(0, bad, head), shape.head_dim, bfloat16{kPoison});
      std::fill_n(spoilt.v(0, bad, head), shape.head_dim, bfloat16{kPoison});
    }
    const auto out = spoilt.Run(*backend_);
    for (int32_t i = 0; i < kTokens * row; ++i) {
      const bool sees_it = i / row >= bad && i / row < bad + kWindow;
      if (sees_it) {
        ASSERT_TRUE(std::isnan(out[i])) << bad << " " << i;
      } else {
        ASSERT_EQ(out[i], clean[i]) << bad << " " << i;
      }
    }
  }
}

TEST_P(PrefillAttentionTest, SequencesOfOneCallAreIndependent) {
  const std::vector<Chunk> chunks = {{0, 5}, {300, 1}, {0, 64}, {17, 130}, {15, 0}, {0, 1}};
  const PrefillCase c({4, 2, 64, 32}, chunks, 3);
  ExpectEqualsReference(c, "several");
}

TEST_P(PrefillAttentionTest, ResultDoesNotDependOnTheChunks) {
  constexpr int32_t kTokens = 600;
  for (const HeadShape shape :
       {HeadShape{4, 2, 64, 16}, HeadShape{3, 1, 48, 32}, HeadShape{4, 2, 64, 16, 150}}) {
    const PrefillCase c(shape, {{10, kTokens}}, 4);
    ASSERT_TRUE(backend_->Reserve(c.Limits()));
    const auto whole = c.Run(*backend_);
    for (const int32_t chunk : {1, 7, 64, 256, 599}) {
      std::vector<float> joined;
      for (int32_t first = 0; first < kTokens; first += chunk) {
        const auto part = c.RunPart(*backend_, first, std::min(chunk, kTokens - first));
        joined.insert(joined.end(), part.begin(), part.end());
      }
      EXPECT_EQ(joined, whole) << "chunks of " << chunk;  // bit for bit
    }
  }
}

TEST_P(PrefillAttentionTest, ThreadsDoNotChangeTheResult) {
  const PrefillCase c({4, 2, 64, 16}, {{33, 200}, {0, 77}}, 5);
  std::vector<std::vector<float>> results;
  for (const int threads : {1, 2, 4}) {
    const auto backend = MakeCpuBackend({.num_threads = threads, .isa = GetParam()});
    ASSERT_TRUE(backend->Reserve(c.Limits()));
    results.push_back(c.Run(*backend));
  }
  EXPECT_EQ(results[1], results[0]);
  EXPECT_EQ(results[2], results[0]);
}

TEST_P(PrefillAttentionTest, LaterTokensNeverTouchEarlierRows) {
  constexpr int32_t kTokens = 300;
  const HeadShape shape{4, 2, 64, 16};
  PrefillCase c(shape, {{0, kTokens}}, 6);
  ASSERT_TRUE(backend_->Reserve(c.Limits()));
  const auto clean = c.Run(*backend_);
  const int32_t row = shape.heads * shape.head_dim;
  const bfloat16 nan = {kPoison}, infinity = ToBFloat16(std::numeric_limits<float>::infinity());
  for (const int32_t bad : {299, 258, 131, 130, 1}) {
    std::fill_n(c.k(0, bad, 0), shape.head_dim, nan);
    std::fill_n(c.v(0, bad, 0), shape.head_dim, nan);
    std::fill_n(c.v(0, bad, 1), shape.head_dim, infinity);
    const auto out = c.Run(*backend_);
    for (int32_t i = 0; i < bad * row; ++i) ASSERT_EQ(out[i], clean[i]) << bad << " " << i;
    for (int32_t i = bad * row; i < kTokens * row; ++i) {
      ASSERT_FALSE(std::isfinite(out[i])) << bad << " " << i;
    }
  }
}

TEST_P(PrefillAttentionTest, LargeScoresDoNotOverflow) {
  PrefillCase c({2, 1, 32, 16}, {{0, 90}}, 7);
  for (int32_t t = 0; t < 90; ++t) {
    for (int32_t d = 0; d < 32; ++d) c.k(0, t, 0)[d] = ToBFloat16(ToFloat(c.k(0, t, 0)[d]) * 300);
  }
  ExpectEqualsReference(c, "large scores", 1e-3);  // a score of 1000 is exact to 6e-5
}

TEST_P(PrefillAttentionTest, Bf16OutputIsTheRoundedFloatOutput) {
  const PrefillCase c({4, 2, 80, 16}, {{3, 70}}, 8);
  ASSERT_TRUE(backend_->Reserve(c.Limits()));
  const auto floats = c.Run(*backend_);
  std::vector<bfloat16> out(floats.size());
  PrefillAttentionParams p = c.Params();
  p.out = out.data();
  p.out_type = DType::kBF16;
  backend_->PrefillAttention(p);
  for (size_t i = 0; i < out.size(); ++i) ASSERT_EQ(out[i].bits, ToBFloat16(floats[i]).bits);
}

TEST_P(PrefillAttentionTest, NoSequencesWriteNothing) {
  const PrefillCase c({4, 2, 64, 16}, {}, 9);
  EXPECT_TRUE(c.Run(*backend_).empty());
}

}  // namespace
}  // namespace tidal
