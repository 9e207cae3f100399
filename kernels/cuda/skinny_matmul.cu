#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iterator>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/skinny_matmul.h"
#include "kernels/cuda/skinny_matmul_kernel.cuh"

namespace tidal::cuda {
namespace {

using skinny::KernelParams;
using skinny::kTileRows;
using skinny::kTileTokens;
using skinny::MatMulKernel;

using Kernel = void (*)(LaunchMark, KernelParams);

struct Variant {
  SkinnyTiling tiling;
  int blocks_per_sm;  // that shared memory and registers have room for, on sm_90
  Kernel up_to_8_tokens, up_to_16_tokens;
};

template <int kRowTiles, int kDepth, int kWarps, int kBlocks>
constexpr Variant MakeVariant() {
  return {{kRowTiles, kDepth, kWarps},
          kBlocks,
          MatMulKernel<kRowTiles, 1, kDepth, kWarps, kBlocks>,
          MatMulKernel<kRowTiles, 2, kDepth, kWarps, kBlocks>};
}

constexpr Variant kVariants[] = {
    MakeVariant<1, 4, 8, 3>(), MakeVariant<1, 6, 8, 2>(), MakeVariant<1, 6, 16, 1>(),
    MakeVariant<1, 6, 4, 4>(), MakeVariant<2, 3, 8, 2>(), MakeVariant<2, 4, 4, 3>(),
    MakeVariant<1, 2, 8, 3>(), MakeVariant<4, 3, 4, 2>(),
};
constexpr int32_t kNumVariants = std::size(kVariants);

constexpr auto kTilings = [] {
  std::array<SkinnyTiling, kNumVariants> tilings = {};
  for (int32_t i = 0; i < kNumVariants; ++i) tilings[i] = kVariants[i].tiling;
  return tilings;
}();

// Of the rings.
constexpr size_t SharedBytes(const SkinnyTiling& tiling) {
  return size_t{2} * tiling.warps * tiling.depth * kTileRows * tiling.row_tiles *
         skinny::kGroupColumns;
}

bool IsAligned(const void* p, size_t bytes) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; }

const __nv_bfloat16* AsDevice(const bfloat16* p) {
  return reinterpret_cast<const __nv_bfloat16*>(p);
}

}  // namespace

std::span<const SkinnyTiling> SkinnyTilings() { return kTilings; }

bool SkinnyTilingFits(int32_t tiling, const DeviceContext& context) {
  return SharedBytes(kTilings[tiling]) <= context.max_shared_memory;
}

int32_t DefaultSkinnyTiling(int32_t out_features, int32_t in_features, int32_t tokens,
                            const DeviceContext& context) {
  constexpr int32_t kManyBlocks = 0, kDeep = 1, kManyWarps = 2, kFewWarps = 3, kTall = 4;
  const int32_t row_tiles = (out_features + kTileRows - 1) / kTileRows;
  // Fewer columns than eight warps can keep in flight.
  if (in_features <= 16 * skinny::kGroupColumns) return kFewWarps;
  if (row_tiles <= context.num_sms && SkinnyTilingFits(kManyWarps, context)) return kManyWarps;
  if (row_tiles <= 2 * context.num_sms && SkinnyTilingFits(kDeep, context)) return kDeep;
  // More rows a block: x is read less often.
  const bool tall = tokens > kTileTokens && row_tiles > 4 * context.num_sms;
  return tall && SkinnyTilingFits(kTall, context) ? kTall : kManyBlocks;
}

bool PrepareSkinnyMatMul(DeviceContext& context) {
  int device = 0, shared_per_sm = 0;
  if (!context.Check(cudaGetDevice(&device), "PrepareSkinnyMatMul") ||
      !context.Check(cudaDeviceGetAttribute(&shared_per_sm,
                                            cudaDevAttrMaxSharedMemoryPerMultiprocessor, device),
                     "PrepareSkinnyMatMul")) {
    return false;
  }
  const auto prepare = [&](const Variant& variant) {
    const size_t bytes = SharedBytes(variant.tiling);
    if (bytes > context.max_shared_memory) return true;
    // Room for all blocks, the rest of the memory caches x. The device reserves 1 KiB a block, and
    // rounds the percentage up to a size that it has.
    const size_t percent = 100 * variant.blocks_per_sm * (bytes + 1024) / shared_per_sm;
    for (const Kernel kernel : {variant.up_to_8_tokens, variant.up_to_16_tokens}) {
      if (!context.Check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                              static_cast<int>(bytes)),
                         "PrepareSkinnyMatMul") ||
          !context.Check(
              cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                   static_cast<int>(std::min(percent, size_t{100}))),
              "PrepareSkinnyMatMul")) {
        return false;
      }
    }
    return true;
  };
  return std::all_of(std::begin(kVariants), std::end(kVariants), prepare);
}

bool SkinnyMatMulCovers(const MatMulProduct& product) {
  return product.in_features % 8 == 0 && product.tokens <= kMaxSkinnyTokens &&
         IsAligned(product.weight, 16) && IsAligned(product.x, 16);
}

void SkinnyMatMul(const MatMulProduct& product, int32_t tiling, DeviceContext& context) {
  if (!SkinnyMatMulCovers(product) || tiling < 0 || tiling >= kNumVariants ||
      !SkinnyTilingFits(tiling, context)) {
    std::fprintf(stderr, "SkinnyMatMul: %d x %d, %d tokens, tiling %d is not covered\n",
                 product.out_features, product.in_features, product.tokens, tiling);
    std::abort();
  }
  if (product.tokens <= 0) return;
  const SkinnyTiling& shape = kTilings[tiling];
  const int32_t rows = kTileRows * shape.row_tiles;
  KernelParams params = {};
  params.weight = AsDevice(product.weight);
  params.x = AsDevice(product.x);
  params.out = product.y;
  params.out_features = product.out_features;
  params.in_features = product.in_features;
  params.tokens = product.tokens;
  params.accumulate = product.accumulate;
  params.bias = product.bias;
  Launch(context, "MatMul",
         product.tokens > kTileTokens ? kVariants[tiling].up_to_16_tokens
                                      : kVariants[tiling].up_to_8_tokens,
         {.grid = dim3((product.out_features + rows - 1) / rows),
          .block = dim3(32 * shape.warps),
          .shared_bytes = SharedBytes(shape)},
         params);
}

}  // namespace tidal::cuda
