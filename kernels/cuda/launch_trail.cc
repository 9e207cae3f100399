#include "kernels/cuda/launch_trail.h"

#include <algorithm>

namespace tidal::cuda {
namespace {

// A mark: the launch's number in its step (32 bits), its number among those of its operation (16),
// and the operation's (16), both counted from 1.
constexpr uint64_t MakeMark(uint32_t number, uint32_t of_operation, size_t operation) {
  return uint64_t{number} << 32 | uint64_t{of_operation & 0xffff} << 16 | operation;
}
constexpr uint32_t NumberOf(uint64_t mark) { return static_cast<uint32_t>(mark >> 32); }
constexpr uint32_t NumberInOperation(uint64_t mark) { return mark >> 16 & 0xffff; }
constexpr size_t OperationOf(uint64_t mark) { return mark & 0xffff; }

const char* OrdinalSuffix(uint32_t number) {
  if (number / 10 % 10 == 1) return "th";
  switch (number % 10) {
    case 1:
      return "st";
    case 2:
      return "nd";
    case 3:
      return "rd";
    default:
      return "th";
  }
}

}  // namespace

LaunchMark LaunchTrail::Next(const char* operation, bool on_side_stream) {
  const auto found = std::find(operations_.begin(), operations_.end(), operation);
  const auto index = static_cast<size_t>(found - operations_.begin());
  if (found == operations_.end()) {
    operations_.emplace_back(operation);
    launched_.push_back(0);
  }
  const uint64_t mark = MakeMark(++number_, ++launched_[index], index + 1);
  if (words_ == nullptr) return {nullptr, mark};
  return {words_ + (on_side_stream ? kLaunchWordsPerStream : 0), mark};
}

void LaunchTrail::EndStep() {
  number_ = 0;
  std::fill(launched_.begin(), launched_.end(), 0);
}

std::string LaunchTrail::Last() const {
  if (words_ == nullptr) return "";
  // The device wrote them behind the compiler's back.
  const auto load = [](const uint64_t* stream, LaunchWord word) {
    return *const_cast<const volatile uint64_t*>(stream + static_cast<int>(word));
  };
  const uint64_t begun = load(words_, LaunchWord::kBegun);
  const uint64_t early = load(words_, LaunchWord::kEarly);
  const uint64_t beside = load(words_ + kLaunchWordsPerStream, LaunchWord::kBegun);
  std::string last;
  const auto add = [&](uint64_t mark) {
    if (mark == 0) return;
    if (!last.empty()) last += " or ";
    last += Describe(mark);
  };
  add(begun);
  // One that began early has not begun otherwise yet, or it did and then others. A kernel begins
  // early while the one before it is at work, or the one before that: further ahead lies what is
  // left of the step before.
  constexpr uint32_t kFurthestAhead = 2;
  if (NumberOf(early) - NumberOf(begun) - 1 < kFurthestAhead) add(early);
  // The main stream waits for the side stream before it decodes again.
  if (NumberOf(beside) > NumberOf(early)) add(beside);
  return last;
}

std::string LaunchTrail::Describe(uint64_t mark) const {
  const size_t operation = OperationOf(mark);
  if (operation > operations_.size()) return "?";
  const uint32_t number = NumberInOperation(mark);
  return std::string(operations_[operation - 1]) + " (" + std::to_string(number) +
         OrdinalSuffix(number) + " of its step)";
}

}  // namespace tidal::cuda
