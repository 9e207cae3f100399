// Element types shared by every back end.
#ifndef TIDAL_KERNELS_TYPES_H_
#define TIDAL_KERNELS_TYPES_H_

#include <bit>
#include <cstddef>
#include <cstdint>

namespace tidal {

enum class DType : uint8_t { kF32, kBF16 };

constexpr size_t SizeOf(DType type) { return type == DType::kF32 ? 4 : 2; }

// Storage only: arithmetic happens in float.
struct bfloat16 {
  uint16_t bits;
};

inline float ToFloat(bfloat16 x) { return std::bit_cast<float>(uint32_t{x.bits} << 16); }

// Rounds to nearest, ties to even; a NaN stays a NaN.
inline bfloat16 ToBFloat16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((bits >> 16) | 0x40u)};
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

}  // namespace tidal

#endif  // TIDAL_KERNELS_TYPES_H_
