#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/reference/layer_ops.h"
#include "tests/kernels/backend_fixture.h"
#include "tests/kernels/cpu_backend_fixture.h"
#include "tests/kernels/device_array.h"

namespace tidal {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kPoisonFloat = -7e20f;

class RowOpsTest : public BackendFixture {
 protected:
  template <typename T>
  DeviceArray<T> OnDevice(const std::vector<T>& host) {
    return DeviceArray<T>(*backend_, host);
  }

  // Runs `op(out, type)` for both output types; the bf16 result must be the rounded float one and
  // nothing may be written past `size`.
  template <typename Op>
  std::vector<float> RunBothTypes(size_t size, const Op& op) {
    const bfloat16 poison = ToBFloat16(kPoisonFloat);
    auto floats = OnDevice(std::vector<float>(size + 9, kPoisonFloat));
    auto halves = OnDevice(std::vector<bfloat16>(size + 9, poison));
    op(floats.get(), DType::kF32);
    op(halves.get(), DType::kBF16);
    std::vector<float> wide = floats.Read();
    const std::vector<bfloat16> narrow = halves.Read();
    for (size_t i = 0; i < size; ++i) {
      EXPECT_EQ(narrow[i].bits, ToBFloat16(wide[i]).bits) << i << " " << wide[i];
    }
    for (size_t i = size; i < size + 9; ++i) {
      EXPECT_EQ(wide[i], kPoisonFloat);
      EXPECT_EQ(narrow[i].bits, poison.bits);
    }
    wide.resize(size);
    return wide;
  }
};
TIDAL_INSTANTIATE_FOR_EVERY_BACKEND(RowOpsTest);

TEST_P(RowOpsTest, EmbeddingCopiesRows) {
  for (const int32_t hidden : {1, 37, 256, 4096, 5000}) {
    for (const int32_t tokens : {0, 1, 70}) {
      const auto table = RandomFloats(9 * hidden, hidden + tokens);
      std::vector<int32_t> ids;
      for (int32_t i = 0; i < tokens; ++i) ids.push_back(i * 5 % 9);
      auto out = OnDevice(std::vector<float>(tokens * hidden + 1, kPoisonFloat));
      auto device_table = OnDevice(AsBFloat16(table));
      auto device_ids = OnDevice(ids);
      backend_->Embedding({device_table.get(), device_ids.get(), out.get(), tokens, hidden});
      const std::vector<float> got = out.Read();
      for (int32_t i = 0; i < tokens * hidden; ++i) {
        ASSERT_EQ(got[i], table[ids[i / hidden] * hidden + i % hidden]);
      }
      EXPECT_EQ(got.back(), kPoisonFloat);
    }
  }
}

TEST_P(RowOpsTest, EmbeddingTakesLastTokensBySlot) {
  for (const int32_t hidden : {24, 37}) {
    const auto table = RandomFloats(9 * hidden, 1);
    const std::vector<int32_t> ids = {3, ~2, 0, ~0, ~2}, expected = {3, 5, 0, 8, 5};
    auto device_table = OnDevice(AsBFloat16(table));
    auto device_ids = OnDevice(ids);
    auto last_tokens = OnDevice(std::vector<int32_t>{8, -1000000, 5});
    auto out = OnDevice(std::vector<float>(ids.size() * hidden, kPoisonFloat));
    backend_->Embedding({.table = device_table.get(),
                         .token_ids = device_ids.get(),
                         .out = out.get(),
                         .tokens = static_cast<int32_t>(ids.size()),
                         .hidden = hidden,
                         .last_tokens = last_tokens.get()});
    const std::vector<float> got = out.Read();
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_EQ(got[i], table[expected[i / hidden] * hidden + i % hidden]);
    }
  }
}

