// The instructions the attention kernels are made of: asynchronous copies into shared memory,
// matrix loads from it, and the tensor cores' 16 x 8 x 16 product of bf16 with float sums.
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_ATTENTION_MMA_CUH_
#define TIDAL_KERNELS_CUDA_ATTENTION_ATTENTION_MMA_CUH_

#include <cstdint>

namespace tidal::cuda::mma {

// Copies 16 bytes, or writes zeros where `valid` is false: `src` is then not read. Both addresses
// are multiples of 16.
__device__ inline void CopyAsync(uint32_t shared_dst, const void* src, bool valid) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;\n" ::"r"(shared_dst),
               "l"(src), "r"(bytes)
               : "memory");
}
// The same of what is not read again soon: it leaves the L2 cache before anything else.
__device__ inline void CopyAsyncOnce(uint32_t shared_dst, const void* src, bool valid) {
  const int bytes = valid ? 16 : 0;
  asm volatile(
      "{\n.reg .b64 policy;\n"
      "createpolicy.fractional.L2::evict_first.b64 policy, 1.0;\n"
      "cp.async.cg.shared.global.L2::cache_hint.L2::128B [%0], [%1], 16, %2, policy;\n}\n" ::"r"(
          shared_dst),
      "l"(src), "r"(bytes)
      : "memory");
}
__device__ inline void CommitCopies() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
__device__ inline void WaitForCopies() { asm volatile("cp.async.wait_group 0;\n" ::: "memory"); }

// Four 8 x 8 matrices: lane l gives the address of row l % 8 of matrix l / 8, and receives elements
// 2 (l % 4) and the next of row l / 4 of each.
__device__ inline void LoadMatrices(uint32_t (&to)[4], uint32_t shared_row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_row)
               : "memory");
}
// The same of the transposed matrices.
__device__ inline void LoadMatricesTransposed(uint32_t (&to)[4], uint32_t shared_row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_row)
               : "memory");
}

// sum += a b. Lane l holds of the sum, with g = l / 4 and c = 2 (l % 4): (g, c), (g, c + 1),
// (g + 8, c), (g + 8, c + 1).
__device__ inline void MultiplyAdd(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0,
                                   uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Two floats rounded to bf16, `low` in the low half.
__device__ inline uint32_t PackBf16(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;\n" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

// 2^x, to 2 units in the last place; 0 at minus infinity.
__device__ inline float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace tidal::cuda::mma

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_ATTENTION_MMA_CUH_
