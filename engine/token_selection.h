// The memory of the one TokenSelection of a step: every selecting layer overwrites it.
#ifndef TIDAL_ENGINE_TOKEN_SELECTION_H_
#define TIDAL_ENGINE_TOKEN_SELECTION_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/device_buffer.h"
#include "kernels/attention/params.h"
#include "kernels/backend.h"

namespace tidal {

// The tokens of one set, on the host.
struct SelectedTokens {
  std::vector<int32_t> positions;  // ascending
  std::vector<int32_t> slots;
};

// Not thread-safe.
class TokenSelectionBuffer {
 public:
  // For up to max_rows rows of num_sets sets (1, or the KV heads) of up to max_capacity tokens.
  static absl::StatusOr<TokenSelectionBuffer> Create(int32_t max_rows, int32_t num_sets,
                                                     int32_t max_capacity,
                                                     SelectionGranularity granularity,
                                                     Backend* backend);

  // The layout for a step whose largest budget is `capacity`. A set never outlives its step.
  TokenSelection View(int32_t capacity) const;

  // Counts 0 and positions -1 in the first `rows` rows: a layer that reads a set of an earlier step
  // is caught. For debug builds and tests; it costs a copy of everything.
  void Poison(int32_t rows, int32_t capacity);

  // Copies one set out. Waits for the back end; for tests and tools.
  SelectedTokens Read(int32_t row, int32_t set, int32_t capacity) const;

  int32_t num_sets() const { return num_sets_; }

 private:
  Backend* backend_ = nullptr;
  DeviceBuffer positions_, slots_, counts_;
  int32_t max_rows_ = 0, num_sets_ = 0, max_capacity_ = 0;
  SelectionGranularity granularity_ = SelectionGranularity::kShared;
};

}  // namespace tidal

#endif  // TIDAL_ENGINE_TOKEN_SELECTION_H_
