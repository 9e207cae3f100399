#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "kernels/cuda/attention/prefill_own.h"
#include "kernels/cuda/attention/prefill_tile.cuh"
#include "kernels/cuda/launch.cuh"

namespace tidal::cuda {
namespace prefill {

// kDim: head_dim, rounded up to a compiled size. kRowTiles: tiles of 16 rows a warp. kKeys: keys a
// tile.
template <int kDim, int kRowTiles, int kKeys>
struct Shape {
  static constexpr int kWarpRows = 16 * kRowTiles;
  static constexpr int kRows = kWarps * kWarpRows;
  static constexpr int kKeyPairs = kKeys / 16, kDimPairs = kDim / 16;
  static constexpr int kStages = 2;
  static constexpr uint32_t kQueryBytes = kRows * kDim * 2;
  static constexpr uint32_t kStageBytes = 2 * KvLoader<kDim, kKeys>::kTileBytes;
  static constexpr uint32_t kSharedBytes = kQueryBytes + kStages * kStageBytes;
  static constexpr int kMinBlocks = kDim <= 64 && kRowTiles == 1 ? 3 : 2;
};

// The rows of one warp: scores, weights and outputs as MultiplyAdd's sums.
template <int kDim, int kRowTiles, int kKeys>
class WarpRows {
  using S = Shape<kDim, kRowTiles, kKeys>;
  using Layout = TileLayout<kDim>;

 public:
  // `queries`: the warp's first row in shared memory.
  __device__ explicit WarpRows(uint32_t queries) : lane_(threadIdx.x % 32) {
    // Where this lane's rows of matrix loads are, chunk 0. Chunk c of a row is at c ^ its swizzle,
    // and the even part of c is XORed in later.
    const uint32_t swizzle = Layout::Swizzle(lane_ & 7);
    const uint32_t low = lane_ & 7, bit3 = (lane_ >> 3) & 1, bit4 = lane_ >> 4;
    query_row_ = queries + (low + 8 * bit3) * Layout::kRowBytes;
    query_chunk_ = (swizzle ^ bit4) << 4;
    key_row_ = (low + 8 * bit4) * Layout::kRowBytes;
    key_chunk_ = (swizzle ^ bit3) << 4;
    value_row_ = (low + 8 * bit3) * Layout::kRowBytes;
    value_chunk_ = (swizzle ^ bit4) << 4;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int n = 0; n < 2 * S::kDimPairs; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) out_[m][n][i] = 0;
      }
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        max_[m][half] = -INFINITY;
        sum_[m][half] = 0;
      }
    }
  }

  // scores = q k^T of the key tile at `keys`.
  __device__ void Score(uint32_t keys) {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int n = 0; n < 2 * S::kKeyPairs; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) scores_[m][n][i] = 0;
      }
    }
#pragma unroll
    for (int d = 0; d < S::kDimPairs; ++d) {
      uint32_t q[kRowTiles][4];
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
        mma::LoadMatrices(
            q[m], query_row_ + m * 16 * Layout::kRowBytes + (query_chunk_ ^ uint32_t(d * 32)));
      }
