// The kernels of skinny_matmul.h.
#ifndef TIDAL_KERNELS_CUDA_SKINNY_MATMUL_KERNEL_CUH_
#define TIDAL_KERNELS_CUDA_SKINNY_MATMUL_KERNEL_CUH_

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/launch.cuh"

namespace tidal::cuda::skinny {

// A tile is 16 rows of the weight, or 8 tokens: the sides of mma.m16n8k16. A group is 64 columns,
// 128 bytes of a row: four instructions.
constexpr int kTileRows = 16;
constexpr int kTileTokens = 8;
constexpr int kGroupColumns = 64;

struct KernelParams {
  const __nv_bfloat16* weight;
  const __nv_bfloat16* x;
  float* out;  // [tokens, out_features]
  int32_t out_features;
  int32_t in_features;
  int32_t tokens;
  bool accumulate;
  const float* bias;  // [out_features] or null
};

// Starts to copy 16 bytes that the device reads once into shared memory: around the first-level
// cache. Zeros, and no access, unless `valid`.
__device__ inline void CopyOnce(uint32_t shared, const __nv_bfloat16* p, bool valid) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;\n" ::"r"(shared), "l"(p),
               "r"(valid ? 16 : 0)
               : "memory");
}

// Closes the group of the copies since the last call.
__device__ inline void EndCopies() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }

// Until all but the last kPending groups of this thread's copies are there.
template <int kPending>
__device__ inline void WaitForCopies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
}

// 16 bytes that other blocks of the multiprocessor read too and that an earlier kernel wrote:
// through the first-level cache. Zeros, and no access, unless `valid`.
__device__ inline uint4 LoadShared(const __nv_bfloat16* p, bool valid) {
  uint4 v;
  asm volatile(
      "{\n"
      "  .reg .pred valid;\n"
      "  setp.ne.b32 valid, %5, 0;\n"
      "  mov.b32 %0, 0;\n"
      "  mov.b32 %1, 0;\n"
      "  mov.b32 %2, 0;\n"
      "  mov.b32 %3, 0;\n"
      "  @valid ld.global.v4.b32 {%0, %1, %2, %3}, [%4];\n"
      "}\n"
      : "=&r"(v.x), "=&r"(v.y), "=&r"(v.z), "=&r"(v.w)
      : "l"(p), "r"(static_cast<int>(valid))
      : "memory");
  return v;
}

