#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/reference/attention_prefill.h"
#include "tests/kernels/cpu_backend_fixture.h"
#include "tests/kernels/prefill_case.h"

namespace tidal {
namespace {

constexpr uint16_t kPoison = 0x7fc3;  // a NaN

// Into outputs with a guard behind them.
std::vector<float> Attend(Backend& backend, PrefillAttentionParams p, size_t size) {
  constexpr float kGuard = -77;
  std::vector<float> out(size + 16, kGuard);
  p.out = out.data();
  p.out_type = DType::kF32;
  backend.PrefillAttention(p);
  for (size_t i = size; i < out.size(); ++i) EXPECT_EQ(out[i], kGuard);
  out.resize(size);
  return out;
}

std::vector<float> Attend(Backend& backend, const PrefillCase& c) {
  return Attend(backend, c.Params(), c.q().size());
}

// The tokens [first, first + count) of the only sequence, as a chunk of their own.
std::vector<float> AttendPart(Backend& backend, const PrefillCase& c, int32_t first,
                              int32_t count) {
  PrefillAttentionParams p = c.Params();
  const int32_t cu[] = {0, count};
  const int32_t context_len = c.chunks()[0].cached + first + count;
  const size_t row = size_t(c.heads().heads) * c.heads().head_dim;
  p.q += first * row;
  p.cu_query_lens = cu;
  p.tables.context_lens = &context_len;
  p.max_query_len = count;
  p.max_context_len = context_len;
  return Attend(backend, p, count * row);
}

BackendLimits Limits(const PrefillCase& c) {
  return PrefillLimits(c.heads(), c.tokens() + 1, 1 << 15);
}

class PrefillAttentionTest : public CpuBackendFixture {
 protected:
  void ExpectEqualsReference(const PrefillCase& c, const std::string& name,
                             double float_tolerance = 1e-5) {
    ASSERT_TRUE(backend_->Reserve(Limits(c)));
    const auto out = Attend(*backend_, c);
    const auto want = reference::PrefillAttention(c.Params());
    // The AVX-512 form rounds weights to bf16: 2^-9 of values of order 1 to 4.
    const double tolerance = is_bf16() ? 0.008 : float_tolerance;
    for (size_t i = 0; i < out.size(); ++i) {
      ASSERT_NEAR(out[i], want[i], tolerance) << name << " at " << i;
    }
  }
};
TIDAL_INSTANTIATE_FOR_EVERY_ISA(PrefillAttentionTest);

TEST_P(PrefillAttentionTest, EqualsReferenceForEveryPrefillHeads) {
  for (const int32_t head_dim : {16, 32, 48, 64, 80, 112, 128, 256}) {
    for (const int32_t group : {1, 2, 3, 5, 8, 20}) {
      const PrefillHeads shape{2 * group, 2, head_dim, 16 << (head_dim / 16 + group) % 3};
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
    for (const PrefillChunk chunk :
         {PrefillChunk{0, 1}, {0, 90}, {300, 1}, {255, 3}, {700, 130}, {1000, 300}}) {
      const PrefillCase c({3, 1, 32, 16, window}, {chunk, {20, 30}}, window);
      ExpectEqualsReference(c, "window " + std::to_string(window) + ", " +
                                   std::to_string(chunk.tokens) + " after " +
                                   std::to_string(chunk.cached));
    }
  }
}

TEST_P(PrefillAttentionTest, WhatLiesBeforeTheWindowNeverTouchesARow) {
  constexpr int32_t kTokens = 400, kWindow = 70;
  const PrefillHeads shape{4, 2, 64, 16, kWindow};
  PrefillCase c(shape, {{0, kTokens}}, 6);
  ASSERT_TRUE(backend_->Reserve(Limits(c)));
  const auto clean = Attend(*backend_, c);
  const int32_t row = shape.heads * shape.head_dim;
  for (const int32_t bad : {0, 100, 255, 256, 329}) {
    PrefillCase spoilt(shape, {{0, kTokens}}, 6);
    for (int32_t head = 0; head < shape.kv_heads; ++head) {
      std::fill_n(spoilt.KRow(0, bad, head), shape.head_dim, bfloat16{kPoison});
      std::fill_n(spoilt.VRow(0, bad, head), shape.head_dim, bfloat16{kPoison});
    }
    const auto out = Attend(*backend_, spoilt);
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
  const std::vector<PrefillChunk> chunks = {{0, 5}, {300, 1}, {0, 64}, {17, 130}, {15, 0}, {0, 1}};
  const PrefillCase c({4, 2, 64, 32}, chunks, 3);
  ExpectEqualsReference(c, "several");
}

TEST_P(PrefillAttentionTest, ResultDoesNotDependOnTheChunks) {
  constexpr int32_t kTokens = 600;
  for (const PrefillHeads shape :
       {PrefillHeads{4, 2, 64, 16}, PrefillHeads{3, 1, 48, 32}, PrefillHeads{4, 2, 64, 16, 150}}) {
    const PrefillCase c(shape, {{10, kTokens}}, 4);
    ASSERT_TRUE(backend_->Reserve(Limits(c)));
    const auto whole = Attend(*backend_, c);
    for (const int32_t chunk : {1, 7, 64, 256, 599}) {
      std::vector<float> joined;
      for (int32_t first = 0; first < kTokens; first += chunk) {
        const auto part = AttendPart(*backend_, c, first, std::min(chunk, kTokens - first));
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
    ASSERT_TRUE(backend->Reserve(Limits(c)));
    results.push_back(Attend(*backend, c));
  }
  EXPECT_EQ(results[1], results[0]);
  EXPECT_EQ(results[2], results[0]);
}

TEST_P(PrefillAttentionTest, LaterTokensNeverTouchEarlierRows) {
  constexpr int32_t kTokens = 300;
  const PrefillHeads shape{4, 2, 64, 16};
  PrefillCase c(shape, {{0, kTokens}}, 6);
  ASSERT_TRUE(backend_->Reserve(Limits(c)));
  const auto clean = Attend(*backend_, c);
  const int32_t row = shape.heads * shape.head_dim;
  const bfloat16 nan = {kPoison}, infinity = ToBFloat16(std::numeric_limits<float>::infinity());
  for (const int32_t bad : {299, 258, 131, 130, 1}) {
    std::fill_n(c.KRow(0, bad, 0), shape.head_dim, nan);
    std::fill_n(c.VRow(0, bad, 0), shape.head_dim, nan);
    std::fill_n(c.VRow(0, bad, 1), shape.head_dim, infinity);
    const auto out = Attend(*backend_, c);
    for (int32_t i = 0; i < bad * row; ++i) ASSERT_EQ(out[i], clean[i]) << bad << " " << i;
    for (int32_t i = bad * row; i < kTokens * row; ++i) {
      ASSERT_FALSE(std::isfinite(out[i])) << bad << " " << i;
    }
  }
}

TEST_P(PrefillAttentionTest, LargeScoresDoNotOverflow) {
  PrefillCase c({2, 1, 32, 16}, {{0, 90}}, 7);
  for (int32_t t = 0; t < 90; ++t) {
    for (int32_t d = 0; d < 32; ++d)
      c.KRow(0, t, 0)[d] = ToBFloat16(ToFloat(c.KRow(0, t, 0)[d]) * 300);
  }
  ExpectEqualsReference(c, "large scores", 1e-3);  // a score of 1000 is exact to 6e-5
}

TEST_P(PrefillAttentionTest, Bf16OutputIsTheRoundedFloatOutput) {
  const PrefillCase c({4, 2, 80, 16}, {{3, 70}}, 8);
  ASSERT_TRUE(backend_->Reserve(Limits(c)));
  const auto floats = Attend(*backend_, c);
  std::vector<bfloat16> out(floats.size());
  PrefillAttentionParams p = c.Params();
  p.out = out.data();
  p.out_type = DType::kBF16;
  backend_->PrefillAttention(p);
  for (size_t i = 0; i < out.size(); ++i) ASSERT_EQ(out[i].bits, ToBFloat16(floats[i]).bits);
}

TEST_P(PrefillAttentionTest, NoSequencesWriteNothing) {
  const PrefillCase c({4, 2, 64, 16}, {}, 9);
  EXPECT_TRUE(Attend(*backend_, c).empty());
}

}  // namespace
}  // namespace tidal
