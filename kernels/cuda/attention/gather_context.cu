#include "kernels/cuda/attention/gather_context.h"
#include "kernels/cuda/launch.cuh"

namespace tidal::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kZeroRows = 256;

struct Args {
  PagedKvCache kv;
  BlockTables tables;
  const int32_t* cu_query_lens;
  int32_t sequence;
  GatheredContext to;
};

// Grid: x cuts the context, y = KV heads.
__global__ void __launch_bounds__(kThreads)
    GatherKernel(LaunchMark mark, const __grid_constant__ Args args) {
  WaitForPreviousKernel(mark);
  const int sequence = args.sequence;
  if (args.cu_query_lens[sequence + 1] == args.cu_query_lens[sequence]) return;
  const int context_len = args.tables.context_lens[sequence];
  const int32_t* table = args.tables.OfRow(sequence);
  const int chunks = args.kv.head_dim / 8;  // of 16 bytes, a row
  const int rows = min(context_len + kZeroRows, args.to.capacity);
  const int64_t head = blockIdx.y;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < int64_t{rows} * chunks;
       i += int64_t{gridDim.x} * kThreads) {
    const int t = static_cast<int>(i / chunks), c = static_cast<int>(i % chunks);
    uint4 k = make_uint4(0, 0, 0, 0), v = k;
    if (t < context_len) {
      const int64_t row = (int64_t{table[t / args.kv.block_size]} * args.kv.num_kv_heads + head) *
                              args.kv.block_size +
                          t % args.kv.block_size;
      k = reinterpret_cast<const uint4*>(args.kv.k + row * args.kv.head_dim)[c];
      v = reinterpret_cast<const uint4*>(args.kv.v + row * args.kv.head_dim)[c];
    }
    const int64_t to = (head * args.to.capacity + t) * args.kv.head_dim;
    reinterpret_cast<uint4*>(args.to.k + to)[c] = k;
    reinterpret_cast<uint4*>(args.to.v + to)[c] = v;
  }
}

}  // namespace

void GatherContext(const PrefillAttentionParams& params, int32_t sequence,
                   const GatheredContext& to, DeviceContext& context) {
  const int64_t chunks = int64_t{params.max_context_len + kZeroRows} * params.kv.head_dim / 8;
  // Four rounds a thread, so that enough loads are in flight.
  const int64_t blocks = (chunks + 4 * kThreads - 1) / (4 * kThreads);
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(blocks), params.kv.num_kv_heads);
  shape.block = dim3(kThreads);
  Launch(context, "PrefillAttention", GatherKernel, shape,
         Args{params.kv, params.tables, params.cu_query_lens, sequence, to});
}

}  // namespace tidal::cuda
