#include "kernels/cpu/rank_ops.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace tidal::cpu {
namespace {

// Elements that a thread adds at a time.
constexpr int32_t kAddedTogether = 4096;

const float* Floats(const char* piece) { return reinterpret_cast<const float*>(piece); }

}  // namespace

void ReduceNorm(const ReduceNormParams& p, const RowKernels& kernels, ThreadPool& pool,
                RankExchange& exchange) {
  const size_t bytes = size_t{1} * p.tokens * p.hidden * sizeof(float);
  const int32_t ranks = exchange.num_ranks();
  const auto add = [&](const char* const* pieces, size_t begin, size_t count_bytes) {
    float* const residual = p.residual + begin / sizeof(float);
    const auto count = static_cast<int32_t>(count_bytes / sizeof(float));
    pool.ParallelFor((count + kAddedTogether - 1) / kAddedTogether, [&](int32_t item, int) {
      const int32_t first = item * kAddedTogether, end = std::min(count, first + kAddedTogether);
      for (int32_t i = first; i < end; ++i) {
        float sum = Floats(pieces[0])[i];
        for (int32_t rank = 1; rank < ranks; ++rank) sum += Floats(pieces[rank])[i];
        residual[i] += sum;
      }
    });
  };
  if (!exchange.Run(p.partial, bytes, add)) return;
  RmsNorm({.x = p.residual,
           .weight = p.weight,
           .out = p.out,
           .out_type = p.out_type,
           .tokens = p.tokens,
           .hidden = p.hidden,
           .epsilon = p.epsilon},
          kernels, pool);
}

// Row by row: a rank's part of one fits into a few pieces.
void GatherColumns(const GatherColumnsParams& p, RankExchange& exchange) {
  for (int32_t row = 0; row < p.rows; ++row) {
    float* const out = p.out + int64_t{row} * p.columns;
    const auto take = [&](const char* const* pieces, size_t begin, size_t bytes) {
      for (int32_t rank = 0; rank < exchange.num_ranks(); ++rank) {
        const int64_t first = int64_t{rank} * p.part_columns + begin / sizeof(float);
        const int64_t count = std::min<int64_t>(bytes / sizeof(float), p.columns - first);
        if (count > 0) std::memcpy(out + first, pieces[rank], count * sizeof(float));
      }
    };
    const float* const part = p.part + int64_t{row} * p.part_columns;
    if (!exchange.Run(part, p.part_columns * sizeof(float), take)) return;
  }
}

}  // namespace tidal::cpu
