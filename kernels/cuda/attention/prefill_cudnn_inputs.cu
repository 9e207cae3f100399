#include "kernels/cuda/attention/prefill_cudnn_inputs.h"
#include "kernels/cuda/launch.cuh"

namespace tidal::cuda {
namespace {

constexpr int kThreads = 256;

struct Args {
  PagedKvCache kv;
  BlockTables tables;
  const int32_t* cu_query_lens;
  int32_t num_sequences, first, row_elements;
  CudnnPrefillInputs inputs;
};

// Zeroes rows [from, B) of a block in every KV head of `cache`. A row is a multiple of 32 bytes.
__device__ void ZeroRows(bfloat16* cache, const PagedKvCache& kv, int32_t block, int from) {
  const int chunks = (kv.block_size - from) * kv.head_dim / 8;  // of 16 bytes, a head
  for (int i = threadIdx.x; i < chunks * kv.num_kv_heads; i += blockDim.x) {
    const int64_t row = (int64_t{block} * kv.num_kv_heads + i / chunks) * kv.block_size + from;
    reinterpret_cast<uint4*>(cache + row * kv.head_dim)[i % chunks] = make_uint4(0, 0, 0, 0);
  }
}

// Grid: x cuts the page table, y = the batch's sequences.
__global__ void __launch_bounds__(kThreads)
    InputsKernel(LaunchMark mark, const __grid_constant__ Args args) {
  WaitForPreviousKernel(mark);
  const CudnnPrefillInputs& in = args.inputs;
  const int slot = blockIdx.y;
  const int sequence = args.first + slot;
  const bool present = sequence < args.num_sequences;
  // An absent sequence has no queries, and the first one's first token as context.
  const int source = present ? sequence : args.first;
  const int begin = args.cu_query_lens[source];
  const int end = args.cu_query_lens[source + 1];
  // A sequence without queries needs no context of its own, and may have none.
  const bool has_queries = present && end > begin;
  const int context_len = has_queries ? args.tables.context_lens[source] : 1;
  const int32_t* table = args.tables.OfRow(source);
  const int block_size = args.kv.block_size;
  const int pages = (context_len + block_size - 1) / block_size;
  if (args.tables.context_lens[source] > 0) {
    const int32_t some_page = table[0];
    for (int i = blockIdx.x * kThreads + threadIdx.x; i < in.pages; i += gridDim.x * kThreads) {
      in.page_table[int64_t{slot} * in.pages + i] = i < pages ? table[i] : some_page;
    }
  }
  if (blockIdx.x != 0) return;
  if (threadIdx.x == 0) {
    const int last = args.cu_query_lens[args.num_sequences];
    in.query_lens[slot] = has_queries ? end - begin : 0;
    in.context_lens[slot] = context_len;
    in.row_offsets[slot] = (present ? begin : last) * args.row_elements;
    if (slot == in.batch - 1) {
      in.row_offsets[in.batch] = (present ? end : last) * args.row_elements;
    }
  }
  if (has_queries && context_len % block_size != 0) {
    const int32_t block = table[pages - 1];
    ZeroRows(args.kv.k, args.kv, block, context_len % block_size);
    ZeroRows(args.kv.v, args.kv, block, context_len % block_size);
  }
}

}  // namespace

void MakeCudnnPrefillInputs(const PrefillAttentionParams& params, int32_t first,
                            const CudnnPrefillInputs& inputs, DeviceContext& context) {
  Args args = {};
  args.kv = params.kv;
  args.tables = params.tables;
  args.cu_query_lens = params.cu_query_lens;
  args.num_sequences = params.num_sequences;
  args.first = first;
  args.row_elements = params.num_heads * params.kv.head_dim;
  args.inputs = inputs;
  LaunchShape shape;
  const int cuts = (inputs.pages + kThreads - 1) / kThreads;
  shape.grid = dim3(cuts < 16 ? cuts : 16, inputs.batch);
  shape.block = dim3(kThreads);
  Launch(context, "PrefillAttention", InputsKernel, shape, args);
}

}  // namespace tidal::cuda
