// FillRandom: a hash of the element's number, turned into normal numbers by Box and Muller's
// method.
#include <algorithm>

#include "kernels/cuda/bf16.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/row_ops.h"

namespace tidal::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWidth = 8;  // elements a thread makes

// The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): a bijection that mixes all bits.
__host__ __device__ inline uint64_t Mix(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9u;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

constexpr uint64_t kGoldenGamma = 0x9e3779b97f4a7c15u;

// Elements 2 * pair and 2 * pair + 1 of the sequence that `start` names.
__device__ inline float2 NormalPair(uint64_t start, int64_t pair, float deviation) {
  const uint64_t bits = Mix(start + static_cast<uint64_t>(pair + 1) * kGoldenGamma);
  // In (0, 1] for the logarithm, in [0, 1) for the angle; 24 bits are exact in float.
  const float u = static_cast<float>((bits >> 40) + 1) * 0x1p-24f;
  const float angle = static_cast<float>((bits >> 8) & 0xffffffu) * (6.28318531f * 0x1p-24f);
  const float radius = deviation * sqrtf(-2.0f * __logf(u));
  return make_float2(radius * __cosf(angle), radius * __sinf(angle));
}

// kAligned: dst is aligned to 16 bytes.
template <bool kAligned>
__global__ void __launch_bounds__(kThreads)
    FillRandomKernel(LaunchMark mark, bfloat16* dst, int64_t count, uint64_t start,
                     float deviation) {
  WaitForPreviousKernel(mark);
  const int64_t first = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kWidth;
  if (first >= count) return;
  uint32_t pairs[kWidth / 2];
#pragma unroll
  for (int j = 0; j < kWidth / 2; ++j) {
    const float2 x = NormalPair(start, first / 2 + j, deviation);
    pairs[j] = PackBFloat16(x.x, x.y);
  }
  if (kAligned && first + kWidth <= count) {
    *reinterpret_cast<uint4*>(dst + first) = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
    return;
  }
#pragma unroll
  for (int j = 0; j < kWidth; ++j) {
    if (first + j < count) {
      dst[first + j].bits = static_cast<uint16_t>(pairs[j / 2] >> (j % 2 * 16));
    }
  }
}

}  // namespace

void FillRandom(bfloat16* dst, int64_t count, uint64_t seed, float deviation,
                DeviceContext& context) {
  constexpr int64_t kPerBlock = int64_t{kThreads} * kWidth;
  LaunchShape shape;
  shape.grid =
      dim3(static_cast<unsigned>((std::max<int64_t>(count, 0) + kPerBlock - 1) / kPerBlock));
  shape.block = dim3(kThreads);
  const uint64_t start = Mix(seed + kGoldenGamma);
  Launch(context, "FillRandom", Aligned16(dst) ? FillRandomKernel<true> : FillRandomKernel<false>,
         shape, dst, count, start, deviation);
}

}  // namespace tidal::cuda
