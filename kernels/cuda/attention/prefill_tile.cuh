// Tiles of rows of kDim bf16 in shared memory, and how a block fills them. A row's 16-byte chunks
// are permuted by an XOR with the row number, so that the eight rows of a matrix load lie in
// different banks.
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_PREFILL_TILE_CUH_
#define TIDAL_KERNELS_CUDA_ATTENTION_PREFILL_TILE_CUH_

#include <cstdint>

#include "kernels/cuda/attention/attention_mma.cuh"
#include "kernels/types.h"

namespace tidal::cuda::prefill {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;

// What the kernel needs of PrefillAttentionParams, and numbers derived from it.
struct Args {
  const bfloat16* q;  // [tokens, H, D]
  const bfloat16* k;  // [num_blocks, KV, B, D]
  const bfloat16* v;
  const int32_t* blocks;          // [sequence slots, stride]
  const int32_t* sequence_slots;  // [num_sequences]
  const int32_t* context_lens;
  const int32_t* cu_query_lens;
  void* out;  // [tokens, H, D]
  int32_t stride;
  int32_t num_heads, num_kv_heads, group;
  int32_t head_dim;
  int32_t block_shift;     // log2(B)
  int32_t block_elements;  // KV * B * D
  int32_t row_tiles;       // of the longest chunk
  float scale_log2;        // softmax_scale * log2(e)
  int32_t window;          // of FirstVisible(); the largest number there is instead of 0
  bool out_is_float;
};

template <int kDim>
struct TileLayout {
  static constexpr int kChunks = kDim / 8;  // of 16 bytes, a row
  static constexpr int kRowBytes = kDim * 2;
  static constexpr int kRowsPerPass = kThreads / kChunks;  // the block copies so many at once
  static_assert(kDim == 32 || kDim == 64 || kDim == 128 || kDim == 256);

  // What row `row` XORs its chunk numbers with. The same for rows that differ by multiples of 8.
  __device__ static uint32_t Swizzle(uint32_t row) {
    return kChunks >= 8 ? (row & 7) : ((row >> 1) & 3);
  }
  __device__ static uint32_t Offset(uint32_t row, uint32_t chunk) {
    return row * kRowBytes + ((chunk ^ Swizzle(row)) << 4);
  }
};

// Copies the K and V tiles of one sequence and KV head, kKeys keys each, one after the other.
template <int kDim, int kKeys>
class KvLoader {
  using Layout = TileLayout<kDim>;
  static constexpr int kPasses = kKeys / Layout::kRowsPerPass;
  // A thread's rows of a tile lie in kIds groups that are in one cache block each, since a cache
  // block holds a multiple of 16 tokens.
  static constexpr int kIdStep = Layout::kRowsPerPass > 16 ? Layout::kRowsPerPass : 16;
  static constexpr int kIds = kKeys / kIdStep;
  static constexpr int kPassesPerId = kPasses / kIds;
  static_assert(kPasses >= 1 && kIds >= 1 && kPassesPerId * kIds == kPasses);

 public:
  static constexpr uint32_t kTileBytes = kKeys * Layout::kRowBytes;

  // Begins with the tile of key_begin. Keys before it and from `key_end` on read as zeros.
  __device__ KvLoader(const Args& args, int sequence, int kv_head, int key_begin, int key_end)
      : args_(args),
        table_(args.blocks + int64_t{args.sequence_slots[sequence]} * args.stride),
        key_begin_(key_begin),
        key_end_(key_end),
        row_(threadIdx.x / Layout::kChunks),
        head_offset_((kv_head << args.block_shift) * args.head_dim + Chunk() * 8),
        first_key_(key_begin / kKeys * kKeys) {
    ReadTable();
  }

  // Starts the copy of the next tile: K to `shared`, V behind it.
  __device__ void CopyNext(uint32_t shared) {
    const int block_mask = (1 << args_.block_shift) - 1;
    const bool chunk_valid = Chunk() * 8 < args_.head_dim;
#pragma unroll
    for (int i = 0; i < kIds; ++i) {
      const int64_t block = int64_t{ids_[i]} * args_.block_elements + head_offset_;
#pragma unroll
      for (int p = i * kPassesPerId; p < (i + 1) * kPassesPerId; ++p) {
        const int row = row_ + p * Layout::kRowsPerPass;
        const int key = first_key_ + row;
        const bool valid = chunk_valid && key >= key_begin_ && key < key_end_;
        const int64_t at = valid ? block + (key & block_mask) * args_.head_dim : int64_t{0};
        const uint32_t to = shared + Layout::Offset(row, Chunk());
        mma::CopyAsync(to, args_.k + at, valid);
        mma::CopyAsync(to + kTileBytes, args_.v + at, valid);
      }
    }
    first_key_ += kKeys;
    ReadTable();
  }

 private:
  __device__ static int Chunk() { return threadIdx.x % Layout::kChunks; }

  // The blocks of the tile at first_key_, early enough to be there when they are needed.
  __device__ void ReadTable() {
#pragma unroll
    for (int i = 0; i < kIds; ++i) {
      const int key = first_key_ + i * kIdStep + (row_ & ~15);
      ids_[i] = key < key_end_ ? table_[key >> args_.block_shift] : 0;
    }
  }

  const Args& args_;
  const int32_t* table_;
  int key_begin_, key_end_;
  int row_;          // of the first pass
  int head_offset_;  // elements from a block's start to this thread's chunk of the head's first row
  int first_key_;
  int32_t ids_[kIds];
};

// Copies rows first_row .. first_row + kRows - 1 of a chunk's queries; those from `rows` on are
// zeros. Row r is query head kv_head * group + r % group of the chunk's token r / group; `q` is the
// chunk's first token.
template <int kDim, int kRows>
__device__ inline void CopyQueries(const Args& args, const bfloat16* q, int kv_head, int first_row,
                                   int rows, uint32_t shared) {
  using Layout = TileLayout<kDim>;
  const int chunk = threadIdx.x % Layout::kChunks;
#pragma unroll 4
  for (int r = threadIdx.x / Layout::kChunks; r < kRows; r += Layout::kRowsPerPass) {
    const unsigned row = first_row + r, group = args.group;
    const bool valid = row < unsigned(rows) && chunk * 8 < args.head_dim;
    const int64_t head =
        int64_t{row / group} * args.num_heads + kv_head * args.group + int(row % group);
    const int64_t at = valid ? head * args.head_dim + chunk * 8 : int64_t{0};
    mma::CopyAsync(shared + Layout::Offset(r, chunk), q + at, valid);
  }
}

}  // namespace tidal::cuda::prefill

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_PREFILL_TILE_CUH_
