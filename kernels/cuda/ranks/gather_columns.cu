// GatherColumns: every rank writes its part into the memory of all others.
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "kernels/cuda/bf16.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ranks/peer_words.cuh"
#include "kernels/cuda/ranks/rank_ops.h"

namespace tidal::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kQuadsInFlight = 4;  // of a thread

// A piece of a part: quads of it as it lies in memory, row after row.
struct Args {
  const float* part;
  float* out;
  uint32_t first_quad, quads;
  uint32_t elements;  // of the whole part
  uint32_t part_columns, columns;
  bool aligned;  // quads are of one row, in `out` too, and aligned to 16 bytes
};

// A NaN with the bits of kAbsent becomes another.
__device__ inline uint32_t Sendable(float x) {
  const uint32_t bits = __float_as_uint(x);
  return bits == kAbsent ? 0x7fffffffu : bits;
}

__device__ inline uint4 LoadQuad(const Args& args, uint32_t quad) {
  const uint32_t first = 4 * (args.first_quad + quad);
  if (args.aligned) {
    const float4 f = *reinterpret_cast<const float4*>(args.part + first);
    return {Sendable(f.x), Sendable(f.y), Sendable(f.z), Sendable(f.w)};
  }
  const auto element = [&](uint32_t i) { return i < args.elements ? Sendable(args.part[i]) : 0u; };
  return {element(first), element(first + 1), element(first + 2), element(first + 3)};
}

__device__ inline void StoreQuad(const Args& args, uint32_t quad, int rank, const uint4& words) {
  const uint32_t first = 4 * (args.first_quad + quad);
  const float4 f = make_float4(__uint_as_float(words.x), __uint_as_float(words.y),
                               __uint_as_float(words.z), __uint_as_float(words.w));
  if (args.aligned) {
    const uint32_t column = rank * args.part_columns + first % args.part_columns;
    if (column >= args.columns) return;
    Store4(args.out + uint64_t{first / args.part_columns} * args.columns + column, f);
    return;
  }
  const auto store = [&](uint32_t i, float x) {
    const uint32_t column = rank * args.part_columns + i % args.part_columns;
    if (i >= args.elements || column >= args.columns) return;
    args.out[uint64_t{i / args.part_columns} * args.columns + column] = x;
  };
  store(first, f.x);
  store(first + 1, f.y);
  store(first + 2, f.z);
  store(first + 3, f.w);
}

__global__ void __launch_bounds__(kThreads)
    GatherColumnsKernel(LaunchMark mark, const __grid_constant__ Channel channel,
                        const __grid_constant__ Args args) {
  if (channel.let_next_start) LetNextKernelStart();
  WaitForPreviousKernel(mark);
  Epoch epoch(channel);
  const uint32_t stride = gridDim.x * kThreads;
  const uint32_t mine = blockIdx.x * kThreads + threadIdx.x;
  for (uint32_t begin = mine; begin < args.quads; begin += kQuadsInFlight * stride) {
    uint4 words[kQuadsInFlight];
#pragma unroll
    for (int n = 0; n < kQuadsInFlight; ++n) {
      const uint32_t quad = begin + n * stride;
      if (quad < args.quads) words[n] = LoadQuad(args, quad);
    }
    for (int i = 1; i < channel.ranks; ++i) {
      uint4* const outbox = epoch.Outbox((channel.rank + i) % channel.ranks);
#pragma unroll
      for (int n = 0; n < kQuadsInFlight; ++n) {
        const uint32_t quad = begin + n * stride;
        if (quad < args.quads) Send(outbox + quad, words[n]);
      }
    }
#pragma unroll
    for (int n = 0; n < kQuadsInFlight; ++n) {
      const uint32_t quad = begin + n * stride;
      if (quad < args.quads) StoreQuad(args, quad, channel.rank, words[n]);
    }
  }
  epoch.Arrive();
  for (int i = 1; i < channel.ranks; ++i) {
    const int from = (channel.rank + channel.ranks - i) % channel.ranks;
    uint4* const inbox = epoch.Inbox(from);
    for (uint32_t begin = mine; begin < args.quads; begin += kQuadsInFlight * stride) {
      uint4 words[kQuadsInFlight];
#pragma unroll
      for (int n = 0; n < kQuadsInFlight; ++n) {
        const uint32_t quad = begin + n * stride;
        if (quad < args.quads) words[n] = Look(inbox + quad);
      }
#pragma unroll
      for (int n = 0; n < kQuadsInFlight; ++n) {
        const uint32_t quad = begin + n * stride;
        if (quad >= args.quads) break;
        while (!HasCome(words[n]) && epoch.LookAgain()) words[n] = Look(inbox + quad);
        Clear(inbox + quad);
        StoreQuad(args, quad, from, words[n]);
      }
    }
  }
}

}  // namespace

void GatherColumns(const GatherColumnsParams& p, const Channel& channel, DeviceContext& context) {
  if (p.rows <= 0) return;
  const int64_t elements = int64_t{p.rows} * p.part_columns;
  if (elements > INT32_MAX || int64_t{p.part_columns} * channel.ranks > INT32_MAX) {
    std::fprintf(stderr, "GatherColumns: %d rows of %d columns are too many\n", p.rows,
                 p.part_columns);
    std::abort();
  }
  Args args{};
  args.part = p.part;
  args.out = p.out;
  args.elements = static_cast<uint32_t>(elements);
  args.part_columns = static_cast<uint32_t>(p.part_columns);
  args.columns = static_cast<uint32_t>(p.columns);
  args.aligned = p.part_columns % 4 == 0 && p.columns % 4 == 0 && Aligned16(p.part, p.out);
  const auto quads = static_cast<uint32_t>((elements + 3) / 4);
  const auto piece = static_cast<uint32_t>(std::min<int64_t>(channel.slot_quads, INT32_MAX));
  for (args.first_quad = 0; args.first_quad < quads; args.first_quad += args.quads) {
    args.quads = std::min(piece, quads - args.first_quad);
    const unsigned blocks =
        std::min<unsigned>((args.quads + kThreads - 1) / kThreads, channel.max_blocks);
    Launch(context, "GatherColumns", GatherColumnsKernel,
           {.grid = dim3(blocks), .block = dim3(kThreads)}, channel, args);
  }
}

}  // namespace tidal::cuda
