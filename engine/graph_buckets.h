// Sizes that steps are rounded up to, so that few graphs serve every decode step.
#ifndef TIDAL_ENGINE_GRAPH_BUCKETS_H_
#define TIDAL_ENGINE_GRAPH_BUCKETS_H_

#include <cstdint>

#include "kernels/backend.h"

namespace tidal {

// Rows of a decode step: powers of two up to 8, then four an octave.
int32_t BucketRows(int32_t rows, int32_t max_rows);

// The smallest power of two times `unit` that is at least `value`, but at most `max`, which is at
// least `value`. 0 stays 0.
int32_t BucketSize(int32_t value, int32_t unit, int32_t max);

// Of a step without prompt chunks. token_budget == 0: no row is sparse. Never 0.
GraphKey MakeGraphKey(int32_t rows, int32_t block_table_stride, int32_t token_budget);

}  // namespace tidal

#endif  // TIDAL_ENGINE_GRAPH_BUCKETS_H_