#pragma unroll
      for (int n = 0; n < S::kKeyPairs; ++n) {
        uint32_t k[4];
        mma::LoadMatrices(
            k, keys + key_row_ + n * 16 * Layout::kRowBytes + (key_chunk_ ^ uint32_t(d * 32)));
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          mma::MultiplyAdd(scores_[m][2 * n], q[m], k[0], k[1]);
          mma::MultiplyAdd(scores_[m][2 * n + 1], q[m], k[2], k[3]);
        }
      }
    }
  }

  // A row sees the keys up to its own position, or its window's part of them: row r of the
  // sequence's chunk has position first_position + r / group. `row` is the warp's first.
  __device__ void Mask(const Args& args, int first_key, int row, int first_position) {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const unsigned r = row + m * 16 + half * 8 + lane_ / 4;
        const int position = first_position + int(r / unsigned(args.group));
#pragma unroll
        for (int n = 0; n < 2 * S::kKeyPairs; ++n) {
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            const int key = first_key + n * 8 + 2 * int(lane_ % 4) + i;
            // Behind the row's position, or too far before it.
            if (unsigned(position - key) >= unsigned(args.window)) {
              scores_[m][n][2 * half + i] = -INFINITY;
            }
          }
        }
      }
    }
  }

  // Scores become weights; what was summed so far is brought to the new maxima.
  __device__ void Softmax(float scale_log2) {
    float correction[kRowTiles][2];
    bool changed = false;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float max = max_[m][half];
#pragma unroll
        for (int n = 0; n < 2 * S::kKeyPairs; ++n) {
          max = fmaxf(max, fmaxf(scores_[m][n][2 * half], scores_[m][n][2 * half + 1]));
        }
        max = fmaxf(max, __shfl_xor_sync(0xffffffffu, max, 1));
        max = fmaxf(max, __shfl_xor_sync(0xffffffffu, max, 2));
        changed |= max != max_[m][half];
        // A window may show a row nothing of its first tiles: no maximum yet, and no weight.
        const float base = max == -INFINITY ? 0.0f : max;
        correction[m][half] = mma::Exp2((max_[m][half] - base) * scale_log2);
        max_[m][half] = max;
        const float scaled_max = base * scale_log2;
        float sum = 0;
#pragma unroll
        for (int n = 0; n < 2 * S::kKeyPairs; ++n) {
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            float& score = scores_[m][n][2 * half + i];
            score = mma::Exp2(fmaf(score, scale_log2, -scaled_max));
            sum += score;
          }
        }
        sum_[m][half] = fmaf(sum_[m][half], correction[m][half], sum);
      }
    }
    // Late in a long context the maxima rarely change, and multiplying by one would change nothing.
    if (__any_sync(0xffffffffu, changed)) {
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
        for (int n = 0; n < 2 * S::kDimPairs; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) out_[m][n][i] *= correction[m][i / 2];
        }
      }
    }
  }

  // out += weights v of the value tile at `values`.
  __device__ void AddValues(uint32_t values) {
#pragma unroll
    for (int n = 0; n < S::kKeyPairs; ++n) {
      uint32_t weights[kRowTiles][4];
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float(&pair)[4] = scores_[m][2 * n + i / 2];
          weights[m][i] = mma::PackBf16(pair[2 * (i % 2)], pair[2 * (i % 2) + 1]);
        }
      }
#pragma unroll
      for (int d = 0; d < S::kDimPairs; ++d) {
        uint32_t v[4];
        mma::LoadMatricesTransposed(v, values + value_row_ + n * 16 * Layout::kRowBytes +
                                           (value_chunk_ ^ uint32_t(d * 32)));
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          mma::MultiplyAdd(out_[m][2 * d], weights[m], v[0], v[1]);
          mma::MultiplyAdd(out_[m][2 * d + 1], weights[m], v[2], v[3]);
        }
      }
    }
  }

  // Writes the rows below `rows`. `row` is the warp's first, first_token the chunk's first in out.
  __device__ void Store(const Args& args, int64_t first_token, int kv_head, int row, int rows) {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float sum = sum_[m][half];
        sum += __shfl_xor_sync(0xffffffffu, sum, 1);
        sum += __shfl_xor_sync(0xffffffffu, sum, 2);
        const float inverse = 1 / sum;
        const unsigned r = row + m * 16 + half * 8 + lane_ / 4, group = args.group;
        if (r >= unsigned(rows)) continue;
        const int64_t head =
            (first_token + r / group) * args.num_heads + kv_head * args.group + int(r % group);
        const int64_t at = head * args.head_dim + 2 * int(lane_ % 4);
#pragma unroll
        for (int n = 0; n < 2 * S::kDimPairs; ++n) {
          if (n * 8 >= args.head_dim) break;
          const float x = out_[m][n][2 * half] * inverse;
          const float y = out_[m][n][2 * half + 1] * inverse;
          if (args.out_is_float) {
            *reinterpret_cast<float2*>(static_cast<float*>(args.out) + at + n * 8) =
                make_float2(x, y);
          } else {
            *reinterpret_cast<uint32_t*>(static_cast<bfloat16*>(args.out) + at + n * 8) =
                mma::PackBf16(x, y);
          }
        }
      }
    }
  }

 private:
  uint32_t lane_;
  uint32_t query_row_, query_chunk_;
  uint32_t key_row_, key_chunk_;
  uint32_t value_row_, value_chunk_;
  float out_[kRowTiles][2 * S::kDimPairs][4];
  float scores_[kRowTiles][2 * S::kKeyPairs][4];
  float max_[kRowTiles][2];  // of q k^T, unscaled; of the lane's rows lane / 4 and lane / 4 + 8
  float sum_[kRowTiles][2];  // this lane's part
};

