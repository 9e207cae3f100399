// Which recorded step a step of decode rows replays. One is recorded for each number of rows listed
// here and kind of step; whatever else differs between two steps is data.
#ifndef TIDAL_ENGINE_STEP_GRAPH_BUCKETS_H_
#define TIDAL_ENGINE_STEP_GRAPH_BUCKETS_H_

#include <cstdint>
#include <vector>

#include "kernels/backend.h"

namespace tidal {

// Rows are rounded up to powers of two up to 8, then to four an octave; at most max_rows.
int32_t BucketRows(int32_t rows, int32_t max_rows);

// What BucketRows() can give, rising.
std::vector<int32_t> RowBuckets(int32_t max_rows);

// `sparse`: some row may be. Never 0.
GraphKey MakeGraphKey(int32_t rows, bool sparse);

}  // namespace tidal

#endif  // TIDAL_ENGINE_STEP_GRAPH_BUCKETS_H_
