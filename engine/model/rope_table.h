// Cosines and sines of the rotary positions.
#ifndef TIDAL_ENGINE_MODEL_ROPE_TABLE_H_
#define TIDAL_ENGINE_MODEL_ROPE_TABLE_H_

#include <cstdint>
#include <vector>

#include "engine/checkpoint/rope_config.h"

namespace tidal {

// The angle of pair i at position p is p * frequency[i]: head_dim / 2 of them.
//
// With RopeType::kDynamic theta depends on a length. Transformers takes that of the sequence at
// hand and so turns a sequence's earlier keys by other angles than its later ones as it grows. Keys
// in a paged cache keep their angles and are shared between sequences, so one theta must serve all:
// that of `max_positions`, the longest sequence. Where this is within the original length nothing
// is stretched, as in Transformers; beyond it a sequence of max_positions gets Transformers'
// angles.
std::vector<double> RopeFrequencies(int32_t max_positions, int32_t head_dim,
                                    const RopeConfig& rope);

// [max_positions, head_dim]: head_dim / 2 cosines, then as many sines, times the attention factor.
// Computed in double: at long positions a float angle is off by 1e-3.
std::vector<float> MakeRopeTable(int32_t max_positions, int32_t head_dim, const RopeConfig& rope);

}  // namespace tidal

#endif  // TIDAL_ENGINE_MODEL_ROPE_TABLE_H_
