// Token selection from keys made by hand, against a full sort of the scores they stand for.
// tests/kernels/cuda/selecting_decode_test.cc tests it behind attention, which makes the keys.
#include "kernels/cuda/attention/select_tokens.h"

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/device_context.h"
#include "kernels/reference/attention_decode.h"
#include "tests/kernels/cuda/selection_case.h"
#include "tests/kernels/decode_case.h"

namespace tidal {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

class SelectTokensTest : public testing::Test {
 protected:
  void SetUp() override {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
      GTEST_SKIP() << "no CUDA device here";
    }
    int major = 0, minor = 0;
    ASSERT_EQ(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0), cudaSuccess);
    ASSERT_EQ(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0), cudaSuccess);
    context_.compute_capability = 10 * major + minor;
    ASSERT_EQ(cudaStreamCreate(&context_.stream), cudaSuccess);
  }
  void TearDown() override {
    if (context_.stream != nullptr) cudaStreamDestroy(context_.stream);
  }

  // Runs the case and compares every set with the reference. Returns all positions.
  std::vector<int32_t> ExpectEqualsReference(const SelectionCase& c);

  cuda::DeviceContext context_;
};

// As kernels/cuda/attention/score_pooling.cuh makes them: -infinity and NaN lowest, one zero.
uint32_t Key(float score) {
  if (std::isnan(score)) score = -kInfinity;
  const auto bits = std::bit_cast<uint32_t>(score + 0.0f);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}

std::vector<int32_t> SelectTokensTest::ExpectEqualsReference(const SelectionCase& c) {
  const auto rows = static_cast<int32_t>(c.rows.size());
  const int32_t b = c.block_size;
  std::vector<int32_t> lens, budgets, recency;
  int32_t max_len = 1;
  for (const Row& row : c.rows) {
    lens.push_back(row.context_len);
    budgets.push_back(row.budget);
    recency.push_back(row.recency);
    max_len = std::max(max_len, row.context_len);
  }
  SelectionBuffer sets(DecodeShape{c.sets, c.sets, 16, b}, lens, budgets,
                       SelectionGranularity::kKvHead);
  const int64_t head_stride = sets.view().set_stride;
  const int32_t stride = max_len / b + 1;
  const std::vector<int32_t> sequence_slots = RowSlots(rows);
  std::vector<int32_t> physical(rows * stride);
  std::iota(physical.begin(), physical.end(), 0);
  std::shuffle(physical.begin(), physical.end(), std::mt19937(rows));
  std::vector<int32_t> blocks(NumSlots(rows) * stride, -1);
  for (int32_t r = 0; r < rows; ++r) {
    std::copy_n(physical.begin() + r * stride, (lens[r] + b - 1) / b,
                blocks.begin() + sequence_slots[r] * stride);
  }

  std::vector<uint32_t> keys(c.sets * head_stride, ~0u);
  std::vector<std::vector<double>> scores(rows * c.sets);
  for (int32_t r = 0; r < rows; ++r) {
    if (budgets[r] == 0) continue;
    const cuda::SelectRange range = cuda::MakeSelectRange(lens[r], budgets[r], recency[r], c.sinks);
    for (int32_t set = 0; set < c.sets; ++set) {
      for (int32_t t = 0; t < lens[r]; ++t) {
        const float score = c.level(r, set, t, lens[r]);
        scores[r * c.sets + set].push_back(score);
        const bool competes = t >= range.head && t < range.end;
        keys[sets.view().SetBegin(r, set) + t] = competes ? Key(score) : 0;
      }
      // The rest of the last four tokens.
      std::fill_n(keys.begin() + sets.view().SetBegin(r, set) + lens[r], -lens[r] & 3, 0u);
    }
  }

  const DeviceVector<uint32_t> d_keys(keys);
  const DeviceVector<int32_t> splits_scored(std::vector<int32_t>(rows, 5));
  const DeviceVector<int32_t> d_blocks(blocks), d_slots(sequence_slots), d_lens(lens),
      d_budgets(budgets), d_recency(recency), d_row_begins(sets.row_begins());
  const DeviceVector<int32_t> positions(sets.positions()), slots(sets.slots()),
      counts(sets.counts());

  PagedDecodeParams params{};
  params.kv.num_kv_heads = c.sets;
  params.kv.block_size = b;
  params.tables = {d_blocks.get(), stride, d_slots.get(), d_lens.get()};
  params.rows = rows;
  params.num_heads = c.sets;
  params.max_context_len = max_len;
  SelectTokensParams select{};
  select.selection = {positions.get(),    slots.get(), counts.get(),
                      d_row_begins.get(), head_stride, SelectionGranularity::kKvHead};
  select.token_budgets = d_budgets.get();
  select.recency = d_recency.get();
  select.sinks = c.sinks;
  context_.num_sms = std::max(1, (rows * c.sets * c.cluster_size + 3) / 4);
  if (c.cluster_size == 1) context_.num_sms = std::max(1, rows * c.sets / 4);
  cuda::SelectionScores made{};
  made.keys = d_keys.get();
  made.head_stride = head_stride;
  made.row_begins = d_row_begins.get();
  made.splits_scored = splits_scored.get();
  cuda::SelectTokens(params, select, made, context_.stream, context_);
  EXPECT_EQ(cudaStreamSynchronize(context_.stream), cudaSuccess) << c.name;
  EXPECT_EQ(context_.error, "") << c.name;
  EXPECT_EQ(splits_scored.Read(), std::vector<int32_t>(rows, 0)) << c.name;

  sets.positions() = positions.Read();
  sets.slots() = slots.Read();
  sets.counts() = counts.Read();
  sets.ExpectPoisonElsewhere();
  for (int32_t r = 0; r < rows; ++r) {
    for (int32_t set = 0; set < c.sets; ++set) {
      const std::string what = c.name + ", blocks " + std::to_string(c.cluster_size) + ", row " +
                               std::to_string(r) + ", set " + std::to_string(set) + ": length " +
                               std::to_string(lens[r]) + ", budget " + std::to_string(budgets[r]);
      if (budgets[r] == 0 || lens[r] == 0) {
        EXPECT_EQ(sets.count(r, set), SelectionBuffer::kPoison) << what;
        continue;
      }
      const std::vector<int32_t> want =
          reference::SelectTokens(scores[r * c.sets + set], budgets[r], c.sinks, recency[r]);
      std::vector<int32_t> want_slots;
      for (int32_t t : want) {
        want_slots.push_back(blocks[sequence_slots[r] * stride + t / b] * b + t % b);
      }
      if (sets.count(r, set) != std::ssize(want)) {
        ADD_FAILURE() << what << ": " << sets.count(r, set) << " tokens";
        return sets.positions();
      }
      const std::vector<int32_t> got = sets.Positions(r, set);
      const auto differ = std::mismatch(got.begin(), got.end(), want.begin());
      if (differ.first != got.end()) {
        ADD_FAILURE() << what << ": entry " << differ.first - got.begin() << " is " << *differ.first
                      << ", not " << *differ.second;
        return sets.positions();
      }
      EXPECT_TRUE(sets.Slots(r, set) == want_slots) << what;
    }
  }
  return sets.positions();
}

