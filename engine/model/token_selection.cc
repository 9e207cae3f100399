#include "engine/model/token_selection.h"

#include <utility>

#include "engine/base/check.h"
#include "engine/base/status_macros.h"

namespace tidal {

absl::StatusOr<TokenSelectionBuffer> TokenSelectionBuffer::Create(int32_t max_rows,
                                                                  int32_t num_sets,
                                                                  int64_t max_scored_tokens,
                                                                  SelectionGranularity granularity,
                                                                  Device* device) {
  TokenSelectionBuffer buffer;
  buffer.device_ = device;
  buffer.max_rows_ = max_rows;
  buffer.num_sets_ = num_sets;
  buffer.set_stride_ = ScoreStride(max_scored_tokens, max_rows);
  buffer.granularity_ = granularity;
  const auto bytes = [](int64_t count) { return count * static_cast<int64_t>(sizeof(int32_t)); };
  const int64_t tokens = num_sets * buffer.set_stride_;
  const char* const name = "selected tokens";
  TIDAL_ASSIGN_OR_RETURN(buffer.positions_, DeviceBuffer::Allocate(device, bytes(tokens), name));
  TIDAL_ASSIGN_OR_RETURN(buffer.slots_, DeviceBuffer::Allocate(device, bytes(tokens), name));
  TIDAL_ASSIGN_OR_RETURN(buffer.counts_,
                         DeviceBuffer::Allocate(device, bytes(int64_t{max_rows} * num_sets), name));
  return buffer;
}

TokenSelection TokenSelectionBuffer::View(const int32_t* row_begins) const {
  return {positions_.As<int32_t>(),
          slots_.As<int32_t>(),
          counts_.As<int32_t>(),
          row_begins,
          set_stride_,
          granularity_};
}

void TokenSelectionBuffer::Poison(int32_t rows, int32_t tokens) {
  TIDAL_CHECK(rows <= max_rows_ && tokens <= set_stride_);
  const std::vector<int32_t> zeros(static_cast<size_t>(rows) * num_sets_, 0);
  const std::vector<int32_t> minus_ones(tokens, -1);
  device_->CopyToDevice(counts_.As<void>(), zeros.data(), zeros.size() * sizeof(int32_t));
  for (int32_t set = 0; set < num_sets_; ++set) {
    for (const DeviceBuffer* buffer : {&positions_, &slots_}) {
      device_->CopyToDevice(buffer->As<int32_t>() + set * set_stride_, minus_ones.data(),
                            minus_ones.size() * sizeof(int32_t));
    }
  }
}

SelectedTokens TokenSelectionBuffer::Read(const int32_t* row_begins, int32_t row,
                                          int32_t set) const {
  TIDAL_CHECK(row < max_rows_ && set < num_sets_);
  int32_t count = 0, begin = 0;
  device_->CopyToHost(&count, counts_.As<int32_t>() + int64_t{row} * num_sets_ + set,
                      sizeof(count));
  device_->CopyToHost(&begin, row_begins + row, sizeof(begin));
  TIDAL_CHECK(device_->Synchronize().empty());
  TIDAL_CHECK(count >= 0 && begin >= 0 && begin + count <= set_stride_);
  SelectedTokens tokens = {std::vector<int32_t>(count), std::vector<int32_t>(count)};
  const int64_t first = set * set_stride_ + begin;
  device_->CopyToHost(tokens.positions.data(), positions_.As<int32_t>() + first,
                      count * sizeof(int32_t));
  device_->CopyToHost(tokens.slots.data(), slots_.As<int32_t>() + first, count * sizeof(int32_t));
  TIDAL_CHECK(device_->Synchronize().empty());
  return tokens;
}

}  // namespace tidal