// Grid: x = KV heads of the last row tile, then of the one before it, and so on (the longest rows
// start first); y = sequences.
template <int kDim, int kRowTiles, int kKeys>
__global__ void __launch_bounds__(kThreads, Shape<kDim, kRowTiles, kKeys>::kMinBlocks)
    PrefillKernel(LaunchMark mark, const __grid_constant__ Args args) {
  using S = Shape<kDim, kRowTiles, kKeys>;
  extern __shared__ __align__(128) char shared_memory[];
  WaitForPreviousKernel(mark);
  const int sequence = blockIdx.y;
  const int kv_head = blockIdx.x % args.num_kv_heads;
  const int row_tile = args.row_tiles - 1 - int(blockIdx.x) / args.num_kv_heads;
  const int first_token = args.cu_query_lens[sequence];
  const int query_len = args.cu_query_lens[sequence + 1] - first_token;
  const int rows = query_len * args.group;
  const int first_row = row_tile * S::kRows;
  if (first_row >= rows) return;
  const int first_position = args.context_lens[sequence] - query_len;
  const int last_row = min(first_row + S::kRows, rows) - 1;
  const int key_end = first_position + last_row / args.group + 1;
  const int key_begin = FirstVisible(first_position + first_row / args.group, args.window);
  const int first_tile = key_begin / kKeys, key_tiles = (key_end + kKeys - 1) / kKeys;

  // The warp's rows: keys up to see_all are seen by all of them, keys after see_any by none; so are
  // keys from seen_by_all on, and keys before seen_by_any.
  const int warp_row = first_row + int(threadIdx.x / 32) * S::kWarpRows;
  const int see_all = first_position + warp_row / args.group;
  const int see_any =
      warp_row < rows ? first_position + (min(warp_row + S::kWarpRows, rows) - 1) / args.group : -1;

  const int seen_by_any = FirstVisible(see_all, args.window),
            seen_by_all = FirstVisible(see_any, args.window);

  const uint32_t queries = static_cast<uint32_t>(__cvta_generic_to_shared(shared_memory));
  const uint32_t stages = queries + S::kQueryBytes;
  KvLoader<kDim, kKeys> loader(args, sequence, kv_head, key_begin, key_end);
  CopyQueries<kDim, S::kRows>(args, args.q + int64_t{first_token} * args.num_heads * args.head_dim,
                              kv_head, first_row, rows, queries);
  loader.CopyNext(stages);
  mma::CommitCopies();

  WarpRows<kDim, kRowTiles, kKeys> warp(queries + (threadIdx.x / 32) * S::kWarpRows * kDim * 2);
  for (int tile = first_tile; tile < key_tiles; ++tile) {
    const int first_key = tile * kKeys;
    const uint32_t keys = stages + ((tile - first_tile) & 1) * S::kStageBytes;
    mma::WaitForCopies();
    // The tile is there for all threads, and none reads the other stage any more.
    __syncthreads();
    if (tile + 1 < key_tiles) {
      loader.CopyNext(stages + ((tile - first_tile + 1) & 1) * S::kStageBytes);
      mma::CommitCopies();
    }
    if (first_key > see_any || first_key + kKeys <= seen_by_any) continue;
    warp.Score(keys);
    if (first_key + kKeys - 1 > see_all || first_key < seen_by_all) {
      warp.Mask(args, first_key, warp_row, first_position);
    }
    warp.Softmax(args.scale_log2);
    warp.AddValues(keys + KvLoader<kDim, kKeys>::kTileBytes);
  }
  LetNextKernelStart();
  warp.Store(args, first_token, kv_head, warp_row, rows);
}

template <int kDim, int kRowTiles, int kKeys>
struct Instance {
  using S = Shape<kDim, kRowTiles, kKeys>;

