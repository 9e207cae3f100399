// What decode attention tells the L2 cache of data that one block writes and another soon reads,
// once: to keep it meanwhile, and not to write it to memory afterwards. Between reads a few bytes
// written cost the memory as much time as several times as many read.
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_DECODE_L2_CUH_
#define TIDAL_KERNELS_CUDA_ATTENTION_DECODE_L2_CUH_

#include <cstdint>

namespace tidal::cuda::decode {

// Stores 16 bytes that are read again soon: the L2 cache keeps them before anything else.
__device__ inline void StoreForSoon(void* to, const uint4& x) {
  asm volatile(
      "{\n.reg .b64 policy;\n"
      "createpolicy.fractional.L2::evict_last.b64 policy, 1.0;\n"
      "st.global.L2::cache_hint.v4.b32 [%0], {%1, %2, %3, %4}, policy;\n}\n" ::"l"(to),
      "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w)
      : "memory");
}
__device__ inline void StoreForSoon(void* to, const float4& x) {
  StoreForSoon(to, make_uint4(__float_as_uint(x.x), __float_as_uint(x.y), __float_as_uint(x.z),
                              __float_as_uint(x.w)));
}

// Forgets a line of 128 bytes: what the L2 cache holds of it need not be written to memory. Nobody
// may read it before it is written again.
__device__ inline void Discard(void* line) {
  asm volatile("discard.global.L2 [%0], 128;\n" ::"l"(line) : "memory");
}

}  // namespace tidal::cuda::decode

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_DECODE_L2_CUH_