// Fewer updates than there is room for, none, and all.
TEST_P(RowOpsTest, UpdateTablesWritesAsManyEntriesAsThereAre) {
  for (const int32_t max_count : {0, 1, 5, 3000}) {
    for (const int32_t count : {0, 1, max_count / 2, max_count}) {
      if (count > max_count) continue;
      std::vector<int32_t> expected(2 * max_count + 1, -9);
      std::vector<int32_t> updates(2 * max_count, std::numeric_limits<int32_t>::max());
      for (int32_t i = 0; i < count; ++i) {
        updates[2 * i] = 2 * (max_count - i);
        updates[2 * i + 1] = expected[updates[2 * i]] = 100 + i;
      }
      auto tables = OnDevice(std::vector<int32_t>(expected.size(), -9));
      auto device_updates = OnDevice(updates);
      auto device_count = OnDevice(std::vector<int32_t>{count});
      backend_->UpdateTables({.to = tables.get(),
                              .updates = device_updates.get(),
                              .count = device_count.get(),
                              .max_count = max_count});
      EXPECT_EQ(tables.Read(), expected) << count << " of " << max_count;
    }
  }
}

TEST_P(RowOpsTest, RmsNormEqualsReference) {
  // One to eight vectors a thread of the GPU's, and what has no vectors.
  for (const int32_t hidden : {1, 15, 16, 33, 256, 1000, 2052, 4096, 8188, 14336, 16384, 16388}) {
    for (const int32_t tokens : {1, 3, 40}) {
      const auto x = RandomFloats(tokens * hidden, hidden, 3);
      const auto weight = AsBFloat16(RandomFloats(hidden, tokens));
      auto device_x = OnDevice(x);
      auto device_weight = OnDevice(weight);
      const auto out = RunBothTypes(x.size(), [&](void* out, DType type) {
        backend_->RmsNorm({device_x.get(), device_weight.get(), out, type, tokens, hidden, 1e-5f});
      });
      for (int32_t t = 0; t < tokens; ++t) {
        const auto want = reference::RmsNorm(x.data() + t * hidden, weight.data(), hidden, 1e-5f);
        for (int32_t i = 0; i < hidden; ++i) {
          ASSERT_NEAR(out[t * hidden + i], want[i], 1e-5 * (1 + std::abs(want[i])))
              << hidden << " " << t << " " << i;
        }
      }
    }
  }
}

TEST_P(RowOpsTest, RmsNormOfZerosIsZero) {
  DeviceArray<float> x(*backend_, 64);
  auto weight = OnDevice(AsBFloat16(std::vector<float>(64, 1)));
  auto out = OnDevice(std::vector<float>(64, NAN));
  backend_->RmsNorm({x.get(), weight.get(), out.get(), DType::kF32, 1, 64, 1e-5f});
  EXPECT_EQ(out.Read(), std::vector<float>(64));
}

TEST_P(RowOpsTest, SwiGluEqualsReference) {
  for (const int32_t count : {1, 15, 17, 704, 4100}) {
    for (const int32_t tokens : {1, 2, 60}) {
      const auto gate_up = RandomFloats(2 * tokens * count, count, 5);
      auto device_gate_up = OnDevice(gate_up);
      const auto out = RunBothTypes(tokens * count, [&](void* out, DType type) {
        backend_->SwiGlu({device_gate_up.get(), out, type, tokens, count});
      });
      for (int32_t t = 0; t < tokens; ++t) {
        const float* gate = gate_up.data() + 2 * t * count;
        const auto want = reference::SwiGlu(gate, gate + count, count);
        for (int32_t i = 0; i < count; ++i) {
          ASSERT_NEAR(out[t * count + i], want[i], 2e-6 * (1 + std::abs(want[i])));
        }
      }
    }
  }
}

TEST_P(RowOpsTest, SwiGluOfExtremes) {
  auto gate_up =
      OnDevice<float>({0, 100, -100, 1e30f, -1e30f, kInf, NAN, 1, 1, 1, 1, 1, 1, 1, 1, 1, NAN, 0});
  auto device_out = OnDevice(std::vector<float>(9, kPoisonFloat));
  backend_->SwiGlu({gate_up.get(), device_out.get(), DType::kF32, 1, 9});
  const std::vector<float> out = device_out.Read();
  EXPECT_EQ(out[0], 0);
  EXPECT_NEAR(out[1], 100, 1e-4);
  EXPECT_NEAR(out[2], 0, 1e-30);
  EXPECT_NEAR(out[3], 1e30f, 1e24);
  EXPECT_NEAR(out[4], 0, 1e-6);
  EXPECT_EQ(out[5], kInf);
  EXPECT_TRUE(std::isnan(out[6]));
  EXPECT_TRUE(std::isnan(out[7]));
  EXPECT_EQ(out[8], 0);
}

