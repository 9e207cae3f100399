#include "kernels/ranks/rank_group.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstring>
#include <thread>
#include <utility>

#include "kernels/ranks/rank_exchange.h"
#include "kernels/ranks/rank_stream.h"

namespace tidal {
namespace {

static_assert(std::atomic<uint32_t>::is_always_lock_free, "processes share them");

constexpr uint32_t kMagic = 0x7464616c;
constexpr size_t kMaxReason = 480;
constexpr size_t kPage = 4096;

// A rank computes for microseconds to milliseconds between two meetings. Looks before it sleeps; a
// machine with fewer cores than ranks must not spend them on looking.
constexpr int kLooks = 2000;
// A sleeper looks up so often, should the group fail.
constexpr long kSleepNanoseconds = 20'000'000;
constexpr std::chrono::milliseconds kForEver = std::chrono::hours(1'000'000);

// Unlike std::atomic's, these work between processes.
void FutexWait(std::atomic<uint32_t>& word, uint32_t seen) {
  const timespec timeout = {0, kSleepNanoseconds};
  syscall(SYS_futex, &word, FUTEX_WAIT, seen, &timeout, nullptr, 0);
}
void FutexWakeAll(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

bool HasReached(uint32_t value, uint32_t wanted) {
  return static_cast<int32_t>(value - wanted) >= 0;
}

constexpr size_t RoundUp(size_t x, size_t multiple) {
  return (x + multiple - 1) / multiple * multiple;
}

}  // namespace

struct RankGroup::Control {
  uint32_t magic;
  int32_t size;
  std::atomic<uint32_t> failing;  // somebody writes, or wrote, the next two
  int32_t failed_rank;
  char reason[kMaxReason];
  std::atomic<uint32_t> failed;  // they are there
  std::atomic<uint32_t> beats[kMaxRanks];
};

namespace {

constexpr size_t kControlBytes = kPage;

size_t StreamBytes(int size) { return RoundUp(RankStream::Bytes(size), kPage); }
size_t HostBytes(int size) { return RoundUp(RankExchange::Bytes(size, kHostPiece), kPage); }
size_t BackendBytes(int size) { return RoundUp(RankExchange::Bytes(size, kBackendPiece), kPage); }

}  // namespace

std::unique_ptr<RankGroup> RankGroup::Create(int size) {
  static_assert(sizeof(Control) <= kControlBytes);
  if (size < 1 || size > kMaxRanks) return nullptr;
  std::shared_ptr<SharedRegion> region = SharedRegion::Create(kControlBytes + StreamBytes(size) +
                                                              HostBytes(size) + BackendBytes(size));
  if (region == nullptr) return nullptr;
  auto* const control = reinterpret_cast<Control*>(region->data());
  control->size = size;
  control->magic = kMagic;
  return std::unique_ptr<RankGroup>(new RankGroup(std::move(region), 0));
}

std::unique_ptr<RankGroup> RankGroup::Join(int fd, int rank) {
  std::shared_ptr<SharedRegion> region = SharedRegion::Open(fd);
  if (region == nullptr || region->bytes() < kControlBytes) return nullptr;
  const auto* const control = reinterpret_cast<const Control*>(region->data());
  if (control->magic != kMagic || rank < 0 || rank >= control->size) return nullptr;
  return std::unique_ptr<RankGroup>(new RankGroup(std::move(region), rank));
}

std::unique_ptr<RankGroup> RankGroup::JoinHere(int rank) const {
  if (rank < 0 || rank >= size_) return nullptr;
  return std::unique_ptr<RankGroup>(new RankGroup(region_, rank));
}

RankGroup::RankGroup(std::shared_ptr<SharedRegion> region, int rank)
    : region_(std::move(region)), rank_(rank), size_(control().size) {}

RankGroup::Control& RankGroup::control() const {
  return *reinterpret_cast<Control*>(region_->data());
}

char* RankGroup::stream_area() const { return region_->data() + kControlBytes; }
char* RankGroup::host_area() const { return stream_area() + StreamBytes(size_); }
char* RankGroup::backend_area() const { return host_area() + HostBytes(size_); }

void RankGroup::Fail(int rank, std::string_view reason) {
  Control& c = control();
  if (c.failing.exchange(1) != 0) return;
  c.failed_rank = rank;
  const size_t length = std::min(reason.size(), kMaxReason - 1);
  std::memcpy(c.reason, reason.data(), length);
  c.reason[length] = '\0';
  c.failed.store(1);
}

bool RankGroup::failed() const { return control().failed.load(std::memory_order_acquire) != 0; }

int RankGroup::failed_rank() const { return control().failed_rank; }

std::string RankGroup::failure() const {
  if (!failed()) return "";
  const Control& c = control();
  return "rank " + std::to_string(c.failed_rank) + " of " + std::to_string(size_) + ": " + c.reason;
}

const std::atomic<uint32_t>* RankGroup::failed_word() const { return &control().failed; }

void RankGroup::Beat() { control().beats[rank_].fetch_add(1, std::memory_order_relaxed); }
uint32_t RankGroup::beats(int rank) const {
  return control().beats[rank].load(std::memory_order_relaxed);
}

// Sequentially consistent, as are the waiter's: either the waiter sees the value, or it is seen to
// sleep.
void RankGroup::Set(SharedCounter& counter, uint32_t value) {
  counter.value.store(value);
  if (counter.sleepers.load() > 0) FutexWakeAll(counter.value);
}

bool RankGroup::WaitFor(SharedCounter& counter, uint32_t value) {
  return WaitFor(counter, value, kForEver);
}

bool RankGroup::WaitFor(SharedCounter& counter, uint32_t value,
                        std::chrono::milliseconds patience) {
  for (int i = 0; i < kLooks; ++i) {
    if (HasReached(counter.value.load(std::memory_order_acquire), value)) return !failed();
    Pause();
  }
  const auto begin = std::chrono::steady_clock::now();
  counter.sleepers.fetch_add(1);
  uint32_t seen = counter.value.load();
  while (!HasReached(seen, value) && !failed() &&
         std::chrono::steady_clock::now() - begin < patience) {
    FutexWait(counter.value, seen);
    seen = counter.value.load();
  }
  counter.sleepers.fetch_sub(1);
  return HasReached(seen, value) && !failed();
}

}  // namespace tidal