uint32_t Hash(uint32_t a, uint32_t b, uint32_t c) {
  uint64_t x = a * 0x9e3779b97f4a7c15u + b * 0xbf58476d1ce4e5b9u + c * 0x94d049bb133111ebu;
  x = (x ^ (x >> 29)) * 0xbf58476d1ce4e5b9u;
  return static_cast<uint32_t>((x ^ (x >> 32)) >> 8);
}

float RandomInteger(int32_t row, int32_t set, int32_t t, int32_t /*length*/) {
  return -static_cast<float>(Hash(row, set, t) % 41);
}
float RandomFloat(int32_t row, int32_t set, int32_t t, int32_t /*length*/) {
  return static_cast<float>(Hash(row, set, t) % 2000003) / 1024.0f - 700.0f;
}

struct Pattern {
  const char* name;
  Level level;
};

const Pattern kPatterns[] = {
    {"integers", RandomInteger},
    {"floats", RandomFloat},
    {"equal", [](int32_t, int32_t, int32_t, int32_t) { return -3.0f; }},
    {"two values", [](int32_t row, int32_t set, int32_t t,
                      int32_t) { return Hash(row, set, t) % 100 == 0 ? 2.0f : -8.0f; }},
    {"ascending", [](int32_t, int32_t, int32_t t, int32_t) { return t * 0.25f; }},
    {"descending", [](int32_t, int32_t, int32_t t, int32_t) { return t * -0.25f; }},
    // Within one bin of the first histogram, and of the second.
    {"near", [](int32_t row, int32_t set, int32_t t,
                int32_t) { return std::bit_cast<float>(0x3f800000u + Hash(row, set, t) % 500); }},
    {"zeros of both signs",
     [](int32_t row, int32_t set, int32_t t, int32_t) {
       const uint32_t x = Hash(row, set, t) % 20;
       return x == 0 ? 1.0f : x == 1 ? -1.0f : x < 10 ? 0.0f : -0.0f;
     }},
    {"denormal numbers",
     [](int32_t row, int32_t set, int32_t t, int32_t) {
       return std::bit_cast<float>(Hash(row, set, t) % 3000 | Hash(row, set, t) << 31);
     }},
    {"infinities and NaN",
     [](int32_t row, int32_t set, int32_t t, int32_t) {
       const uint32_t x = Hash(row, set, t) % 10;
       return x == 0 ? kInfinity : x <= 2 ? -kInfinity : x <= 5 ? kNan : -static_cast<float>(x);
     }},
    {"nothing but NaN", [](int32_t, int32_t, int32_t, int32_t) { return kNan; }},
    {"nothing but -infinity", [](int32_t, int32_t, int32_t, int32_t) { return -kInfinity; }},
};

