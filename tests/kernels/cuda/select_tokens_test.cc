// Token selection from scores made by hand, against a full sort. The scores order exactly, so the
// sets must be equal. tests/kernels/cuda/selecting_decode_test.cc tests it behind attention.
#include "kernels/cuda/attention/select_tokens.h"

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/device_context.h"
#include "kernels/reference/attention_decode.h"
#include "tests/kernels/cuda/selection_case.h"

namespace tidal {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr int32_t kPoison = -7;

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

std::vector<int32_t> SelectTokensTest::ExpectEqualsReference(const SelectionCase& c) {
  const auto rows = static_cast<int32_t>(c.rows.size());
  const int32_t b = c.block_size;
  std::vector<int32_t> lens, budgets, recency;
  std::vector<int64_t> offsets;
  int64_t head_stride = 0;
  int32_t capacity = 1, max_len = 1;
  for (const Row& row : c.rows) {
    lens.push_back(row.context_len);
    budgets.push_back(row.budget);
    recency.push_back(row.recency);
    offsets.push_back(head_stride);
    if (row.budget > 0) head_stride += (row.context_len + 15) / 16 * 16;
    capacity = std::max(capacity, row.budget);
    max_len = std::max(max_len, row.context_len);
  }
  head_stride += 16;
  const int32_t stride = max_len / b + 1;
  std::vector<int32_t> physical(rows * stride), blocks(rows * stride, -1);
  std::iota(physical.begin(), physical.end(), 0);
  std::shuffle(physical.begin(), physical.end(), std::mt19937(rows));
  for (int32_t r = 0; r < rows; ++r) {
    const int32_t used = (lens[r] + b - 1) / b;
    std::copy_n(physical.begin() + r * stride, used, blocks.begin() + r * stride);
  }

  std::vector<__half> logits(c.num_heads * head_stride, __float2half(kNan));
  std::vector<float> log_sum_exp(rows * c.num_heads, kNan);
  std::vector<std::vector<double>> scores(rows * c.sets());
  for (int32_t r = 0; r < rows; ++r) {
    if (budgets[r] == 0) continue;
    for (int32_t set = 0; set < c.sets(); ++set) {
      for (int32_t t = 0; t < lens[r]; ++t) {
        const float level = c.level(r, set, t, lens[r]);
        scores[r * c.sets() + set].push_back(c.Pooled(set, level, t));
        for (int32_t h = set * c.heads(); h < (set + 1) * c.heads(); ++h) {
          logits[h * head_stride + offsets[r] + t] = __float2half(c.Logit(h, level, t));
        }
      }
    }
    for (int32_t h = 0; h < c.num_heads; ++h) {
      log_sum_exp[r * c.num_heads + h] = c.LogSumExp(h);
    }
  }

  const DeviceVector<__half> d_logits(logits);
  const DeviceVector<float> d_log_sum_exp(log_sum_exp);
  const DeviceVector<uint32_t> d_keys(std::vector<uint32_t>(c.sets() * head_stride));
  const DeviceVector<int64_t> d_offsets(offsets);
  const DeviceVector<int32_t> d_blocks(blocks), d_lens(lens), d_budgets(budgets),
      d_recency(recency);
  const std::vector<int32_t> poison(int64_t{rows} * c.sets() * capacity, kPoison);
  const DeviceVector<int32_t> positions(poison), slots(poison),
      counts(std::vector<int32_t>(rows * c.sets(), kPoison));

  PagedDecodeParams params{};
  params.kv.num_kv_heads = c.num_kv_heads;
  params.kv.block_size = b;
  params.tables = {d_blocks.get(), stride, d_lens.get()};
  params.rows = rows;
  params.num_heads = c.num_heads;
  params.max_context_len = max_len + c.extra_max_context_len;
  SelectTokensParams select{};
  select.selection = {positions.get(), slots.get(), counts.get(), capacity, c.granularity};
  select.token_budgets = d_budgets.get();
  select.recency = d_recency.get();
  select.sinks = c.sinks;
  select.score = c.score;
  context_.num_sms = std::max(1, (rows * c.sets() * c.cluster_size + 3) / 4);
  if (c.cluster_size == 1) context_.num_sms = std::max(1, rows * c.sets() / 4);
  cuda::SelectTokens(params, select,
                     {d_logits.get(), head_stride, d_log_sum_exp.get(), d_offsets.get(),
                      d_keys.get()},
                     context_.stream, context_);
  EXPECT_EQ(cudaStreamSynchronize(context_.stream), cudaSuccess) << c.name;
  EXPECT_EQ(context_.error, "") << c.name;

  const std::vector<int32_t> got_positions = positions.Read(), got_slots = slots.Read(),
                             got_counts = counts.Read();
  for (int32_t r = 0; r < rows; ++r) {
    for (int32_t set = 0; set < c.sets(); ++set) {
      const int32_t at = r * c.sets() + set;
      std::vector<int32_t> want;
      int32_t want_count = kPoison;
      if (budgets[r] > 0 && lens[r] > 0) {
        want = reference::SelectTokens(scores[at], budgets[r], c.sinks, recency[r]);
        want_count = static_cast<int32_t>(want.size());
      }
      std::vector<int32_t> want_slots;
      for (int32_t t : want) want_slots.push_back(blocks[r * stride + t / b] * b + t % b);
      want.resize(capacity, kPoison);  // nothing is written past the set
      want_slots.resize(capacity, kPoison);
      const int64_t first = int64_t{at} * capacity;
      const std::vector<int32_t> got(&got_positions[first], &got_positions[first] + capacity);
      const std::vector<int32_t> got_slot(&got_slots[first], &got_slots[first] + capacity);
      const std::string what = c.name + ", blocks " + std::to_string(c.cluster_size) + ", row " +
                               std::to_string(r) + ", set " + std::to_string(set) + ": length " +
                               std::to_string(lens[r]) + ", budget " + std::to_string(budgets[r]);
      EXPECT_EQ(got_counts[at], want_count) << what;
      const auto differ = std::mismatch(got.begin(), got.end(), want.begin());
      if (differ.first != got.end()) {
        ADD_FAILURE() << what << ": entry " << differ.first - got.begin() << " is " << *differ.first
                      << ", not " << *differ.second;
        return got_positions;
      }
      EXPECT_TRUE(got_slot == want_slots) << what;
    }
  }
  return got_positions;
}

uint32_t Hash(uint32_t a, uint32_t b, uint32_t c) {
  uint64_t x = a * 0x9e3779b97f4a7c15u + b * 0xbf58476d1ce4e5b9u + c * 0x94d049bb133111ebu;
  x = (x ^ (x >> 29)) * 0xbf58476d1ce4e5b9u;
  return static_cast<uint32_t>((x ^ (x >> 32)) >> 8);
}

float RandomInteger(int32_t row, int32_t set, int32_t t, int32_t /*length*/) {
  return -static_cast<float>(Hash(row, set, t) % 41);
}
// Any floats: for max_logit, whose arithmetic rounds nothing.
float RandomFloat(int32_t row, int32_t set, int32_t t, int32_t /*length*/) {
  return static_cast<float>(Hash(row, set, t) % 2000003) / 1024.0f - 700.0f;
}

struct Pattern {
  const char* name;
  Level level;
  bool exact_in_softmax;  // its scores order exactly there, too
};

const Pattern kPatterns[] = {
    {"integers", RandomInteger, true},
    {"floats", RandomFloat, false},
    {"equal", [](int32_t, int32_t, int32_t, int32_t) { return -3.0f; }, true},
    {"two values",
     [](int32_t row, int32_t set, int32_t t, int32_t) {
       return Hash(row, set, t) % 100 == 0 ? 2.0f : -8.0f;
     },
     true},
    {"ascending", [](int32_t, int32_t, int32_t t, int32_t) { return t * 0.25f; }, false},
    {"descending", [](int32_t, int32_t, int32_t t, int32_t) { return t * -0.25f; }, false},
    {"ascending integers",
     [](int32_t, int32_t, int32_t t, int32_t n) { return std::floor(t * 100.0f / n) - 110.0f; },
     true},
    // Within one bin of the first histogram.
    {"near",
     [](int32_t row, int32_t set, int32_t t, int32_t) {
       return 1.0f + static_cast<float>(Hash(row, set, t) % 256) / 1024.0f;
     },
     false},
    {"zeros of both signs",
     [](int32_t row, int32_t set, int32_t t, int32_t) {
       const uint32_t x = Hash(row, set, t) % 20;
       return x == 0 ? 1.0f : x == 1 ? -1.0f : x < 10 ? 0.0f : -0.0f;
     },
     true},
    // Probabilities of 2^-149 .. 2^-120, and zero, but not 2^-150, which may round either way.
    // max_logit: the same numbers as logits.
    {"denormal probabilities",
     [](int32_t row, int32_t set, int32_t t, int32_t) {
       const uint32_t x = 120 + Hash(row, set, t) % 60;
       return -static_cast<float>(x == 150 ? 151 : x);
     },
     true},
    {"denormal logits",
     [](int32_t row, int32_t set, int32_t t, int32_t) {
       const uint32_t x = Hash(row, set, t);
       return std::ldexp(static_cast<float>(x % 1000), -24) * (x >> 20 & 1 ? -1.0f : 1.0f);
     },
     false},
    {"infinities and NaN",
     [](int32_t row, int32_t set, int32_t t, int32_t) {
       const uint32_t x = Hash(row, set, t) % 10;
       return x == 0 ? kInfinity : x <= 2 ? -kInfinity : x <= 5 ? kNan : -static_cast<float>(x);
     },
     true},
    {"nothing but NaN", [](int32_t, int32_t, int32_t, int32_t) { return kNan; }, true},
    {"nothing but -infinity", [](int32_t, int32_t, int32_t, int32_t) { return -kInfinity; }, true},
};

constexpr SelectionGranularity kGranularities[] = {SelectionGranularity::kShared,
                                                   SelectionGranularity::kKvHead};
constexpr SelectionScore kScores[] = {SelectionScore::kSoftmaxSum, SelectionScore::kMaxLogit};

TEST_F(SelectTokensTest, LengthsAndBudgets) {
  SelectionCase c;
  for (int32_t length : {1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 100, 127, 1000, 2047, 2049}) {
    for (int32_t budget : {1, 2, 3, 16, 63, 64, 65, 700, length - 1, length, length + 1}) {
      if (budget < 1) continue;
      c.rows.push_back({length, budget, budget / 4});
    }
  }
  for (auto granularity : kGranularities) {
    for (auto score : kScores) {
      for (int32_t cluster_size : {1, 2, 4, 8}) {
        c.name = "lengths";
        c.granularity = granularity;
        c.score = score;
        c.cluster_size = cluster_size;
        c.level = score == SelectionScore::kMaxLogit ? RandomFloat : RandomInteger;
        c.sinks = cluster_size / 2;  // 0 too
        ExpectEqualsReference(c);
      }
    }
  }
}

TEST_F(SelectTokensTest, Distributions) {
  for (const Pattern& pattern : kPatterns) {
    for (auto score : kScores) {
      if (score == SelectionScore::kSoftmaxSum && !pattern.exact_in_softmax) continue;
      for (int32_t cluster_size : {1, 8}) {
        SelectionCase c;
        c.name = pattern.name;
        c.level = pattern.level;
        c.score = score;
        c.granularity = kGranularities[cluster_size / 8];
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
  for (auto granularity : kGranularities) {
    c.granularity = granularity;
    for (int32_t cluster_size : {1, 2, 4, 8}) {
      c.cluster_size = cluster_size;
      ExpectEqualsReference(c);
    }
  }
}

// Every number of heads has its own mix of batches of loads.
TEST_F(SelectTokensTest, NumbersOfHeads) {
  for (int32_t heads : {1, 3, 4, 7, 8, 12, 15, 16, 32}) {
    for (auto score : kScores) {
      SelectionCase c;
      c.name = std::to_string(heads) + " heads";
      c.num_heads = heads;
      c.num_kv_heads = 1;
      c.score = score;
      c.level = RandomInteger;
      c.rows = {{1030, 100, 5}, {1029, 100, 0}, {1031, 30, 0}, {17, 16, 0}};
      ExpectEqualsReference(c);
    }
  }
}

// Long enough for pooling by the whole device, beside short rows and sets that need no scores.
TEST_F(SelectTokensTest, PooledBeforehand) {
  for (auto score : kScores) {
    for (int32_t cluster_size : {1, 8}) {
      SelectionCase c;
      c.name = "pooled beforehand";
      c.num_heads = 32;
      c.num_kv_heads = 1;
      c.score = score;
      c.level = RandomInteger;
      c.cluster_size = cluster_size;
      c.rows = {{20011, 512, 128}, {300, 64, 16},   {20013, 20011, 0},
                {20014, 30000, 0}, {20015, 64, 63}, {17001, 1000, 4}};
      ExpectEqualsReference(c);
      // The kernel runs, and finds no row that is long enough.
      c.rows = {{300, 64, 16}, {500, 64, 16}, {0, 64, 0}, {900, 0, 0}};
      c.extra_max_context_len = 1 << 20;
      ExpectEqualsReference(c);
    }
  }
}

// More rows than a warp looks at, with sets of their own.
TEST_F(SelectTokensTest, PooledBeforehandManyRows) {
  SelectionCase c;
  c.name = "many rows";
  c.num_heads = 8;
  c.num_kv_heads = 2;
  c.granularity = SelectionGranularity::kKvHead;
  c.score = SelectionScore::kMaxLogit;
  c.level = RandomFloat;
  c.cluster_size = 1;
  for (int32_t r = 0; r < 70; ++r) c.rows.push_back({r % 3 == 0 ? 16500 + r : 200 + r, 90, 20});
  ExpectEqualsReference(c);
}

// Longer than what the blocks hold in shared memory: one head is pooled while selecting, four are
// pooled beforehand.
TEST_F(SelectTokensTest, LongerThanTheCache) {
  for (int32_t heads : {1, 4}) {
    for (const Pattern& pattern : {kPatterns[0], kPatterns[1], kPatterns[2]}) {
      SelectionCase c;
      c.name = std::string("long, ") + pattern.name;
      c.num_heads = heads;
      c.num_kv_heads = 1;
      c.score = SelectionScore::kMaxLogit;
      c.level = pattern.level;
      c.cluster_size = 1;
      c.rows = {{40001, 700, 100}, {16390, 16389, 0}, {20011, 5, 0}, {33333, 30000, 64}};
      ExpectEqualsReference(c);
    }
  }
}

TEST_F(SelectTokensTest, AMillionTokens) {
  for (const Pattern& pattern : {kPatterns[1], kPatterns[2]}) {
    SelectionCase c;
    c.name = std::string("a million, ") + pattern.name;
    c.num_heads = c.num_kv_heads = 1;
    c.score = SelectionScore::kMaxLogit;
    c.level = pattern.level;
    c.rows = {{(1 << 20) + 3, 4096, 1024}};
    ExpectEqualsReference(c);
  }
}

TEST_F(SelectTokensTest, TwiceTheSame) {
  SelectionCase c;
  c.name = "twice";
  c.num_heads = 8;
  c.score = SelectionScore::kSoftmaxSum;
  c.level = RandomInteger;
  c.rows = {{9001, 700, 100}, {9002, 256, 64}, {100, 256, 64}};
  EXPECT_EQ(ExpectEqualsReference(c), ExpectEqualsReference(c));
}

}  // namespace
}  // namespace tidal