TEST_P(RowOpsTest, GatherCopiesRows) {
  for (const int64_t bytes : {1, 6, 12, 512, 16384, 20484}) {
    const std::vector<int32_t> rows = {4, 0, 4, 2};
    std::vector<uint8_t> x(5 * bytes);
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<uint8_t>(i * 37 + i / 251);
    auto device_x = OnDevice(x);
    auto device_rows = OnDevice(rows);
    auto out = OnDevice(std::vector<uint8_t>(4 * bytes + 1, 0xee));
    backend_->GatherRows({device_x.get(), device_rows.get(), out.get(), 4, bytes});
    const std::vector<uint8_t> got = out.Read();
    for (int i = 0; i < 4; ++i) {
      EXPECT_EQ(std::memcmp(got.data() + i * bytes, x.data() + rows[i] * bytes, bytes), 0);
    }
    EXPECT_EQ(got.back(), 0xee);
    backend_->GatherRows({device_x.get(), nullptr, out.get(), 0, bytes});
  }
}

TEST_P(RowOpsTest, RandomNumbersAreNormalAndAFunctionOfSeedAndIndex) {
  constexpr size_t kCount = 1000003;
  const bfloat16 poison = ToBFloat16(kPoisonFloat);
  DeviceArray<bfloat16> array(*backend_, kCount + 8);
  const auto fill = [&](int64_t offset, int64_t count, uint64_t seed, float deviation) {
    array.Write(std::vector<bfloat16>(kCount + 8, poison));
    backend_->FillRandom(array.get() + offset, count, seed, deviation);
    std::vector<bfloat16> all = array.Read();
    for (size_t i = 0; i < all.size(); ++i) {
      if (i >= static_cast<size_t>(offset) && i < static_cast<size_t>(offset + count)) continue;
      EXPECT_EQ(all[i].bits, poison.bits) << i;
    }
    return std::vector<bfloat16>(all.begin() + offset, all.begin() + offset + count);
  };
  const auto whole = fill(0, kCount, 7, 0.5f);
  double sum = 0, squares = 0, neighbours = 0, beyond = 0;
  for (size_t i = 0; i < kCount; ++i) {
    const double x = ToFloat(whole[i]);
    ASSERT_TRUE(std::isfinite(x));
    sum += x;
    squares += x * x;
    beyond += std::abs(x) > 1;  // two deviations: 4.55 %
    if (i > 0) neighbours += x * ToFloat(whole[i - 1]);
  }
  EXPECT_NEAR(sum / kCount, 0, 5 * 0.5 / 1e3);
  EXPECT_NEAR(std::sqrt(squares / kCount), 0.5, 0.003);
  EXPECT_NEAR(neighbours / kCount, 0, 5 * 0.25 / 1e3);
  EXPECT_NEAR(beyond / kCount, 0.0455, 0.003);  // bf16 rounds at the edge
  // Neither the number of elements nor the alignment matters.
  for (const auto& [offset, count] : {std::pair{0, 12345}, {1, 777}, {3, 8}, {0, 1}, {5, 0}}) {
    const auto part = fill(offset, count, 7, 0.5f);
    for (int i = 0; i < count; ++i) ASSERT_EQ(part[i].bits, whole[i].bits) << offset << " " << i;
  }
  size_t equal = 0;
  const auto other = fill(0, kCount, 8, 0.5f);
  for (size_t i = 0; i < kCount; ++i) equal += other[i].bits == whole[i].bits;
  EXPECT_LT(equal, kCount / 50);
}

// H query heads, KV heads of D, tokens at odd positions and scattered slots.
struct RopeShape {
  int32_t heads, kv_heads, head_dim, block_size, tokens;
  bool norms = false;
};

