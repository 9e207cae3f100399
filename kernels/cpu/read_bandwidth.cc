#include "kernels/cpu/read_bandwidth.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace tidal::cpu {
namespace {

constexpr int64_t kBytes = 512LL << 20;  // far above any last-level cache share
constexpr int64_t kChunk = 1LL << 20;
constexpr int kPasses = 8;

// The baseline instruction set is enough: one core reads slower than its loads can be issued. Four
// independent sums keep several cache lines in flight.
uint64_t SumOf(const uint64_t* words, int64_t count) {
  uint64_t sums[8] = {};
  for (int64_t i = 0; i < count; i += 8) {
    for (int j = 0; j < 8; ++j) sums[j] += words[i + j];
  }
  uint64_t total = 0;
  for (uint64_t sum : sums) total += sum;
  return total;
}

}  // namespace

double MeasureReadBandwidth(ThreadPool& pool) {
  std::unique_ptr<void, decltype(&std::free)> buffer(std::aligned_alloc(2 << 20, kBytes),
                                                     &std::free);
  if (buffer == nullptr) return 0;
  std::memset(buffer.get(), 1, kBytes);
  const char* bytes = static_cast<const char*>(buffer.get());

  std::atomic<uint64_t> sink{0};
  double best_seconds = 1e9;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    pool.ParallelFor(static_cast<int32_t>(kBytes / kChunk), [&](int32_t chunk, int) {
      sink += SumOf(reinterpret_cast<const uint64_t*>(bytes + chunk * kChunk), kChunk / 8);
    });
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    best_seconds = std::min(best_seconds, elapsed.count());
  }
  return sink.load() == 0 ? 0 : static_cast<double>(kBytes) / best_seconds;
}

}  // namespace tidal::cpu
