// The memory of the one TokenSelection of a step: every selecting layer overwrites it.
#ifndef TIDAL_ENGINE_MODEL_TOKEN_SELECTION_H_
#define TIDAL_ENGINE_MODEL_TOKEN_SELECTION_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/memory/device_buffer.h"
#include "kernels/attention/params.h"
#include "kernels/device.h"

namespace tidal {

// The tokens of one set, on the host.
struct SelectedTokens {
  std::vector<int32_t> positions;  // ascending
  std::vector<int32_t> slots;
};

// Not thread-safe.
class TokenSelectionBuffer {
 public:
  // For up to max_rows rows of num_sets sets (1, or the KV heads), with contexts of up to
  // max_scored_tokens tokens in all: what a step may score, whatever its rows and budgets.
  static absl::StatusOr<TokenSelectionBuffer> Create(int32_t max_rows, int32_t num_sets,
                                                     int64_t max_scored_tokens,
                                                     SelectionGranularity granularity,
                                                     Device* device);

  // Of a step whose rows' sets begin there (DecodeRows). A set never outlives its step.
  TokenSelection View(const int32_t* row_begins) const;

  // Counts 0 of the first `rows` rows, and positions -1 of the first `tokens` of all sets: a layer
  // that reads a set of an earlier step is caught. For debug builds and tests; it costs a copy of
  // everything.
  void Poison(int32_t rows, int32_t tokens);

  // Copies one set out. Waits for the back end; for tests and tools.
  SelectedTokens Read(const int32_t* row_begins, int32_t row, int32_t set) const;

  int32_t num_sets() const { return num_sets_; }

 private:
  Device* device_ = nullptr;
  DeviceBuffer positions_, slots_, counts_;
  int32_t max_rows_ = 0, num_sets_ = 0;
  int64_t set_stride_ = 0;
  SelectionGranularity granularity_ = SelectionGranularity::kShared;
};

}  // namespace tidal

#endif  // TIDAL_ENGINE_MODEL_TOKEN_SELECTION_H_