class RopeTest : public RowOpsTest {
 protected:
  // Every fifth token from the third on has no slot.
  void Check(const RopeShape& s) {
    const int32_t blocks = s.tokens * 2 / s.block_size + 2, positions = 100;
    const int32_t slots = blocks * s.block_size;
    const int32_t row = (s.heads + 2 * s.kv_heads) * s.head_dim;
    const auto qkv = RandomFloats(s.tokens * row, s.head_dim + s.tokens);
    std::vector<float> cos_sin(positions * s.head_dim);
    for (int32_t i = 0; i < positions * s.head_dim; ++i) {
      const int32_t d = i % s.head_dim, half = s.head_dim / 2;
      const double angle = (i / s.head_dim) * std::pow(1e4, -2.0 * (d % half) / s.head_dim);
      cos_sin[i] = static_cast<float>(d < half ? std::cos(angle) : std::sin(angle));
    }
    std::vector<int32_t> position, slot;
    for (int32_t i = 0; i < s.tokens; ++i) {
      position.push_back(i * 31 % positions);
      slot.push_back(i % 5 == 2 ? -1 : (i * 2 + 5) % slots);
    }
    const auto q_norm = AsBFloat16(RandomFloats(s.head_dim, 6));
    const auto k_norm = AsBFloat16(RandomFloats(s.head_dim, 7));
    auto device_q_norm = OnDevice(q_norm), device_k_norm = OnDevice(k_norm);
    constexpr float kEpsilon = 1e-6f;
    const bfloat16 poison = {0x7fc1};
    const std::vector<bfloat16> cache(slots * s.kv_heads * s.head_dim, poison);
    auto device_k = OnDevice(cache), device_v = OnDevice(cache);
    auto device_q = OnDevice(std::vector<bfloat16>(s.tokens * s.heads * s.head_dim, poison));
    auto device_qkv = OnDevice(qkv), device_angles = OnDevice(cos_sin);
    auto device_position = OnDevice(position), device_slot = OnDevice(slot);
    backend_->RopeStoreKv(
        {.qkv = device_qkv.get(),
         .cos_sin = device_angles.get(),
         .positions = device_position.get(),
         .slot_mapping = device_slot.get(),
         .q = device_q.get(),
         .kv = {device_k.get(), device_v.get(), s.kv_heads, s.block_size, s.head_dim},
         .tokens = s.tokens,
         .num_heads = s.heads,
         .q_norm = s.norms ? device_q_norm.get() : nullptr,
         .k_norm = s.norms ? device_k_norm.get() : nullptr,
         .norm_epsilon = kEpsilon});
    const auto rotated = [&](const float* head, const std::vector<bfloat16>& norm,
                             const float* angles) {
      if (!s.norms) return reference::Rotate(head, angles, s.head_dim);
      const auto normed = reference::RmsNorm(head, norm.data(), s.head_dim, kEpsilon);
      const std::vector<float> floats(normed.begin(), normed.end());
      return reference::Rotate(floats.data(), angles, s.head_dim);
    };
    const auto q = device_q.Read(), k = device_k.Read(), v = device_v.Read();
    size_t written = 0;
    // Half a unit in the last place of bf16, and what float loses before that.
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
      if (slot[i] < 0) continue;
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
TIDAL_INSTANTIATE_FOR_EVERY_BACKEND(RopeTest);

TEST_P(RopeTest, EqualsReferenceAndWritesItsSlotsOnly) {
  for (const int32_t head_dim : {16, 48, 64, 112, 128, 256}) {
    for (const int32_t tokens : {1, 17, 90}) Check({4, 2, head_dim, 16, tokens});
  }
  Check({7, 1, 64, 32, 33});
  Check({1, 1, 32, 64, 5});
  Check({32, 8, 128, 16, 9});
}

TEST_P(RopeTest, NormalisesTheHeadsOfQAndK) {
  for (const int32_t head_dim : {16, 48, 64, 112, 128, 256}) {
    for (const int32_t tokens : {1, 17}) Check({4, 2, head_dim, 16, tokens, true});
  }
  Check({7, 1, 64, 32, 33, true});
  Check({32, 8, 128, 16, 9, true});
}

}  // namespace
}  // namespace tidal
