#include "kernels/cpu/attention/prefill.h"

#include <algorithm>
#include <vector>

#include "kernels/cpu/aligned_memory.h"
#include "kernels/cpu/attention/prefill_tile.h"

namespace tidal::cpu {
namespace {

// Fewer rows than this a task and the packing of the keys weighs more than the spread over threads.
constexpr int32_t kMinQueryTileRows = 48;

// Query tokens of a task: as many as the scratch holds, fewer where that would leave threads idle.
int32_t TokensPerTile(const PrefillAttentionParams& p, int num_threads) {
  const int32_t group = p.num_heads / p.kv.num_kv_heads;
  const int64_t rows = int64_t{p.cu_query_lens[p.num_sequences]} * p.num_heads;
  const int64_t even = rows / (4 * num_threads);
  const int64_t tile_rows = std::clamp<int64_t>(even, kMinQueryTileRows, kQueryTileRows);
  return std::max<int32_t>(1, static_cast<int32_t>(tile_rows / group));
}

}  // namespace

struct PrefillWorkspace::Buffers {
  AlignedArray<char> memory;
  std::vector<PrefillScratch> workers;
  std::vector<PrefillTile> tiles;  // of one call
};

PrefillWorkspace::PrefillWorkspace() : buffers_(std::make_unique<Buffers>()) {}
PrefillWorkspace::~PrefillWorkspace() = default;

bool PrefillWorkspace::Reserve(const BackendLimits& limits, int num_threads) {
  const size_t head_dim = limits.head_dim;
  const size_t rows = std::max(kQueryTileRows, limits.num_heads / limits.num_kv_heads);
  // Every part is a multiple of 64 bytes, because head_dim is one of 16.
  const size_t packed = kKeyTile * head_dim / 2 * sizeof(uint32_t);
  const size_t floats = kKeyTile * head_dim * sizeof(float);
  const size_t q = rows * head_dim * sizeof(bfloat16);
  const size_t acc = rows * head_dim * sizeof(float);
  const size_t max = (rows + 15) / 16 * 16 * sizeof(float);
  const size_t sum = rows * 16 * sizeof(float);
  const size_t worker_bytes = 2 * packed + 2 * floats + q + acc + max + sum;
  buffers_->memory = MakeAlignedArray<char>(worker_bytes * num_threads);
  if (buffers_->memory == nullptr) return false;
  char* next = buffers_->memory.get();
  const auto take = [&next](size_t bytes) {
    char* part = next;
    next += bytes;
    return part;
  };
  buffers_->workers.clear();
  for (int i = 0; i < num_threads; ++i) {
    PrefillScratch scratch;
    scratch.k = reinterpret_cast<uint32_t*>(take(packed));
    scratch.v = reinterpret_cast<uint32_t*>(take(packed));
    scratch.key_floats = reinterpret_cast<float*>(take(floats));
    scratch.value_floats = reinterpret_cast<float*>(take(floats));
    scratch.q = reinterpret_cast<bfloat16*>(take(q));
    scratch.acc = reinterpret_cast<float*>(take(acc));
    scratch.max = reinterpret_cast<float*>(take(max));
    scratch.sum = reinterpret_cast<float*>(take(sum));
    buffers_->workers.push_back(scratch);
  }
  return true;
}

void PrefillAttention(const PrefillAttentionParams& p, [[maybe_unused]] bool avx512_bf16,
                      ThreadPool& pool, PrefillWorkspace& workspace) {
  PrefillWorkspace::Buffers& buffers = workspace.buffers();
  std::vector<PrefillTile>& tiles = buffers.tiles;
  tiles.clear();
  if (p.num_sequences <= 0) return;
  const int32_t tile_tokens = TokensPerTile(p, pool.num_threads());
  for (int32_t s = 0; s < p.num_sequences; ++s) {
    const int32_t begin = p.cu_query_lens[s], end = p.cu_query_lens[s + 1];
    const int32_t cached = p.tables.context_lens[s] - (end - begin);
    for (int32_t first = begin; first < end; first += tile_tokens) {
      for (int32_t kv_head = 0; kv_head < p.kv.num_kv_heads; ++kv_head) {
        tiles.push_back({.params = &p,
                         .blocks = p.tables.OfRow(s),
                         .kv_head = kv_head,
                         .first_token = first,
                         .num_tokens = std::min(tile_tokens, end - first),
                         .first_position = cached + first - begin});
      }
    }
  }
  // The longest first, so that the threads finish together.
  const auto work = [](const PrefillTile& tile) {
    return int64_t{tile.first_position + tile.num_tokens - FirstKeyTile(tile)} * tile.num_tokens;
  };
  std::sort(tiles.begin(), tiles.end(),
            [&](const PrefillTile& a, const PrefillTile& b) { return work(a) > work(b); });
  pool.ParallelFor(static_cast<int32_t>(tiles.size()), [&](int32_t i, int worker) {
#if TIDAL_CPU_AVX512
    if (avx512_bf16) return AttendPrefillTileAvx512(tiles[i], buffers.workers[worker]);
#endif
    AttendPrefillTilePortable(tiles[i], buffers.workers[worker]);
  });
}

}  // namespace tidal::cpu
