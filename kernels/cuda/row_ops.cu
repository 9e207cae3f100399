// Embedding, SwiGlu, GatherRows and UpdateTables: every element is read once and written once, so
// that a block takes a piece of one row and each thread 16 bytes or four elements of it.
#include <algorithm>

#include "kernels/cuda/bf16.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/row_ops.h"

namespace tidal::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int32_t kMaxGridY = 65535;

// One block for each kThreads of the `items` of a row, `rows` rows along x. Threads stride over the
// items, should a row have more than a grid can be wide.
LaunchShape RowShape(int32_t rows, int64_t items) {
  LaunchShape shape;
  const int64_t blocks = (items + kThreads - 1) / kThreads;
  shape.grid = dim3(static_cast<unsigned>(std::max(rows, 0)),
                    static_cast<unsigned>(std::min<int64_t>(blocks, kMaxGridY)));
  shape.block = dim3(kThreads);
  return shape;
}

// kWidth: elements a thread takes at a time, 8 (16 bytes) or 1. items = hidden / kWidth.
template <int kWidth>
__global__ void __launch_bounds__(kThreads)
    EmbeddingKernel(LaunchMark mark, const bfloat16* table, const int32_t* token_ids,
                    const int32_t* last_tokens, float* out, int32_t items) {
  LetNextKernelStart();
  WaitForPreviousKernel(mark);
  const int64_t row = blockIdx.x;
  const int32_t id = token_ids[row];
  const bfloat16* in = table + int64_t{id < 0 ? last_tokens[~id] : id} * items * kWidth;
  float* to = out + row * items * kWidth;
  for (int32_t i = blockIdx.y * kThreads + threadIdx.x; i < items; i += gridDim.y * kThreads) {
    if constexpr (kWidth == 8) {
      const uint4 x = reinterpret_cast<const uint4*>(in)[i];
      float4* pair = reinterpret_cast<float4*>(to) + 2 * i;
      pair[0] =
          make_float4(LowBFloat16(x.x), HighBFloat16(x.x), LowBFloat16(x.y), HighBFloat16(x.y));
      pair[1] =
          make_float4(LowBFloat16(x.z), HighBFloat16(x.z), LowBFloat16(x.w), HighBFloat16(x.w));
    } else {
      to[i] = BFloat16ToFloat(in[i]);
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    UpdateTablesKernel(LaunchMark mark, int32_t* to, const int2* updates, const int32_t* count) {
  LetNextKernelStart();
  WaitForPreviousKernel(mark);
  const int32_t i = blockIdx.x * kThreads + threadIdx.x;
  if (i < *count) to[updates[i].x] = updates[i].y;
}

// An infinite exponential makes the result zero, as it must: silu(-large) = -0.
__device__ inline float SwiGluOf(float gate, float up) {
  return __fdividef(gate, 1.0f + expf(-gate)) * up;
}

// kWidth: 4 or 1. items = intermediate / kWidth.
template <int kWidth, typename Out>
__global__ void __launch_bounds__(kThreads)
    SwiGluKernel(LaunchMark mark, const float* gate_up, Out* out, int32_t items) {
  LetNextKernelStart();
  WaitForPreviousKernel(mark);
  const int64_t row = blockIdx.x;
  const float* gate = gate_up + row * 2 * items * kWidth;
  const float* up = gate + int64_t{items} * kWidth;
  Out* to = out + row * items * kWidth;
  for (int32_t i = blockIdx.y * kThreads + threadIdx.x; i < items; i += gridDim.y * kThreads) {
    if constexpr (kWidth == 4) {
      const float4 g = reinterpret_cast<const float4*>(gate)[i];
      const float4 u = reinterpret_cast<const float4*>(up)[i];
      Store4(to + 4 * i, make_float4(SwiGluOf(g.x, u.x), SwiGluOf(g.y, u.y), SwiGluOf(g.z, u.z),
                                     SwiGluOf(g.w, u.w)));
    } else {
      Store(to + i, SwiGluOf(gate[i], up[i]));
    }
  }
}

template <typename Out>
void LaunchSwiGlu(const SwiGluParams& p, DeviceContext& context) {
  Out* out = static_cast<Out*>(p.out);
  if (p.intermediate % 4 == 0 && Aligned16(p.gate_up, p.out)) {
    const int32_t items = p.intermediate / 4;
    Launch(context, "SwiGlu", SwiGluKernel<4, Out>, RowShape(p.tokens, items), p.gate_up, out,
           items);
  } else {
    Launch(context, "SwiGlu", SwiGluKernel<1, Out>, RowShape(p.tokens, p.intermediate), p.gate_up,
           out, p.intermediate);
  }
}

// Word: what a thread copies at a time. items = row_bytes / sizeof(Word).
template <typename Word>
__global__ void __launch_bounds__(kThreads)
    GatherKernel(LaunchMark mark, const Word* x, const int32_t* rows, Word* out, int64_t items) {
  LetNextKernelStart();
  WaitForPreviousKernel(mark);
  const int64_t row = blockIdx.x;
  const Word* in = x + rows[row] * items;
  Word* to = out + row * items;
  const int64_t stride = int64_t{gridDim.y} * kThreads;
  for (int64_t i = int64_t{blockIdx.y} * kThreads + threadIdx.x; i < items; i += stride) {
    to[i] = in[i];
  }
}

template <typename Word>
void LaunchGather(const GatherRowsParams& p, DeviceContext& context) {
  const int64_t items = p.row_bytes / static_cast<int64_t>(sizeof(Word));
  Launch(context, "GatherRows", GatherKernel<Word>, RowShape(p.count, items),
         static_cast<const Word*>(p.x), p.rows, static_cast<Word*>(p.out), items);
}

}  // namespace

void Embedding(const EmbeddingParams& p, DeviceContext& context) {
  if (p.hidden % 8 == 0 && Aligned16(p.table, p.out)) {
    const int32_t items = p.hidden / 8;
    Launch(context, "Embedding", EmbeddingKernel<8>, RowShape(p.tokens, items), p.table,
           p.token_ids, p.last_tokens, p.out, items);
  } else {
    Launch(context, "Embedding", EmbeddingKernel<1>, RowShape(p.tokens, p.hidden), p.table,
           p.token_ids, p.last_tokens, p.out, p.hidden);
  }
}

void UpdateTables(const UpdateTablesParams& p, DeviceContext& context) {
  if (p.max_count == 0) return;
  Launch(context, "UpdateTables", UpdateTablesKernel,
         RowShape((p.max_count + kThreads - 1) / kThreads, 1), p.to,
         reinterpret_cast<const int2*>(p.updates), p.count);
}

void SwiGlu(const SwiGluParams& p, DeviceContext& context) {
  if (p.out_type == DType::kBF16) {
    LaunchSwiGlu<bfloat16>(p, context);
  } else {
    LaunchSwiGlu<float>(p, context);
  }
}

void GatherRows(const GatherRowsParams& p, DeviceContext& context) {
  const uintptr_t all = reinterpret_cast<uintptr_t>(p.x) | reinterpret_cast<uintptr_t>(p.out) |
                        static_cast<uintptr_t>(p.row_bytes);
  if (all % 16 == 0) {
    LaunchGather<uint4>(p, context);
  } else if (all % 4 == 0) {
    LaunchGather<uint32_t>(p, context);
  } else {
    LaunchGather<uint8_t>(p, context);
  }
}

}  // namespace tidal::cuda