__device__ inline void MultiplyTile(float (&sum)[4], uint32_t a0, uint32_t a1, uint32_t a2,
                                    uint32_t a3, uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// One group of a warp. The instruction wants, of lane 4 g + t, columns 2t, 2t+1, 2t+8 and 2t+9 of
// rows g and g+8 of W and of token g of x. The order of columns within a sum is free as long as W
// and x agree, so a lane instead takes 8 adjacent columns, 8t .. 8t+7 of 32, in one 16-byte piece:
// its first four feed one instruction, the others the next.
constexpr int kPieces = kGroupColumns / 32;  // of a lane, in a row

template <int kTiles>
struct Fragments {
  uint4 v[kTiles][kPieces];
};

// kWarps: of a block. kDepth: groups of W that a warp has on their way. They travel through shared
// memory, not registers: what a wait for a register waits for is the compiler's choice, and it
// chooses all loads at once. A copy takes 128 bytes of each of four rows.
template <int kRowTiles, int kTokenTiles, int kDepth, int kWarps>
__device__ inline void MatMulBody(LaunchMark mark, const KernelParams& p) {
  constexpr int kRows = kTileRows * kRowTiles;
  constexpr int kTokens = kTileTokens * kTokenTiles;
  // Floats from one token's sums of a warp to the next's: + 4 spreads a warp's stores over all
  // banks of shared memory.
  constexpr int kStride = kRows + 4;
  constexpr int kHalves = 2 * kRowTiles;         // of 8 rows, those of one piece a lane
  constexpr int kStep = kWarps * kGroupColumns;  // columns from one group of a warp to its next
  // One accumulator alone would make every instruction wait for the one before.
  constexpr int kChains = kRowTiles * kTokenTiles == 1 ? 2 : 1;
  constexpr int kGroupPieces = kHalves * kPieces * 32;  // 16-byte pieces of a warp's group
  constexpr int kWarpPieces = kDepth * kGroupPieces;    // of a warp's ring
  static_assert(kTokens * kStride <= kWarpPieces * 4);  // the sums go where the ring was
  extern __shared__ uint4 rings[];                      // [kWarps, kDepth, kHalves, kPieces, 8, 4]

  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  const int g = lane / 4;
  const int t = lane % 4;
  const int first_row = blockIdx.x * kRows;
  const int first_column = warp * kGroupColumns + 8 * t;
  // The same for all lanes of a warp: mma.sync needs them together.
  const int warp_columns = p.in_features - warp * kGroupColumns;
  const int groups = warp_columns <= 0 ? 0 : (warp_columns + kStep - 1) / kStep;

  // What the lane copies: piece `piece` of rows copy_row, copy_row + 4, .. of every row tile. Rows
  // past the end become zeros.
  const int copy_row = lane / 8;
  const int piece = lane % 8;
  const __nv_bfloat16* w_at[kRowTiles];
  int rows_left[kRowTiles];  // from there on
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) {
    const int row = first_row + r * kTileRows + copy_row;
    rows_left[r] = p.out_features - row;
    w_at[r] =
        p.weight + static_cast<int64_t>(row) * p.in_features + warp * kGroupColumns + 8 * piece;
  }
  int w_left = warp_columns - 8 * piece;  // columns from there to the row's end
  const int64_t four_rows = int64_t{4} * p.in_features;

  // What it multiplies: tokens g, g + 8. Tokens past the end are zeros.
  const int tokens_left = p.tokens - g;
  const __nv_bfloat16* x_at = p.x + static_cast<int64_t>(g) * p.in_features + first_column;
  int x_left = p.in_features - first_column;  // columns from there to the row's end
  const int64_t tile_of_x = int64_t{kTileTokens} * p.in_features;

  // Piece s * 4 + t of row h * 8 + g is at [h][s][g ^ s][t] of its group: neither the copies, by
  // rows, nor the reads, by s, then meet a bank of shared memory twice.
  uint4* const ring = rings + warp * kWarpPieces;
  const uint32_t copy_to = static_cast<uint32_t>(__cvta_generic_to_shared(ring)) +
                           16 * (piece / 4 * 32 + (copy_row ^ (piece / 4)) * 4 + piece % 4);
  // The next group of W into place `stage`. Of a piece's 8 columns all are inside the row or none.
  const auto copy_w = [&](int stage) {
    const uint32_t to = copy_to + stage * (kGroupPieces * 16);
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
      for (int i = 0; i < kTileRows / 4; ++i) {
        CopyOnce(to + 16 * ((2 * r + i / 2) * kPieces * 32 + i % 2 * 16), w_at[r] + i * four_rows,
                 w_left > 0 && 4 * i < rows_left[r]);
      }
      w_at[r] += kStep;
    }
    w_left -= kStep;
  };
  // The next group of x.
  const auto load_x = [&](Fragments<kTokenTiles>& f) {
#pragma unroll
    for (int n = 0; n < kTokenTiles; ++n) {
#pragma unroll
      for (int s = 0; s < kPieces; ++s) {
        f.v[n][s] = LoadShared(x_at + n * tile_of_x + 32 * s,
                               32 * s < x_left && n * kTileTokens < tokens_left);
      }
    }
    x_at += kStep;
    x_left -= kStep;
  };

