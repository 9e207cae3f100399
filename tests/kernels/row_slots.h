// Which sequence slots the rows of a test have: not those of their own number, and with slots of
// nobody before, between and behind them, where a test puts what must not be read.
#ifndef TIDAL_TESTS_KERNELS_ROW_SLOTS_H_
#define TIDAL_TESTS_KERNELS_ROW_SLOTS_H_

#include <cstdint>
#include <vector>

namespace tidal {

inline int32_t NumSlots(int32_t rows) { return 2 * rows + 1; }

// [rows]
inline std::vector<int32_t> RowSlots(int32_t rows) {
  std::vector<int32_t> slots;
  for (int32_t row = rows - 1; row >= 0; --row) slots.push_back(2 * row + 1);
  return slots;
}

}  // namespace tidal

#endif  // TIDAL_TESTS_KERNELS_ROW_SLOTS_H_
