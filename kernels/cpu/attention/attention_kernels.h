// The inner loops of decode attention and selection, one table an instruction set. The code around
// them (paged_decode.cc, select_tokens.cc) is the same for all.
#ifndef TIDAL_KERNELS_CPU_ATTENTION_ATTENTION_KERNELS_H_
#define TIDAL_KERNELS_CPU_ATTENTION_ATTENTION_KERNELS_H_

#include <cstdint>

#include "kernels/types.h"

namespace tidal::cpu {

// Tokens of one split: a multiple of every block size. Large enough that a split's result (D + 2
// floats a head) is small beside the K and V rows it stands for, small enough that a short context
// still feeds several threads.
inline constexpr int kSplitTokens = 512;

// From one head's weights to the next's. Not a power of two: the heads of a token must not all fall
// into the same cache sets.
inline constexpr int kWeightStride = kSplitTokens + 16;

// Attention of one query token to at most kSplitTokens tokens, for the KV heads [kv_begin, kv_end)
// and the G query heads of each. Arrays over H heads or KV heads are indexed by the head itself.
struct SplitTask {
  const bfloat16* q;  // [H, D]
  const bfloat16* k;  // the cache: [num_blocks, KV, B, D]
  const bfloat16* v;
  const int32_t* blocks;  // the blocks of the split's tokens, or null:
  const int32_t* slots;   // [num_tokens] their cache slots
  int32_t block_offset;   // where in blocks[0] the first token is; 0 where slots are given
  int32_t num_tokens;     // 0 .. kSplitTokens
  int32_t kv_begin, kv_end;
  int32_t num_kv_heads;  // KV
  int32_t group_size;    // G
  int32_t block_size;    // B, a power of two
  int32_t head_dim;      // D
  float softmax_scale;
  // Out. With x = q.k * softmax_scale * log2(e):
  float* max;         // [H] largest x
  float* weights;     // [H, kWeightStride] exp2(x - max); only the first num_tokens are meaningful
  float* sum;         // [H] sum of weights
  float* acc;         // [H, D] sum of weights * v
  float* max_logits;  // [KV, kWeightStride] largest raw q.k of the group, or null
};

struct DecodeKernels {
  void (*attend_split)(const SplitTask& task);

  // out[d] = sum over s < num_splits of acc[s * acc_stride + d] * factors[s * factor_stride].
  void (*combine)(const float* acc, int64_t acc_stride, const float* factors, int64_t factor_stride,
                  int32_t num_splits, int32_t head_dim, float* out);
};

struct KeyPartition {
  int32_t above;       // keys > high
  int32_t candidates;  // keys in [low, high], copied to the candidate array
};

// Keys are unsigned integers in the order of the scores: RankKey in select_tokens.h.
struct SelectKernels {
  // keys[t] = RankKey of the sum over h of factors[h] * weights[h * kWeightStride + t].
  void (*rank_sums)(const float* weights, const float* factors, int32_t num_heads, int32_t tokens,
                    uint32_t* keys);
  // keys[t] = RankKey of the largest over h of logits[h * kWeightStride + t].
  void (*rank_maxima)(const float* logits, int32_t num_heads, int32_t tokens, uint32_t* keys);

  // counts[i] = number of keys >= thresholds[i], i in [0, 3).
  void (*count_at_least)(const uint32_t* keys, int32_t count, const uint32_t* thresholds,
                         int32_t* counts);
  // `candidates` has room for count + 16 keys.
  KeyPartition (*partition)(const uint32_t* keys, int32_t count, uint32_t low, uint32_t high,
                            uint32_t* candidates);
  // Writes first + i for every key i > threshold and for the first `ties` keys equal to it,
  // ascending; returns how many. Writes nothing past these.
  int32_t (*emit)(const uint32_t* keys, int32_t count, uint32_t threshold, int32_t ties,
                  int32_t first, int32_t* positions);
};

struct AttentionKernels {
  const DecodeKernels* decode;
  const SelectKernels* select;
};

extern const DecodeKernels kPortableDecodeKernels;
extern const SelectKernels kPortableSelectKernels;
#if TIDAL_CPU_AVX512
extern const DecodeKernels kAvx512DecodeKernels;
extern const SelectKernels kAvx512SelectKernels;
#endif

}  // namespace tidal::cpu

#endif  // TIDAL_KERNELS_CPU_ATTENTION_ATTENTION_KERNELS_H_
