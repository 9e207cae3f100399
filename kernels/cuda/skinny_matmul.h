// Matrix products of few tokens (decode), bound by reading the weight once. Tensor cores, the
// weight's rows as the rows of the instruction's first operand.
//
// The kernels start to read the weight before the kernel ahead of them in the stream has finished:
// weights must be complete before that kernel is launched.
#ifndef TIDAL_KERNELS_CUDA_SKINNY_MATMUL_H_
#define TIDAL_KERNELS_CUDA_SKINNY_MATMUL_H_

#include <cstdint>
#include <span>

#include "kernels/cuda/device_context.h"
#include "kernels/cuda/matmul_product.h"

namespace tidal::cuda {

constexpr int32_t kMaxSkinnyTokens = 16;

// How the work is cut. A block computes 16 * row_tiles rows of the weight, its warps share the
// columns; each warp keeps `depth` pieces of 16 * row_tiles rows by 64 columns on their way.
struct SkinnyTiling {
  int32_t row_tiles, depth, warps;
};

// All tilings there are; which is fastest depends on the shape and the device.
std::span<const SkinnyTiling> SkinnyTilings();
// Whether the device has the shared memory for it.
bool SkinnyTilingFits(int32_t tiling, const DeviceContext& context);
// A good one, untimed: an index into SkinnyTilings().
int32_t DefaultSkinnyTiling(int32_t out_features, int32_t in_features, int32_t tokens,
                            const DeviceContext& context);

// Once, before any product below. False when the device refuses; context.error then says why.
[[nodiscard]] bool PrepareSkinnyMatMul(DeviceContext& context);

// in_features a multiple of 8; weight and x aligned to 16 bytes; up to kMaxSkinnyTokens tokens.
bool SkinnyMatMulCovers(const MatMulProduct& product);

// Enqueues. Aborts on a product that is not covered and on a tiling that does not fit. The order of
// additions depends on in_features and the tiling only.
void SkinnyMatMul(const MatMulProduct& product, int32_t tiling, DeviceContext& context);

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_SKINNY_MATMUL_H_
