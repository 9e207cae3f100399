// Copies between host and device, while earlier work is still under way.
#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/kernels/cuda/cuda_fixture.h"

namespace tidal {
namespace {

class CudaCopiesTest : public CudaFixture {
 protected:
  static std::vector<int32_t> Numbers(int32_t first, size_t count) {
    std::vector<int32_t> numbers(count);
    for (size_t i = 0; i < count; ++i) numbers[i] = first + static_cast<int32_t>(i);
    return numbers;
  }
};

TEST_F(CudaCopiesTest, ATicketStandsForWhatCameBeforeIt) {
  DeviceArray<int32_t> memory(*backend_, 100);
  std::vector<int32_t> first(100), second(100);
  memory.Write(Numbers(1, 100));
  backend_->CopyToHost(first.data(), memory.get(), 400);
  const Ticket first_ticket = backend_->Submit();
  memory.Write(Numbers(1000, 100));
  backend_->CopyToHost(second.data(), memory.get(), 400);
  const Ticket second_ticket = backend_->Submit();
  EXPECT_EQ(backend_->Wait(first_ticket), "");
  EXPECT_EQ(first, Numbers(1, 100));
  EXPECT_EQ(second, std::vector<int32_t>(100)) << "handed out with its own ticket";
  EXPECT_EQ(backend_->Wait(second_ticket), "");
  EXPECT_EQ(second, Numbers(1000, 100));
  EXPECT_EQ(backend_->Wait(first_ticket), "") << "again: nothing to wait for";
}

// With a step always under way, and far more bytes than there is pinned memory.
TEST_F(CudaCopiesTest, PinnedMemoryIsUsedAgainOnlyWhenItsCopiesAreDone) {
  for (const size_t count : {size_t{1000}, size_t{700'001}, size_t{5'000'000}}) {
    DeviceArray<int32_t> memory(*backend_, count);
    std::deque<std::pair<Ticket, std::vector<int32_t>>> under_way;
    int32_t next = 0, collected = 0;
    const auto collect = [&] {
      EXPECT_EQ(backend_->Wait(under_way.front().first), "");
      EXPECT_EQ(under_way.front().second, Numbers(3 * collected++, count));
      under_way.pop_front();
    };
    while (next < 40) {
      std::vector<int32_t> source = Numbers(3 * next++, count);
      memory.Write(source);
      source.assign(count, -1);  // the copy is under way, the source may change
      auto& step = under_way.emplace_back(0, std::vector<int32_t>(count));
      backend_->CopyToHost(step.second.data(), memory.get(), count * sizeof(int32_t));
      step.first = backend_->Submit();
      if (under_way.size() == 3) collect();
    }
    while (!under_way.empty()) collect();
  }
}

}  // namespace
}  // namespace tidal
