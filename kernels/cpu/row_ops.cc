#include "kernels/cpu/row_ops.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace tidal::cpu {
namespace {

// Elements below which a loop is not worth handing out: some microseconds of work.
constexpr int64_t kMinElementsPerTask = 16384;

constexpr int32_t kMaxHeadDim = 256;  // of PagedKvCache

// Calls body(first, last) over disjoint ranges that cover [0, rows).
template <typename Body>
void ForRowRanges(ThreadPool& pool, int32_t rows, int64_t elements_per_row, const Body& body) {
  if (rows <= 0) return;
  const int64_t most = rows * elements_per_row / kMinElementsPerTask;
  const int32_t tasks = static_cast<int32_t>(
      std::clamp<int64_t>(most, 1, std::min<int64_t>(rows, 4 * pool.num_threads())));
  if (tasks == 1 || pool.num_threads() == 1) {
    body(0, rows);
    return;
  }
  pool.ParallelFor(tasks, [&](int32_t task, int /*worker*/) {
    body(static_cast<int32_t>(int64_t{rows} * task / tasks),
         static_cast<int32_t>(int64_t{rows} * (task + 1) / tasks));
  });
}

}  // namespace

const RowKernels& GetRowKernels([[maybe_unused]] bool avx512_bf16) {
#if TIDAL_CPU_AVX512
  if (avx512_bf16) return kAvx512RowKernels;
#endif
  return kPortableRowKernels;
}

void Embedding(const EmbeddingParams& p, ThreadPool& pool) {
  ForRowRanges(pool, p.tokens, p.hidden, [&](int32_t first, int32_t last) {
    for (int32_t i = first; i < last; ++i) {
      const int32_t id = p.token_ids[i];
      const bfloat16* row = p.table + int64_t{id < 0 ? p.last_tokens[~id] : id} * p.hidden;
      float* out = p.out + int64_t{i} * p.hidden;
      for (int32_t j = 0; j < p.hidden; ++j) out[j] = ToFloat(row[j]);
    }
  });
}

void UpdateTables(const UpdateTablesParams& p) {
  for (int32_t i = 0; i < *p.count; ++i) p.to[p.updates[2 * i]] = p.updates[2 * i + 1];
}

void RmsNorm(const RmsNormParams& p, const RowKernels& kernels, ThreadPool& pool) {
  const int64_t out_bytes = p.hidden * SizeOf(p.out_type);
  ForRowRanges(pool, p.tokens, p.hidden, [&](int32_t first, int32_t last) {
    for (int32_t i = first; i < last; ++i) {
      kernels.rms_norm(p.x + int64_t{i} * p.hidden, p.weight, p.epsilon, p.hidden, p.out_type,
                       static_cast<char*>(p.out) + i * out_bytes);
    }
  });
}

void RopeStoreKv(const RopeStoreKvParams& p, const RowKernels& kernels, ThreadPool& pool) {
  const int32_t head_dim = p.kv.head_dim;
  const int32_t kv_heads = p.kv.num_kv_heads;
  const int64_t row_size = int64_t{p.num_heads + 2 * kv_heads} * head_dim;
  const auto rotate = [&](const float* x, const bfloat16* norm, const float* cos_sin,
                          bfloat16* out) {
    float normed[kMaxHeadDim];
    if (norm != nullptr) {
      kernels.rms_norm(x, norm, p.norm_epsilon, head_dim, DType::kF32, normed);
      x = normed;
    }
    kernels.rotate(x, cos_sin, head_dim, out);
  };
  ForRowRanges(pool, p.tokens, row_size, [&](int32_t first, int32_t last) {
    for (int32_t i = first; i < last; ++i) {
      const float* q = p.qkv + i * row_size;
      const float* k = q + p.num_heads * head_dim;
      const float* v = k + kv_heads * head_dim;
      const float* cos_sin = p.cos_sin + int64_t{p.positions[i]} * head_dim;
      bfloat16* q_out = p.q + int64_t{i} * p.num_heads * head_dim;
      for (int32_t h = 0; h < p.num_heads; ++h) {
        rotate(q + h * head_dim, p.q_norm, cos_sin, q_out + h * head_dim);
      }
      if (p.slot_mapping[i] < 0) continue;
      const int32_t block = p.slot_mapping[i] / p.kv.block_size;
      const int32_t offset = p.slot_mapping[i] % p.kv.block_size;
      for (int32_t h = 0; h < kv_heads; ++h) {
        const int64_t row = (int64_t{block} * kv_heads + h) * p.kv.block_size + offset;
        rotate(k + h * head_dim, p.k_norm, cos_sin, p.kv.k + row * head_dim);
        kernels.to_bfloat16(v + h * head_dim, head_dim, p.kv.v + row * head_dim);
      }
    }
  });
}

void SwiGlu(const SwiGluParams& p, const RowKernels& kernels, ThreadPool& pool) {
  const int64_t out_bytes = p.intermediate * SizeOf(p.out_type);
  // An element costs an exponential: about four times one of the other operations.
  ForRowRanges(pool, p.tokens, int64_t{4} * p.intermediate, [&](int32_t first, int32_t last) {
    for (int32_t i = first; i < last; ++i) {
      const float* gate = p.gate_up + int64_t{i} * 2 * p.intermediate;
      kernels.swiglu(gate, gate + p.intermediate, p.intermediate, p.out_type,
                     static_cast<char*>(p.out) + i * out_bytes);
    }
  });
}

void GatherRows(const GatherRowsParams& p, ThreadPool& pool) {
  ForRowRanges(pool, p.count, p.row_bytes / 4, [&](int32_t first, int32_t last) {
    for (int32_t i = first; i < last; ++i) {
      std::memcpy(static_cast<char*>(p.out) + i * p.row_bytes,
                  static_cast<const char*>(p.x) + p.rows[i] * p.row_bytes, p.row_bytes);
    }
  });
}

// Box and Muller's two normal numbers from one hash: splitmix64 of the pair's index.
void FillRandom(bfloat16* dst, int64_t count, uint64_t seed, float deviation, ThreadPool& pool) {
  constexpr int64_t kChunk = 1 << 16;
  const auto chunks = static_cast<int32_t>((count + kChunk - 1) / kChunk);
  pool.ParallelFor(chunks, [&](int32_t chunk, int /*worker*/) {
    const int64_t end = std::min(count, (chunk + 1) * kChunk);
    for (int64_t i = chunk * kChunk; i < end; i += 2) {
      uint64_t x = seed * 0x9e3779b97f4a7c15u + static_cast<uint64_t>(i / 2) + 0x9e3779b97f4a7c15u;
      x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
      x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
      x ^= x >> 31;
      const float uniform = (static_cast<float>(x >> 40) + 0.5f) * 0x1p-24f;
      const float angle = static_cast<float>(x & 0xffffff) * (6.2831853f * 0x1p-24f);
      const float radius = deviation * std::sqrt(-2 * std::log(uniform));
      dst[i] = ToBFloat16(radius * std::cos(angle));
      if (i + 1 < end) dst[i + 1] = ToBFloat16(radius * std::sin(angle));
    }
  });
}

}  // namespace tidal::cpu
