#include "engine/step/graph_buckets.h"

#include <algorithm>

#include "engine/base/check.h"

namespace tidal {

int32_t BucketRows(int32_t rows, int32_t max_rows) {
  TIDAL_CHECK(rows >= 1 && rows <= max_rows);
  int32_t step = 1;  // a power of two, so that each bucket holds the ones before it
  if (rows <= 8) {
    while (step < rows) step *= 2;
    return std::min(step, max_rows);
  }
  while (step * 8 <= rows) step *= 2;
  return std::min((rows + step - 1) / step * step, max_rows);
}

std::vector<int32_t> RowBuckets(int32_t max_rows) {
  std::vector<int32_t> buckets;
  for (int32_t rows = 1; rows <= max_rows; ++rows) {
    const int32_t bucket = BucketRows(rows, max_rows);
    if (buckets.empty() || buckets.back() != bucket) buckets.push_back(bucket);
  }
  return buckets;
}

GraphKey MakeGraphKey(int32_t rows, bool sparse) {
  TIDAL_CHECK(rows >= 1);
  return static_cast<GraphKey>(rows) * 2 + (sparse ? 1 : 0);
}

}  // namespace tidal