  static void Prepare(DeviceContext& context) {
    context.Check(cudaFuncSetAttribute(PrefillKernel<kDim, kRowTiles, kKeys>,
                                       cudaFuncAttributeMaxDynamicSharedMemorySize,
                                       static_cast<int>(S::kSharedBytes)),
                  "PrefillAttention");
  }

  static int64_t RowTiles(int64_t rows) { return (rows + S::kRows - 1) / S::kRows; }

  static void Run(Args args, int64_t rows, int32_t num_sequences, DeviceContext& context) {
    args.row_tiles = static_cast<int32_t>(RowTiles(rows));
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>(args.row_tiles) * args.num_kv_heads, num_sequences);
    shape.block = dim3(kThreads);
    shape.shared_bytes = S::kSharedBytes;
    Launch(context, "PrefillAttention", PrefillKernel<kDim, kRowTiles, kKeys>, shape, args);
  }
};

// The compiled forms of a head_dim. The small one is for calls whose blocks would leave
// multiprocessors without work.
template <int kDim, int kKeys, int kLargeRowTiles>
void RunDim(const Args& args, int64_t rows, int32_t num_sequences, DeviceContext& context) {
  using Large = Instance<kDim, kLargeRowTiles, kKeys>;
  using Small = Instance<kDim, 1, kKeys>;
  if (Large::RowTiles(rows) * args.num_kv_heads * num_sequences < context.num_sms) {
    Small::Run(args, rows, num_sequences, context);
  } else {
    Large::Run(args, rows, num_sequences, context);
  }
}

}  // namespace prefill

void PrepareOwnPrefill(DeviceContext& context) {
  using prefill::Instance;
  Instance<32, 1, 64>::Prepare(context);
  Instance<32, 2, 64>::Prepare(context);
  Instance<64, 1, 64>::Prepare(context);
  Instance<64, 2, 64>::Prepare(context);
  Instance<128, 1, 64>::Prepare(context);
  Instance<128, 2, 64>::Prepare(context);
  Instance<256, 1, 32>::Prepare(context);
}

void OwnPrefillAttention(const PrefillAttentionParams& p, DeviceContext& context) {
  const int32_t d = p.kv.head_dim, b = p.kv.block_size;
  if (d < 16 || d > 256 || d % 16 != 0 || (b != 16 && b != 32 && b != 64) ||
      p.num_heads % p.kv.num_kv_heads != 0) {
    std::fprintf(stderr, "PrefillAttention: head_dim %d, block_size %d, heads %d / %d\n", d, b,
                 p.num_heads, p.kv.num_kv_heads);
    std::abort();
  }
  if (p.num_sequences == 0 || p.max_query_len == 0) return;
  prefill::Args args = {};
  args.q = p.q;
  args.k = p.kv.k;
  args.v = p.kv.v;
  args.blocks = p.tables.blocks;
  args.sequence_slots = p.tables.sequence_slots;
  args.context_lens = p.tables.context_lens;
  args.cu_query_lens = p.cu_query_lens;
  args.out = p.out;
  args.stride = p.tables.stride;
  args.num_heads = p.num_heads;
  args.num_kv_heads = p.kv.num_kv_heads;
  args.group = p.num_heads / p.kv.num_kv_heads;
  args.head_dim = d;
  args.block_shift = b == 16 ? 4 : b == 32 ? 5 : 6;
  args.block_elements = p.kv.num_kv_heads * b * d;
  args.scale_log2 = p.softmax_scale * 1.4426950408889634f;
  args.window = p.window > 0 ? p.window : std::numeric_limits<int32_t>::max();
  args.out_is_float = p.out_type == DType::kF32;
  const int64_t rows = int64_t{p.max_query_len} * args.group;
  if (d <= 32) {
    prefill::RunDim<32, 64, 2>(args, rows, p.num_sequences, context);
  } else if (d <= 64) {
    prefill::RunDim<64, 64, 2>(args, rows, p.num_sequences, context);
  } else if (d <= 128) {
    prefill::RunDim<128, 64, 2>(args, rows, p.num_sequences, context);
  } else {
    prefill::RunDim<256, 32, 1>(args, rows, p.num_sequences, context);
  }
}

}  // namespace tidal::cuda
