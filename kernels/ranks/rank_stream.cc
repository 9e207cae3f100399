#include "kernels/ranks/rank_stream.h"

#include <algorithm>
#include <cstring>

namespace tidal {
namespace {

// A power of two, so that positions may overflow. A step with long prompts sends some 100 KB.
constexpr uint32_t kRingBytes = 1u << 20;

}  // namespace

size_t RankStream::Bytes(int size) { return (size + 1) * sizeof(SharedCounter) + kRingBytes; }

RankStream::RankStream(RankGroup* group, char* area)
    : group_(group),
      written_(reinterpret_cast<SharedCounter*>(area)),
      read_(written_ + 1),
      ring_(area + (group->size() + 1) * sizeof(SharedCounter)) {}

bool RankStream::Write(const void* data, size_t bytes) {
  const char* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const uint32_t at = position_ % kRingBytes;
    const auto count = static_cast<uint32_t>(std::min<size_t>({bytes, kRingBytes - at}));
    for (int rank = 1; rank < group_->size(); ++rank) {
      if (!group_->WaitFor(read_[rank], position_ + count - kRingBytes)) return false;
    }
    std::memcpy(ring_ + at, from, count);
    position_ += count;
    group_->Set(*written_, position_);
    from += count;
    bytes -= count;
  }
  return !group_->failed();
}

bool RankStream::HasBytes(std::chrono::milliseconds patience) {
  return group_->WaitFor(*written_, position_ + 1, patience);
}

bool RankStream::Read(void* data, size_t bytes) {
  char* to = static_cast<char*>(data);
  while (bytes > 0) {
    if (!group_->WaitFor(*written_, position_ + 1)) return false;
    const uint32_t ready = written_->value.load(std::memory_order_acquire) - position_;
    const uint32_t at = position_ % kRingBytes;
    const auto count =
        static_cast<uint32_t>(std::min<size_t>({bytes, size_t{ready}, size_t{kRingBytes - at}}));
    std::memcpy(to, ring_ + at, count);
    position_ += count;
    group_->Set(read_[group_->rank()], position_);
    to += count;
    bytes -= count;
  }
  return true;
}

}  // namespace tidal
