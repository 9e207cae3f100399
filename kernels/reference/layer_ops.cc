#include "kernels/reference/layer_ops.h"

#include <cmath>

namespace tidal::reference {

std::vector<double> MatMul(const std::vector<float>& x, const std::vector<bfloat16>& weight,
                           int32_t in_features, int32_t out_features, const float* bias) {
  const int64_t tokens = x.size() / in_features;
  std::vector<double> y(tokens * out_features);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t n = 0; n < out_features; ++n) {
      double sum = bias != nullptr ? bias[n] : 0;
      for (int64_t k = 0; k < in_features; ++k) {
        sum += double{x[t * in_features + k]} * ToFloat(weight[n * in_features + k]);
      }
      y[t * out_features + n] = sum;
    }
  }
  return y;
}

std::vector<double> RmsNorm(const float* x, const bfloat16* weight, int32_t hidden,
                            double epsilon) {
  double sum = 0;
  for (int32_t i = 0; i < hidden; ++i) sum += double{x[i]} * x[i];
  const double rms = std::sqrt(sum / hidden + epsilon);
  std::vector<double> out(hidden);
  for (int32_t i = 0; i < hidden; ++i) out[i] = x[i] / rms * ToFloat(weight[i]);
  return out;
}

std::vector<double> SwiGlu(const float* gate, const float* up, int32_t count) {
  std::vector<double> out(count);
  for (int32_t i = 0; i < count; ++i) {
    out[i] = gate[i] / (1.0 + std::exp(-double{gate[i]})) * up[i];
  }
  return out;
}

std::vector<double> Rotate(const float* x, const float* cos_sin, int32_t head_dim) {
  const int32_t half = head_dim / 2;
  std::vector<double> out(head_dim);
  for (int32_t i = 0; i < half; ++i) {
    const double c = cos_sin[i], s = cos_sin[half + i];
    out[i] = x[i] * c - x[half + i] * s;
    out[half + i] = x[half + i] * c + x[i] * s;
  }
  return out;
}

}  // namespace tidal::reference
