// Cosines and sines of the rotary positions.
#ifndef TIDAL_ENGINE_ROPE_TABLE_H_
#define TIDAL_ENGINE_ROPE_TABLE_H_

#include <cstdint>
#include <vector>

namespace tidal {

// [max_positions, head_dim]: head_dim / 2 cosines, then as many sines, of position * theta^(-2i /
// head_dim). Computed in double: at long positions a float angle is off by 1e-3.
std::vector<float> MakeRopeTable(int32_t max_positions, int32_t head_dim, double theta);

}  // namespace tidal

#endif  // TIDAL_ENGINE_ROPE_TABLE_H_
