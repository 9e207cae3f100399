#include "tests/support/test_group.h"

#include <unistd.h>

#include <cstdlib>
#include <thread>

namespace tidal {
namespace {

// Ranks that share a GPU must not wait for each other but by their own words: each of their streams
// needs a way of its own to the device, and no kernel may be loaded while others wait, since that
// waits for them. Read when CUDA starts.
[[maybe_unused]] const bool kDeviceIsShared = [] {
  setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", /*overwrite=*/0);
  setenv("CUDA_MODULE_LOADING", "EAGER", /*overwrite=*/0);
  return true;
}();

}  // namespace

std::vector<std::unique_ptr<RankGroup>> MakeTestGroup(int size, bool own_views) {
  std::vector<std::unique_ptr<RankGroup>> groups;
  for (int rank = 0; rank < size; ++rank) {
    groups.push_back(rank == 0   ? RankGroup::Create(size)
                     : own_views ? RankGroup::Join(dup(groups[0]->fd()), rank)
                                 : groups[0]->JoinHere(rank));
    if (groups.back() == nullptr) std::abort();
  }
  return groups;
}

void OnEachRank(int size, const std::function<void(int rank)>& work) {
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) threads.emplace_back([&work, rank] { work(rank); });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace tidal
