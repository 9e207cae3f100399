#include "engine/token_selection.h"

#include <string>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/status_macros.h"

namespace tidal {

absl::StatusOr<TokenSelectionBuffer> TokenSelectionBuffer::Create(int32_t max_rows,
                                                                  int32_t num_sets,
                                                                  int32_t max_capacity,
                                                                  SelectionGranularity granularity,
                                                                  Backend* backend) {
  TokenSelectionBuffer buffer;
  buffer.backend_ = backend;
  buffer.max_rows_ = max_rows;
  buffer.num_sets_ = num_sets;
  buffer.max_capacity_ = max_capacity;
  buffer.granularity_ = granularity;
  const int64_t sets = int64_t{max_rows} * num_sets;
  const int64_t tokens = sets * max_capacity;
  const char* const name = "selected tokens (max_num_seqs * max_token_budget)";
  TIDAL_ASSIGN_OR_RETURN(buffer.positions_,
                         DeviceBuffer::Allocate(backend, tokens * sizeof(int32_t), name));
  TIDAL_ASSIGN_OR_RETURN(buffer.slots_,
                         DeviceBuffer::Allocate(backend, tokens * sizeof(int32_t), name));
  TIDAL_ASSIGN_OR_RETURN(buffer.counts_,
                         DeviceBuffer::Allocate(backend, sets * sizeof(int32_t), name));
  return buffer;
}

TokenSelection TokenSelectionBuffer::View(int32_t capacity) const {
  TIDAL_CHECK(capacity >= 0 && capacity <= max_capacity_);
  return {positions_.As<int32_t>(), slots_.As<int32_t>(), counts_.As<int32_t>(), capacity,
          granularity_};
}

void TokenSelectionBuffer::Poison(int32_t rows, int32_t capacity) {
  TIDAL_CHECK(rows <= max_rows_ && capacity <= max_capacity_);
  if (rows == 0) return;
  const size_t sets = static_cast<size_t>(rows) * num_sets_;
  const std::vector<int32_t> zeros(sets, 0), minus_ones(sets * capacity, -1);
  const size_t bytes = minus_ones.size() * sizeof(int32_t);
  backend_->CopyToDevice(counts_.As<void>(), zeros.data(), sets * sizeof(int32_t));
  backend_->CopyToDevice(positions_.As<void>(), minus_ones.data(), bytes);
  backend_->CopyToDevice(slots_.As<void>(), minus_ones.data(), bytes);
  // The host arrays must outlive the copies; an error is sticky and found at the end of the step.
  (void)backend_->Synchronize();
}

SelectedTokens TokenSelectionBuffer::Read(int32_t row, int32_t set, int32_t capacity) const {
  TIDAL_CHECK(row < max_rows_ && set < num_sets_ && capacity <= max_capacity_);
  const size_t index = static_cast<size_t>(row) * num_sets_ + set;
  int32_t count = 0;
  backend_->CopyToHost(&count, counts_.As<int32_t>() + index, sizeof(count));
  TIDAL_CHECK(backend_->Synchronize().empty());
  TIDAL_CHECK(count >= 0 && count <= capacity);
  SelectedTokens tokens = {std::vector<int32_t>(count), std::vector<int32_t>(count)};
  backend_->CopyToHost(tokens.positions.data(), positions_.As<int32_t>() + index * capacity,
                       count * sizeof(int32_t));
  backend_->CopyToHost(tokens.slots.data(), slots_.As<int32_t>() + index * capacity,
                       count * sizeof(int32_t));
  TIDAL_CHECK(backend_->Synchronize().empty());
  return tokens;
}

}  // namespace tidal