#pragma unroll
  for (int stage = 0; stage < kDepth; ++stage) {
    if (stage < groups) copy_w(stage);
    EndCopies();
  }

  LetNextKernelStart();
  WaitForPreviousKernel(mark);

  // x comes from a cache, sooner than W: its loads need less of a lead.
  Fragments<kTokenTiles> x[2];
  load_x(x[0]);
  load_x(x[1]);

  // Outputs of this thread in the reduction below. What a thread's only one adds to is fetched
  // early.
  constexpr int kOutputs = (kRows * kTokens + 32 * kWarps - 1) / (32 * kWarps);
  constexpr bool kFetchEarly = kOutputs == 1;
  float before = 0.0f;
  if constexpr (kFetchEarly) {
    const int row = first_row + threadIdx.x % kRows;
    const int token = threadIdx.x / kRows;
    if (p.accumulate && token < p.tokens && row < p.out_features) {
      before = p.out[static_cast<int64_t>(token) * p.out_features + row];
    }
  }

  float sums[kChains][kRowTiles][kTokenTiles][4] = {};
  int stage = 0;
  const auto multiply_group = [&](int group, Fragments<kTokenTiles>& b) {
    WaitForCopies<kDepth - 1>();
    __syncwarp();  // the other lanes' too
    const uint4* const w = ring + stage * kGroupPieces;
#pragma unroll
    for (int s = 0; s < kPieces; ++s) {
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
        const int at = 2 * r * kPieces * 32 + s * 32 + (g ^ s) * 4 + t;
        const uint4 low = w[at];
        const uint4 high = w[at + kPieces * 32];
#pragma unroll
        for (int n = 0; n < kTokenTiles; ++n) {
          MultiplyTile(sums[0][r][n], low.x, high.x, low.y, high.y, b.v[n][s].x, b.v[n][s].y);
          MultiplyTile(sums[kChains - 1][r][n], low.z, high.z, low.w, high.w, b.v[n][s].z,
                       b.v[n][s].w);
        }
      }
    }
    __syncwarp();  // all lanes have read what the next copies overwrite
    if (group + kDepth < groups) copy_w(stage);
    EndCopies();  // of nothing near the end: the wait counts groups
    stage = stage + 1 == kDepth ? 0 : stage + 1;
    load_x(b);
  };
  for (int group = 0; group < groups; group += 2) {
    multiply_group(group, x[0]);
    if (group + 1 < groups) multiply_group(group + 1, x[1]);
  }

  // The ring's places become the sums'.
  __syncwarp();
  float* const partial_sums = reinterpret_cast<float*>(rings);  // [kWarps, kTokens, kStride] ...
  constexpr int kWarpFloats = kWarpPieces * 4;                  // ... this far from warp to warp
  // Of lane 4 g + t: rows g and g + 8, tokens 2t and 2t + 1.
  float* const own_sums = partial_sums + warp * kWarpFloats;
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
    for (int n = 0; n < kTokenTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int token = n * kTileTokens + 2 * t + i % 2;
        const int row = r * kTileRows + g + 8 * (i / 2);
        float sum = sums[0][r][n][i];
        if constexpr (kChains == 2) sum += sums[1][r][n][i];
        own_sums[token * kStride + row] = sum;
      }
    }
  }
  __syncthreads();

#pragma unroll
  for (int i = 0; i < kOutputs; ++i) {
    const int output = threadIdx.x + i * 32 * kWarps;
    const int tile_row = output % kRows;
    const int row = first_row + tile_row;
    const int token = output / kRows;
    if (token >= p.tokens || row >= p.out_features) continue;
    const float* at = partial_sums + token * kStride + tile_row;
    const int64_t to = static_cast<int64_t>(token) * p.out_features + row;
    float sum = 0.0f;
    for (int source = 0; source < kWarps; ++source, at += kWarpFloats) sum += at[0];
    if (p.bias != nullptr) sum += __ldg(p.bias + row);
    if (!kFetchEarly && p.accumulate) before = p.out[to];
    p.out[to] = before + sum;
  }
}

// kBlocksPerSm: what the registers must suffice for.
template <int kRowTiles, int kTokenTiles, int kDepth, int kWarps, int kBlocksPerSm>
__global__ void __launch_bounds__(32 * kWarps, kBlocksPerSm)
    MatMulKernel(LaunchMark mark, const __grid_constant__ KernelParams params) {
  MatMulBody<kRowTiles, kTokenTiles, kDepth, kWarps>(mark, params);
}

}  // namespace tidal::cuda::skinny

#endif  // TIDAL_KERNELS_CUDA_SKINNY_MATMUL_KERNEL_CUH_
