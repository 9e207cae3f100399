// What the operations of a layer other than attention must compute, slowly and in double precision.
// For tests.
#ifndef TIDAL_KERNELS_REFERENCE_LAYER_OPS_H_
#define TIDAL_KERNELS_REFERENCE_LAYER_OPS_H_

#include <cstdint>
#include <vector>

#include "kernels/types.h"

namespace tidal::reference {

// x [tokens, in] times the transpose of weight [out, in]: [tokens, out]. `bias` is null or [out].
std::vector<double> MatMul(const std::vector<float>& x, const std::vector<bfloat16>& weight,
                           int32_t in_features, int32_t out_features, const float* bias = nullptr);

// One row.
std::vector<double> RmsNorm(const float* x, const bfloat16* weight, int32_t hidden, double epsilon);

// One row: silu(gate) * up.
std::vector<double> SwiGlu(const float* gate, const float* up, int32_t count);

// One head of one token, rotated by the angles of `cos_sin`: pairs (d, d + head_dim / 2).
std::vector<double> Rotate(const float* x, const float* cos_sin, int32_t head_dim);

}  // namespace tidal::reference

#endif  // TIDAL_KERNELS_REFERENCE_LAYER_OPS_H_
