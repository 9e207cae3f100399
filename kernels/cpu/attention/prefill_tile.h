// One task of prefill attention: the query heads of one KV head, for neighbouring tokens of one
// sequence.
#ifndef TIDAL_KERNELS_CPU_ATTENTION_PREFILL_TILE_H_
#define TIDAL_KERNELS_CPU_ATTENTION_PREFILL_TILE_H_

#include <algorithm>
#include <cstdint>

#include "kernels/attention/params.h"

namespace tidal::cpu {

// Tokens of a key tile; tiles begin at its multiples. Large, because the accumulators are read,
// scaled and written once a tile; K and V of a tile stay in the L2 cache.
inline constexpr int32_t kKeyTile = 256;

// Query rows (a token's head each) of a task: what the packing of a key tile is shared by.
inline constexpr int32_t kQueryTileRows = 192;

// Row r of the task is query head kv_head * G + r % G of token first_token + r / G.
struct PrefillTile {
  const PrefillAttentionParams* params;
  const int32_t* blocks;  // the sequence's block table
  int32_t kv_head;
  int32_t first_token;     // index into params->q
  int32_t num_tokens;      // >= 1; num_tokens * G <= the scratch's rows
  int32_t first_position;  // of first_token in its sequence
};

// The tokens [begin, end) of a key tile that the query at `position` sees. The tile begins at the
// context's token `start` and has `count` tokens. Empty where end <= begin.
struct VisibleTokens {
  int32_t begin, end;
};

inline VisibleTokens VisibleInTile(const PrefillTile& tile, int32_t position, int32_t start,
                                   int32_t count) {
  return {std::max(0, FirstVisible(position, tile.params->window) - start),
          std::min(count, position + 1 - start)};
}

// The first key tile that any row of the task sees.
inline int32_t FirstKeyTile(const PrefillTile& tile) {
  return FirstVisible(tile.first_position, tile.params->window) / kKeyTile * kKeyTile;
}

// A worker's buffers. `rows` is max(kQueryTileRows, G).
struct PrefillScratch {
  uint32_t* k;          // [kKeyTile * D / 2] a packed key tile
  uint32_t* v;          // [kKeyTile * D / 2] a packed value tile
  float* key_floats;    // [D, kKeyTile] and
  float* value_floats;  // [kKeyTile, D]: the same, for plain C++
  bfloat16* q;          // [rows, D]
  float* acc;           // [rows, D] weighted sums of values
  float* max;           // [rows] largest score so far
  float* sum;           // [rows, 16] partial sums of weights
};

void AttendPrefillTilePortable(const PrefillTile& tile, PrefillScratch& scratch);
void AttendPrefillTileAvx512(const PrefillTile& tile, PrefillScratch& scratch);

}  // namespace tidal::cpu

#endif  // TIDAL_KERNELS_CPU_ATTENTION_PREFILL_TILE_H_