TEST_F(SelectTokensTest, LengthsAndBudgets) {
  SelectionCase c;
  for (int32_t length : {1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 100, 127, 1000, 2047, 2049}) {
    for (int32_t budget : {1, 2, 3, 16, 63, 64, 65, 700, length - 1, length, length + 1}) {
      if (budget < 1) continue;
      c.rows.push_back({length, budget, budget / 4});
    }
  }
  for (int32_t sets : {1, 2}) {
    for (int32_t cluster_size : {1, 2, 4, 8}) {
      c.name = "lengths";
      c.sets = sets;
      c.cluster_size = cluster_size;
      c.level = sets == 1 ? RandomFloat : RandomInteger;
      c.sinks = cluster_size / 2;  // 0 too
      ExpectEqualsReference(c);
    }
  }
}

TEST_F(SelectTokensTest, Distributions) {
  for (const Pattern& pattern : kPatterns) {
    for (int32_t cluster_size : {1, 8}) {
      SelectionCase c;
      c.name = pattern.name;
      c.level = pattern.level;
      c.sets = cluster_size == 1 ? 1 : 2;
      c.cluster_size = cluster_size;
      for (int32_t length : {300, 5003}) {
        for (int32_t budget : {1, 40, length / 2, length * 2 / 3, length - 2, length - 1}) {
          c.rows.push_back({length, budget, budget / 5});
        }
      }
      ExpectEqualsReference(c);
    }
  }
}

TEST_F(SelectTokensTest, ForcedMembersBeyondTheBudget) {
  SelectionCase c;
  c.name = "forced";
  c.level = RandomInteger;
  for (int32_t sinks : {0, 4, 100, 1 << 30}) {
    c.sinks = sinks;
    c.rows.clear();
    for (int32_t length : {1, 3, 50, 301}) {
      for (int32_t budget : {1, 2, 3, 5, 10, 20, 99, 300}) {
        for (int32_t recency : {0, 1, 8, 1000, std::numeric_limits<int32_t>::max()}) {
          c.rows.push_back({length, budget, recency});
        }
      }
    }
    ExpectEqualsReference(c);
  }
}

// Sparse rows first, then dense ones and padding, all of which stay untouched.
TEST_F(SelectTokensTest, MixedRows) {
  SelectionCase c;
  c.name = "mixed";
  c.level = RandomInteger;
  c.block_size = 64;
  c.rows = {{700, 64, 16}, {0, 64, 16}, {65, 64, 16}, {3000, 512, 0}, {5000, 0, 0}, {0, 0, 0}};
  for (int32_t sets : {1, 3}) {
    c.sets = sets;
    for (int32_t cluster_size : {1, 2, 4, 8}) {
      c.cluster_size = cluster_size;
      ExpectEqualsReference(c);
    }
  }
}

// Longer than what the blocks hold in shared memory.
TEST_F(SelectTokensTest, LongerThanTheCache) {
  for (const Pattern& pattern : {kPatterns[0], kPatterns[1], kPatterns[2]}) {
    SelectionCase c;
    c.name = std::string("long, ") + pattern.name;
    c.level = pattern.level;
    c.cluster_size = 1;
    c.rows = {{40001, 700, 100}, {16390, 16389, 0}, {20011, 5, 0}, {33333, 30000, 64}};
    ExpectEqualsReference(c);
  }
}

TEST_F(SelectTokensTest, AMillionTokens) {
  for (const Pattern& pattern : {kPatterns[1], kPatterns[2]}) {
    SelectionCase c;
    c.name = std::string("a million, ") + pattern.name;
    c.level = pattern.level;
    c.rows = {{(1 << 20) + 3, 4096, 1024}};
    ExpectEqualsReference(c);
  }
}

TEST_F(SelectTokensTest, TwiceTheSame) {
  SelectionCase c;
  c.name = "twice";
  c.level = RandomInteger;
  c.rows = {{9001, 700, 100}, {9002, 256, 64}, {100, 256, 64}};
  EXPECT_EQ(ExpectEqualsReference(c), ExpectEqualsReference(c));
}

}  // namespace
}  // namespace tidal
