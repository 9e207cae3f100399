#include "engine/graph_buckets.h"

#include <algorithm>

#include "engine/base/check.h"

namespace tidal {

int32_t BucketRows(int32_t rows, int32_t max_rows) {
  TIDAL_CHECK(rows >= 1 && rows <= max_rows);
  int32_t step = 1;  // a power of two, so that each bucket holds the ones before it
  while (step * 8 <= rows) step *= 2;
  if (rows <= 8) return std::min(BucketSize(rows, 1, 8), max_rows);
  return std::min((rows + step - 1) / step * step, max_rows);
}

int32_t BucketSize(int32_t value, int32_t unit, int32_t max) {
  TIDAL_CHECK(value <= max);
  if (value == 0) return 0;
  int64_t size = unit;
  while (size < value) size *= 2;
  return static_cast<int32_t>(std::min<int64_t>(size, max));
}

GraphKey MakeGraphKey(int32_t rows, int32_t block_table_stride, int32_t token_budget) {
  constexpr int kRowBits = 17, kStrideBits = 24;
  TIDAL_CHECK(rows >= 1 && rows < 1 << kRowBits && block_table_stride < 1 << kStrideBits);
  return static_cast<GraphKey>(rows) | static_cast<GraphKey>(block_table_stride) << kRowBits |
         static_cast<GraphKey>(token_budget) << (kRowBits + kStrideBits);
}

}  // namespace tidal
