// Which kernels had begun when the device faulted.
//
// After a fault a device answers nothing, not even which kernel it was. Memory of the host stays
// readable, though, and every kernel of ours leaves a mark there when it begins: one store of 8
// bytes, which nothing waits for.
#ifndef TIDAL_KERNELS_CUDA_LAUNCH_TRAIL_H_
#define TIDAL_KERNELS_CUDA_LAUNCH_TRAIL_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tidal::cuda {

// What one launch leaves, and where; a kernel's first parameter. A launch that is recorded into a
// graph leaves the same mark at every replay.
struct LaunchMark {
  uint64_t* where;  // the words of its stream, in pinned memory of the host; null: it is not left
  uint64_t what;
};

// Where a stream's marks are left: one word each, the last mark of its kind.
enum class LaunchWord : uint8_t {
  kBegun,  // by a kernel when those before it have ended
  kEarly,  // before that, by a kernel that looks up places meanwhile
};
inline constexpr int kLaunchWordsPerStream = 2;
inline constexpr int kLaunchWords = 2 * kLaunchWordsPerStream;  // the main stream's, the side's

// Hands out marks and reads what is left of them. Not thread-safe, but for what the device writes.
class LaunchTrail {
 public:
  // words: [kLaunchWords], zero; they outlive every kernel. Null: no marks are left.
  explicit LaunchTrail(uint64_t* words = nullptr) : words_(words) {}

  // Of the next launch. `operation` outlives the trail: "PagedDecode".
  LaunchMark Next(const char* operation, bool on_side_stream);
  // Launches are counted from here on again.
  void EndStep();

  // The kernels one of which was at work when the last mark was left, each with its place among the
  // step's launches of the same operation: "RopeStoreKv (3rd of its step) or PagedDecode (3rd of
  // its step)". Kernels of libraries leave no marks: one may have come after these. Empty: no mark
  // was left.
  std::string Last() const;

 private:
  std::string Describe(uint64_t mark) const;

  uint64_t* words_;
  std::vector<std::string_view> operations_;
  std::vector<uint32_t> launched_;  // in this step, by operation
  uint32_t number_ = 0;             // of the step's last launch
};

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_LAUNCH_TRAIL_H_
