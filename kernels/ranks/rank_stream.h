// Messages from rank 0 to all others.
#ifndef TIDAL_KERNELS_RANKS_RANK_STREAM_H_
#define TIDAL_KERNELS_RANKS_RANK_STREAM_H_

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "kernels/ranks/rank_group.h"

namespace tidal {

// A ring that rank 0 writes and every other rank reads, each at its own pace. Of any length: what
// does not fit waits for the slowest reader. One thread a rank.
class RankStream {
 public:
  static size_t Bytes(int size);

  // `area` and the group as for RankExchange.
  RankStream(RankGroup* group, char* area);

  // Rank 0. False when the group has failed.
  [[nodiscard]] bool Write(const void* data, size_t bytes);
  // Others: are there bytes to read, now or within that time?
  [[nodiscard]] bool HasBytes(std::chrono::milliseconds patience);
  // Others: exactly so many bytes, waiting for them. False when the group has failed.
  [[nodiscard]] bool Read(void* data, size_t bytes);

 private:
  RankGroup* const group_;
  SharedCounter* const written_;  // bytes
  SharedCounter* const read_;     // [size], bytes; rank 0 reads nothing
  char* const ring_;
  uint32_t position_ = 0;  // bytes written or read by this rank
};

}  // namespace tidal

#endif  // TIDAL_KERNELS_RANKS_RANK_STREAM_H_
