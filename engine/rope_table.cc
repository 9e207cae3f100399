#include "engine/rope_table.h"

#include <cmath>
#include <cstddef>

namespace tidal {

std::vector<float> MakeRopeTable(int32_t max_positions, int32_t head_dim, double theta) {
  const int32_t half = head_dim / 2;
  std::vector<double> frequency(half);
  for (int32_t i = 0; i < half; ++i) frequency[i] = std::pow(theta, -2.0 * i / head_dim);
  std::vector<float> table(static_cast<size_t>(max_positions) * head_dim);
  for (int32_t position = 0; position < max_positions; ++position) {
    float* row = table.data() + static_cast<size_t>(position) * head_dim;
    for (int32_t i = 0; i < half; ++i) {
      row[i] = static_cast<float>(std::cos(position * frequency[i]));
      row[half + i] = static_cast<float>(std::sin(position * frequency[i]));
    }
  }
  return table;
}

}  // namespace tidal
