// The row kernels in plain C++.
#include <cmath>
#include <limits>

#include "kernels/cpu/row_ops.h"

namespace tidal::cpu {
namespace {

void StoreAs(DType type, void* out, int32_t i, float x) {
  if (type == DType::kBF16) {
    static_cast<bfloat16*>(out)[i] = ToBFloat16(x);
  } else {
    static_cast<float*>(out)[i] = x;
  }
}

void RmsNormRow(const float* x, const bfloat16* weight, float epsilon, int32_t hidden,
                DType out_type, void* out) {
  // Partial sums, so that the compiler may use vectors.
  float sums[8] = {};
  int32_t i = 0;
  for (; i + 8 <= hidden; i += 8) {
    for (int lane = 0; lane < 8; ++lane) sums[lane] += x[i + lane] * x[i + lane];
  }
  for (; i < hidden; ++i) sums[0] += x[i] * x[i];
  float sum = 0;
  for (float partial : sums) sum += partial;
  const float scale = 1.0f / std::sqrt(sum / static_cast<float>(hidden) + epsilon);
  for (i = 0; i < hidden; ++i) StoreAs(out_type, out, i, x[i] * scale * ToFloat(weight[i]));
}

void SwiGluRow(const float* gate, const float* up, int32_t count, DType out_type, void* out) {
  for (int32_t i = 0; i < count; ++i) {
    StoreAs(out_type, out, i, gate[i] / (1.0f + std::exp(-gate[i])) * up[i]);
  }
}

void RotateRow(const float* x, const float* cos_sin, int32_t head_dim, bfloat16* out) {
  const int32_t half = head_dim / 2;
  for (int32_t i = 0; i < half; ++i) {
    const float c = cos_sin[i], s = cos_sin[half + i];
    out[i] = ToBFloat16(x[i] * c - x[half + i] * s);
    out[half + i] = ToBFloat16(x[half + i] * c + x[i] * s);
  }
}

void ToBFloat16Row(const float* x, int32_t count, bfloat16* out) {
  for (int32_t i = 0; i < count; ++i) out[i] = ToBFloat16(x[i]);
}

float CleanMax(float* x, int32_t count, bool* had_nan) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  float max = -kInfinity;
  bool nan = false;
  for (int32_t i = 0; i < count; ++i) {
    nan |= x[i] != x[i];
    x[i] = x[i] == x[i] ? x[i] : -kInfinity;
    max = x[i] > max ? x[i] : max;
  }
  *had_nan = nan;
  return max;
}

double SumExp(const float* x, int32_t count, float offset, float scale, float* out) {
  double sum = 0;
  for (int32_t i = 0; i < count; ++i) {
    const float term = std::exp((x[i] - offset) * scale);
    if (out != nullptr) out[i] = term;
    sum += term;
  }
  return sum;
}

}  // namespace

const RowKernels kPortableRowKernels = {RmsNormRow,    SwiGluRow, RotateRow,
                                        ToBFloat16Row, CleanMax,  SumExp};

}  // namespace tidal::cpu
