// The distribution that sampling must draw from, slowly and in double precision. For tests.
#ifndef TIDAL_KERNELS_REFERENCE_SAMPLING_H_
#define TIDAL_KERNELS_REFERENCE_SAMPLING_H_

#include <cstdint>
#include <vector>

#include "kernels/sampling_params.h"

namespace tidal::reference {

// The probability of each token under row `row`; 1 for the greedy choice at temperature 0. Does not
// write to params. The logits of the row must hold a finite largest value.
std::vector<double> SamplingDistribution(const SampleParams& params, int32_t row);

// log softmax of the row's raw logits; NaN, all of them, of a corrupt row (sampling_params.h).
std::vector<double> LogProbabilities(const SampleParams& params, int32_t row);

}  // namespace tidal::reference

#endif  // TIDAL_KERNELS_REFERENCE_SAMPLING_H_
