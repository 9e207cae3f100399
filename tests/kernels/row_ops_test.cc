#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/reference/layer_ops.h"
#include "tests/kernels/cpu_backend_fixture.h"

namespace tidal {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

class RowOpsTest : public CpuBackendFixture {
 protected:
  // Runs `op(out, type)` for both output types; the bf16 result must be the rounded float one.
  template <typename Op>
  std::vector<float> RunBothTypes(size_t size, const Op& op) {
    std::vector<float> floats(size);
    std::vector<bfloat16> halves(size);
    op(floats.data(), DType::kF32);
    op(halves.data(), DType::kBF16);
    for (size_t i = 0; i < size; ++i) {
      EXPECT_EQ(halves[i].bits, ToBFloat16(floats[i]).bits) << i << " " << floats[i];
    }
    return floats;
  }
};
TIDAL_INSTANTIATE_FOR_EVERY_ISA(RowOpsTest);

TEST_P(RowOpsTest, EmbeddingCopiesRows) {
  for (const int32_t hidden : {1, 37, 256}) {
    for (const int32_t tokens : {0, 1, 500}) {
      const auto table = RandomFloats(9 * hidden, 1);
      std::vector<int32_t> ids;
      for (int32_t i = 0; i < tokens; ++i) ids.push_back(i * 5 % 9);
      std::vector<float> out(tokens * hidden + 1, -7);
      const auto table_bf16 = AsBFloat16(table);
      backend_->Embedding({table_bf16.data(), ids.data(), out.data(), tokens, hidden});
      for (int32_t i = 0; i < tokens * hidden; ++i) {
        ASSERT_EQ(out[i], table[ids[i / hidden] * hidden + i % hidden]);
      }
      EXPECT_EQ(out.back(), -7);
    }
  }
}

TEST_P(RowOpsTest, EmbeddingTakesSampledTokensByTheirPlace) {
  const int32_t hidden = 24;
  const auto table = RandomFloats(9 * hidden, 1);
  const auto table_bf16 = AsBFloat16(table);
  const std::vector<int32_t> ids = {3, ~2, 0, ~0, ~2}, sampled = {8, 1, 5};
  const std::vector<int32_t> expected = {3, 5, 0, 8, 5};
  std::vector<float> out(ids.size() * hidden);
  backend_->Embedding({.table = table_bf16.data(),
                       .token_ids = ids.data(),
                       .out = out.data(),
                       .tokens = static_cast<int32_t>(ids.size()),
                       .hidden = hidden,
                       .sampled = sampled.data()});
  for (size_t i = 0; i < out.size(); ++i) {
    ASSERT_EQ(out[i], table[expected[i / hidden] * hidden + i % hidden]);
  }
}

TEST_P(RowOpsTest, RmsNormEqualsReference) {
  for (const int32_t hidden : {1, 15, 16, 33, 256, 1000}) {
    for (const int32_t tokens : {1, 3, 300}) {
      const auto x = RandomFloats(tokens * hidden, hidden, 3);
      const auto weight = AsBFloat16(RandomFloats(hidden, 2));
      const auto out = RunBothTypes(x.size(), [&](void* out, DType type) {
        backend_->RmsNorm({x.data(), nullptr, weight.data(), out, type, tokens, hidden, 1e-5f});
      });
      for (int32_t t = 0; t < tokens; ++t) {
        const auto want = reference::RmsNorm(x.data() + t * hidden, weight.data(), hidden, 1e-5f);
        for (int32_t i = 0; i < hidden; ++i) {
          ASSERT_NEAR(out[t * hidden + i], want[i], 1e-5 * (1 + std::abs(want[i])));
        }
      }
    }
  }
}

TEST_P(RowOpsTest, RmsNormOfChosenRows) {
  const int32_t hidden = 48;
  auto x = RandomFloats(10 * hidden, 3);
  std::fill_n(x.begin() + 4 * hidden, hidden, NAN);  // not chosen
  const auto weight = AsBFloat16(RandomFloats(hidden, 4));
  const std::vector<int32_t> rows = {9, 0, 9};
  std::vector<float> out(3 * hidden), all(10 * hidden);
  backend_->RmsNorm(
      {x.data(), rows.data(), weight.data(), out.data(), DType::kF32, 3, hidden, 1e-6f});
  backend_->RmsNorm({x.data(), nullptr, weight.data(), all.data(), DType::kF32, 10, hidden, 1e-6f});
  for (int32_t i = 0; i < 3 * hidden; ++i) {
    ASSERT_EQ(out[i], all[rows[i / hidden] * hidden + i % hidden]);
  }
}

TEST_P(RowOpsTest, RmsNormOfZerosIsZero) {
  const std::vector<float> x(64);
  const auto weight = AsBFloat16(std::vector<float>(64, 1));
  std::vector<float> out(64, NAN);
  backend_->RmsNorm({x.data(), nullptr, weight.data(), out.data(), DType::kF32, 1, 64, 1e-5f});
  EXPECT_EQ(out, x);
}

TEST_P(RowOpsTest, SwiGluEqualsReference) {
  for (const int32_t count : {1, 15, 17, 704}) {
    for (const int32_t tokens : {1, 2, 200}) {
      const auto gate_up = RandomFloats(2 * tokens * count, count, 5);
      const auto out = RunBothTypes(tokens * count, [&](void* out, DType type) {
        backend_->SwiGlu({gate_up.data(), out, type, tokens, count});
      });
      for (int32_t t = 0; t < tokens; ++t) {
        const float* gate = gate_up.data() + 2 * t * count;
        const auto want = reference::SwiGlu(gate, gate + count, count);
        for (int32_t i = 0; i < count; ++i) {
          ASSERT_NEAR(out[t * count + i], want[i], 1e-6 * (1 + std::abs(want[i])));
        }
      }
    }
  }
}

TEST_P(RowOpsTest, SwiGluOfExtremes) {
  const std::vector<float> gate_up = {0, 100, -100, 1e30f, -1e30f, kInf, NAN, 1,   1,
                                      1, 1,   1,    1,     1,      1,    1,   NAN, 0};
  std::vector<float> out(9);
  backend_->SwiGlu({gate_up.data(), out.data(), DType::kF32, 1, 9});
  EXPECT_EQ(out[0], 0);
  EXPECT_EQ(out[1], 100);
  EXPECT_NEAR(out[2], 0, 1e-30);
  EXPECT_EQ(out[3], 1e30f);
  EXPECT_NEAR(out[4], 0, 1e-6);
  EXPECT_EQ(out[5], kInf);
  EXPECT_TRUE(std::isnan(out[6]));
  EXPECT_TRUE(std::isnan(out[7]));
  EXPECT_EQ(out[8], 0);
}

TEST_P(RowOpsTest, GatherCopiesRows) {
  for (const int64_t bytes : {1, 6, 512}) {
    const std::vector<int32_t> rows = {4, 0, 4, 2};
    std::vector<uint8_t> x(5 * bytes), out(4 * bytes + 1, 0xee);
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<uint8_t>(i * 37);
    backend_->GatherRows({x.data(), rows.data(), out.data(), 4, bytes});
    for (int i = 0; i < 4; ++i) {
      EXPECT_EQ(std::memcmp(out.data() + i * bytes, x.data() + rows[i] * bytes, bytes), 0);
    }
    EXPECT_EQ(out.back(), 0xee);
    backend_->GatherRows({x.data(), nullptr, out.data(), 0, bytes});
  }
}

// H query heads, KV heads of D, tokens at odd positions and scattered slots.
struct RopeShape {
  int32_t heads, kv_heads, head_dim, block_size, tokens;
  bool norms = false;
};

class RopeTest : public RowOpsTest {
 protected:
  void Check(const RopeShape& s) {
    const int32_t blocks = s.tokens * 2 / s.block_size + 2, positions = 100;
    const int32_t slots = blocks * s.block_size;
    const int32_t row = (s.heads + 2 * s.kv_heads) * s.head_dim;
    const auto qkv = RandomFloats(s.tokens * row, 5);
    std::vector<float> cos_sin(positions * s.head_dim);
    for (int32_t i = 0; i < positions * s.head_dim; ++i) {
      const int32_t d = i % s.head_dim, half = s.head_dim / 2;
      const double angle = (i / s.head_dim) * std::pow(1e4, -2.0 * (d % half) / s.head_dim);
      cos_sin[i] = static_cast<float>(d < half ? std::cos(angle) : std::sin(angle));
    }
    std::vector<int32_t> position, slot;
    for (int32_t i = 0; i < s.tokens; ++i) {
      position.push_back(i * 31 % positions);
      slot.push_back((i * 2 + 5) % slots);
    }
    const auto q_norm = AsBFloat16(RandomFloats(s.head_dim, 6));
    const auto k_norm = AsBFloat16(RandomFloats(s.head_dim, 7));
    constexpr float kEpsilon = 1e-6f;
    const bfloat16 poison = {0x7fc1};
    std::vector<bfloat16> k(slots * s.kv_heads * s.head_dim, poison), v = k;
    std::vector<bfloat16> q(s.tokens * s.heads * s.head_dim, poison);
    backend_->RopeStoreKv({.qkv = qkv.data(),
                           .cos_sin = cos_sin.data(),
                           .positions = position.data(),
                           .slot_mapping = slot.data(),
                           .q = q.data(),
                           .kv = {k.data(), v.data(), s.kv_heads, s.block_size, s.head_dim},
                           .tokens = s.tokens,
                           .num_heads = s.heads,
                           .q_norm = s.norms ? q_norm.data() : nullptr,
                           .k_norm = s.norms ? k_norm.data() : nullptr,
                           .norm_epsilon = kEpsilon});
    size_t written = 0;
    const auto rotated = [&](const float* head, const std::vector<bfloat16>& norm,
                             const float* angles) {
      if (!s.norms) return reference::Rotate(head, angles, s.head_dim);
      const auto normed = reference::RmsNorm(head, norm.data(), s.head_dim, kEpsilon);
      const std::vector<float> floats(normed.begin(), normed.end());
      return reference::Rotate(floats.data(), angles, s.head_dim);
    };
    const auto expect = [&](const bfloat16* got, const std::vector<double>& want) {
      for (int32_t d = 0; d < s.head_dim; ++d) {
        ASSERT_NEAR(ToFloat(got[d]), want[d], std::abs(want[d]) / 256 + 1e-6);
      }
    };
    for (int32_t i = 0; i < s.tokens; ++i) {
      const float* angles = cos_sin.data() + position[i] * s.head_dim;
      const float* head = qkv.data() + i * row;
      for (int32_t h = 0; h < s.heads; ++h, head += s.head_dim) {
        expect(&q[(i * s.heads + h) * s.head_dim], rotated(head, q_norm, angles));
      }
      for (int32_t h = 0; h < 2 * s.kv_heads; ++h, head += s.head_dim) {
        const int32_t at = ((slot[i] / s.block_size * s.kv_heads + h % s.kv_heads) * s.block_size +
                            slot[i] % s.block_size) *
                           s.head_dim;
        if (h < s.kv_heads) {
          expect(&k[at], rotated(head, k_norm, angles));
        } else {
          for (int32_t d = 0; d < s.head_dim; ++d) ASSERT_EQ(ToFloat(v[at + d]), head[d]);
        }
        written += s.head_dim;
      }
    }
    size_t untouched = 0;
    for (bfloat16 x : k) untouched += x.bits == poison.bits;
    for (bfloat16 x : v) untouched += x.bits == poison.bits;
    EXPECT_EQ(untouched + written, k.size() + v.size());
  }
};
TIDAL_INSTANTIATE_FOR_EVERY_ISA(RopeTest);

TEST_P(RopeTest, EqualsReferenceAndWritesItsSlotsOnly) {
  for (const int32_t head_dim : {16, 48, 64, 112, 128, 256}) {
    for (const int32_t tokens : {1, 17, 90}) Check({4, 2, head_dim, 16, tokens});
  }
  Check({7, 1, 64, 32, 33});
  Check({1, 1, 32, 64, 5});
}

TEST_P(RopeTest, NormalisesTheHeadsOfQAndK) {
  for (const int32_t head_dim : {16, 48, 64, 112, 128, 256}) {
    for (const int32_t tokens : {1, 17}) Check({4, 2, head_dim, 16, tokens, true});
  }
  Check({7, 1, 64, 32, 33, true});
}

}  // namespace
}  // namespace tidal
