// The inputs of every attention operation. All pointers are device pointers of the back end that
// runs the operation; all arrays are dense and row-major with the shape written beside them.
//
// Symbols: H query heads, KV key/value heads, D head_dim, G = H / KV the query heads of a group,
// B tokens per block. Query head h reads KV head h / G.
#ifndef TIDAL_KERNELS_ATTENTION_PARAMS_H_
#define TIDAL_KERNELS_ATTENTION_PARAMS_H_

#include <algorithm>
#include <cstdint>

#include "kernels/types.h"

namespace tidal {

// One layer of the paged KV cache. A row (D elements of one head of one token) is contiguous.
// Slot s of the cache is row s % B of block s / B.
struct PagedKvCache {
  bfloat16* k;  // [num_blocks, KV, B, D]
  bfloat16* v;  // [num_blocks, KV, B, D]
  int32_t num_kv_heads;
  int32_t block_size;  // 16, 32 or 64
  int32_t head_dim;    // a multiple of 16, at most 256
};

// Where each row's tokens live: token t of row r is row t % B of block
// blocks[sequence_slots[r]][t / B].
struct BlockTables {
  const int32_t* blocks;          // [sequence slots, stride]; entries past a context are never read
  int32_t stride;                 // entries from one slot to the next
  const int32_t* sequence_slots;  // [rows]
  // [rows], tokens in the cache, those of this step included. 0 in decode marks a row that pads a
  // batch: nothing is read or written for it.
  const int32_t* context_lens;

  // The entries of a row.
  constexpr const int32_t* OfRow(int32_t row) const {
    return blocks + int64_t{sequence_slots[row]} * stride;
  }
};

// The first position that the query at `position` sees. A window of W > 0 shows it its own position
// and the W - 1 before; 0 shows it everything.
constexpr int32_t FirstVisible(int32_t position, int32_t window) {
  return window > 0 ? std::max(0, position + 1 - window) : 0;
}

// Causal attention of a chunk of new tokens over everything before them (cached prefix included).
// The last query token of sequence i has position context_lens[i] - 1. Memory is linear in length.
// A row's result does not depend on how its prompt was cut into chunks.
struct PrefillAttentionParams {
  const bfloat16* q;             // [tokens, H, D], tokens = cu_query_lens[num_sequences]
  PagedKvCache kv;               // already holds the new tokens
  BlockTables tables;            // one row a sequence
  const int32_t* cu_query_lens;  // [num_sequences + 1], first new token of each sequence in q
  void* out;                     // [tokens, H, D] of out_type
  DType out_type;
  int32_t num_sequences;
  int32_t num_heads;        // H
  int32_t max_query_len;    // host copy of the largest chunk
  int32_t max_context_len;  // host copy of the largest context
  float softmax_scale;
  int32_t window = 0;  // of FirstVisible()
};

// Rows of scores and of selections begin at multiples of this many tokens.
inline constexpr int32_t kScoreAlignment = 128;

// Room for up to `rows` such rows of `tokens` tokens in all.
constexpr int64_t ScoreStride(int64_t tokens, int32_t rows) {
  return tokens / kScoreAlignment * kScoreAlignment + int64_t{kScoreAlignment} * rows;
}

// The decode rows of a step: what every layer's decode operation is called with. A row with a token
// budget is sparse: it is selected for in selecting layers and reads its selection in reuse layers.
// Sparse rows come first. All others are dense in every layer.
struct DecodeRows {
  const int32_t* sequence_slots;  // [rows], below max_decode_rows
  const int32_t* context_lens;    // [rows]
  const int32_t* token_budgets;   // [rows], at least 1; 0 = a dense row
  // [rows], of sparse rows: where what is kept of a row's tokens, scores and selection, begins
  // among that of all rows. A multiple of kScoreAlignment, with room for the row's context up to
  // the next one's; the sum of all contexts is at most max_scored_tokens.
  const int32_t* row_begins;
  int32_t rows;
};

// One query token a row over its whole context, or its window's part of it. The result of a row
// does not depend on which physical blocks it uses; on the other rows at most in how its sums are
// rounded (CUDA), or not at all (CPU).
struct PagedDecodeParams {
  const bfloat16* q;   // [rows, H, D]
  PagedKvCache kv;     // already holds the current token
  BlockTables tables;  // one row a query
  void* out;           // [rows, H, D] of out_type
  DType out_type;
  int32_t rows;
  int32_t num_heads;        // H
  int32_t max_context_len;  // host copy
  float softmax_scale;
  int32_t window = 0;  // of FirstVisible(); a row that is selected for has none
};

// What tokens share a set, and by what they are ranked (docs/sparse_attention.md).
enum class SelectionGranularity : uint8_t {
  kShared,  // one set for all heads
  kKvHead,  // one set per KV head, shared by its G query heads
};
enum class SelectionScore : uint8_t {
  kSoftmaxSum,  // attention probability, summed over the heads that share the set
  kMaxLogit,    // raw q.k, maximum over the heads that share the set
};

// The persisted set of TidalDecode: written by a selecting layer, read by the reuse layers after it
// in the same step. S = number of sets a row: 1 (kShared) or KV (kKvHead). Set s of row r begins at
// element SetBegin(r, s) of `positions` and of `slots`.
struct TokenSelection {
  int32_t* positions;         // [S, set_stride] logical token positions, ascending, unique
  int32_t* slots;             // [S, set_stride] cache slots of the positions, via the block table
  int32_t* counts;            // [rows, S] = min(token_budget, context_len)
  const int32_t* row_begins;  // of DecodeRows
  int64_t set_stride;         // elements from one set of a row to its next
  SelectionGranularity granularity;

  constexpr int64_t SetBegin(int32_t row, int32_t set) const {
    return set * set_stride + row_begins[row];
  }
};

// Selection by one row over its context. Forced members: the first `sinks` tokens, the
// `recency[r]` tokens before the current one, and the current token; where the forced ones alone
// exceed the budget, the current token is kept first, then recent tokens from the newest, then
// sinks from the lowest. The rest is ranked by score, ties to the lower position; a NaN score ranks
// lowest, level with -infinity.
struct SelectTokensParams {
  TokenSelection selection;      // output
  const int32_t* token_budgets;  // [rows], at least 1; 0: nothing is selected for this row
  const int32_t* recency;        // [rows], >= 0
  int32_t sinks;                 // >= 0
  SelectionScore score;
};

// One query token a row: sparse rows over their selected tokens only, dense rows (budget 0) over
// their whole context as in PagedDecode.
struct SparseDecodeParams {
  const bfloat16* q;  // [rows, H, D]
  PagedKvCache kv;
  BlockTables tables;            // one row a query
  const int32_t* token_budgets;  // [rows], 0 = a dense row; sparse rows come first
  TokenSelection selection;      // of the sparse rows; reads slots and counts
  void* out;                     // [rows, H, D] of out_type
  DType out_type;
  int32_t rows;
  int32_t num_heads;        // H
  int32_t max_context_len;  // host copy
  float softmax_scale;
};

}  // namespace tidal

#endif  // TIDAL_KERNELS_ATTENTION_PARAMS_H_
