// ReduceScores on keys made by hand, to the bit. The ranks are threads.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/ranks/rank_channels.h"
#include "kernels/cuda/ranks/rank_ops.h"
#include "tests/kernels/cuda/device_ranks.h"

namespace tidal {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Keys made by hand, exchanged among consecutive ranks.
struct ScoreCase {
  int size, span;  // ranks, and those that exchange
  bool sums;
};

class CudaReduceScoresTest : public testing::TestWithParam<ScoreCase> {};

uint32_t Key(float score) {
  if (std::isnan(score)) score = -kInfinity;
  const auto bits = std::bit_cast<uint32_t>(score + 0.0f);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}

float ScoreOfKey(uint32_t key) {
  return std::bit_cast<float>(key >> 31 ? key & 0x7fffffffu : ~key);
}

TEST_P(CudaReduceScoresTest, KeysAreThoseOfAllHeads) {
  if (!HasDevice()) GTEST_SKIP() << "no CUDA device here";
  const ScoreCase& c = GetParam();
  struct Row {
    int32_t context, budget;
  };
  // Dense rows, rows that take all, and a row of padding among others.
  const std::vector<Row> rows = {{5000, 100}, {70, 20}, {300, 300}, {0, 0}, {257, 31}, {900, 3}};
  std::vector<int32_t> lens, budgets, recency, begins;
  int64_t stride = 0;
  for (const Row& row : rows) {
    lens.push_back(row.context);
    budgets.push_back(row.budget);
    recency.push_back(row.budget / 10);
    begins.push_back(static_cast<int32_t>(stride));
    stride += (row.context + kScoreAlignment - 1) / kScoreAlignment * kScoreAlignment;
  }
  constexpr int32_t kSinks = 4;
  const auto keys_of = [&](int rank, int round) {
    std::minstd_rand random(rank * 100 + round + 1);
    std::vector<uint32_t> keys(stride, 0x12345u);
    for (size_t r = 0; r < rows.size(); ++r) {
      const auto range = cuda::MakeSelectRange(lens[r], budgets[r], recency[r], kSinks);
      for (int32_t t = 0; t < (lens[r] + 3) / 4 * 4; ++t) {
        const bool competes = t >= range.head && t < range.end;
        float score = static_cast<float>(random() % 100000) / 3e4f;
        if (!c.sums) score -= 1.5f;
        if (random() % 50 == 0) score = 0.0f;
        if (random() % 200 == 0) score = kNan;
        keys[begins[r] + t] = competes ? Key(score) : 0;
      }
    }
    return keys;
  };

  constexpr int kRounds = 20;
  const auto groups = MakeTestGroup(c.size, true);
  // [ranks][rounds]
  std::vector<std::vector<std::vector<uint32_t>>> results(c.size);
  OnEachRank(c.size, [&](int rank) {
    cuda::DeviceContext context;
    std::string error;
    context.device = cuda::DeviceOfRank(*groups[rank], 0, /*share=*/false, &error);
    context.MakeCurrent();
    ASSERT_EQ(cudaSetDevice(context.device), cudaSuccess);  // of this program's CUDA runtime
    ASSERT_EQ(cudaStreamCreateWithFlags(&context.stream, cudaStreamNonBlocking), cudaSuccess);
    context.side_stream = context.stream;
    context.compute_capability = 90;
    context.num_sms = 64;
    {
      cuda::RankChannels channels(groups[rank].get(), context);
      ASSERT_EQ(channels.Connect(), "");
      BackendLimits limits = RankLimits();
      limits.max_decode_rows = static_cast<int32_t>(rows.size());
      for (int32_t len : lens) limits.max_scored_tokens += len;
      ASSERT_TRUE(channels.Reserve(limits));
      const auto upload = [](const std::vector<int32_t>& host) {
        int32_t* data = nullptr;
        EXPECT_EQ(cudaMalloc(&data, host.size() * sizeof(int32_t)), cudaSuccess);
        EXPECT_EQ(
            cudaMemcpy(data, host.data(), host.size() * sizeof(int32_t), cudaMemcpyHostToDevice),
            cudaSuccess);
        return data;
      };
      const std::vector<int32_t*> arrays = {upload(lens), upload(budgets), upload(recency),
                                            upload(begins)};
      PagedDecodeParams params{};
      params.kv.num_kv_heads = params.num_heads = 1;
      params.tables.context_lens = arrays[0];
      params.rows = static_cast<int32_t>(rows.size());
      SelectTokensParams select{};
      select.selection.granularity = SelectionGranularity::kKvHead;
      select.token_budgets = arrays[1];
      select.recency = arrays[2];
      select.sinks = kSinks;
      select.score = c.sums ? SelectionScore::kSoftmaxSum : SelectionScore::kMaxLogit;
      cuda::SelectionScores scores{};
      scores.head_stride = stride;
      scores.row_begins = arrays[3];
      const size_t bytes = stride * sizeof(uint32_t);
      ASSERT_EQ(cudaMalloc(&scores.keys, bytes), cudaSuccess);
      std::vector<uint32_t> keys;
      const RankSpan span = {rank / c.span * c.span, c.span};
      for (int round = 0; round < kRounds; ++round) {
        keys = keys_of(rank, round);
        ASSERT_EQ(
            cudaMemcpyAsync(scores.keys, keys.data(), bytes, cudaMemcpyDefault, context.stream),
            cudaSuccess);
        ASSERT_EQ(cudaStreamSynchronize(context.stream), cudaSuccess);
        // A device has few ways for copies: one that waited for a kernel could be in another's.
        ASSERT_TRUE(channels.AllAgree(true));
        // At times there are no rows, or nothing is to be selected among.
        params.rows = round % 3 == 2 ? 0 : static_cast<int32_t>(rows.size());
        select.token_budgets = round % 3 == 1 ? arrays[0] : arrays[1];
        cuda::SendScores(params, select, scores, span, channels.scores(), context);
        cuda::CombineScores(params, select, scores, span, channels.scores(), context);
        ASSERT_EQ(cudaStreamSynchronize(context.stream), cudaSuccess);
        ASSERT_EQ(
            cudaMemcpyAsync(keys.data(), scores.keys, bytes, cudaMemcpyDefault, context.stream),
            cudaSuccess);
        ASSERT_EQ(cudaStreamSynchronize(context.stream), cudaSuccess);
        results[rank].push_back(keys);
      }
      ASSERT_EQ(channels.Failure(), "");
      ASSERT_TRUE(channels.AllAgree(true));
      for (int32_t* array : arrays) cudaFree(array);
      cudaFree(scores.keys);
    }
    cudaStreamDestroy(context.stream);
  });

  for (int rank = 0; rank < c.size; ++rank) {
    const int first = rank / c.span * c.span;
    for (int round = 0; round < kRounds; ++round) {
      const auto mine = keys_of(rank, round);
      std::vector<std::vector<uint32_t>> all;
      for (int i = 0; i < c.span; ++i) all.push_back(keys_of(first + i, round));
      for (size_t at = 0; at < mine.size(); ++at) {
        size_t row = rows.size() - 1;
        const auto place = static_cast<int32_t>(at % stride);
        while (place < begins[row]) --row;
        const auto range = cuda::MakeSelectRange(lens[row], budgets[row], recency[row], kSinks);
        const int32_t t = place - begins[row];
        uint32_t expected = mine[at];
        if (round % 3 == 0 && range.NeedsScores() && t >= range.head && t < range.end) {
          uint32_t largest = all[0][at];
          float sum = ScoreOfKey(all[0][at]);
          for (int i = 1; i < c.span; ++i) {
            largest = std::max(largest, all[i][at]);
            sum += ScoreOfKey(all[i][at]);
          }
          expected = c.sums ? Key(sum) : largest;
        }
        ASSERT_EQ(results[rank][round][at], expected)
            << "rank " << rank << ", round " << round << ", row " << row << ", token " << t;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, CudaReduceScoresTest,
                         testing::Values(ScoreCase{2, 2, true}, ScoreCase{2, 2, false},
                                         ScoreCase{4, 4, true}, ScoreCase{4, 2, true},
                                         ScoreCase{4, 2, false}, ScoreCase{3, 3, true}),
                         [](const auto& info) {
                           const ScoreCase& c = info.param;
                           return std::to_string(c.span) + "of" + std::to_string(c.size) +
                                  (c.sums ? "_sum" : "_maximum");
                         });

}  // namespace
}  // namespace tidal
