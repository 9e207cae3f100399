#include "kernels/cuda/ranks/rank_channels.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace tidal::cuda {
namespace {

// Of the slots of the main stream, on each rank. What is larger goes in pieces, each of which costs
// a few microseconds.
constexpr size_t kMaxMainBytes = size_t{64} << 20;
// A piece of logits, at least.
constexpr size_t kMinSlotBytes = size_t{1} << 20;
constexpr size_t kAlignment = 4096;

constexpr size_t RoundUp(size_t x, size_t multiple) {
  return (x + multiple - 1) / multiple * multiple;
}

// Partials of all rows of the largest step, where they fit; of one row, anyhow.
size_t MainSlotBytes(const BackendLimits& limits, int ranks) {
  const size_t row = RoundUp(size_t{2} * limits.hidden_size, sizeof(uint4));
  const size_t most = kMaxMainBytes / 2 / ranks / kAlignment * kAlignment;
  const size_t all = std::max(row * limits.max_tokens, kMinSlotBytes);
  return RoundUp(std::max(std::min(all, most), row), kAlignment);
}

// The keys of all rows.
size_t ScoreSlotBytes(const BackendLimits& limits) {
  const int64_t tokens = ScoreStride(limits.max_scored_tokens, limits.max_decode_rows);
  return RoundUp(sizeof(uint32_t) * tokens, kAlignment);
}

}  // namespace

RankChannels::RankChannels(RankGroup* group, DeviceContext& context)
    : group_(group),
      context_(context),
      exchange_(group, group->backend_area(), kBackendPiece),
      memory_(group, &exchange_, context) {}

RankChannels::~RankChannels() {
  if (states_ != nullptr) cudaFree(states_);
  if (gave_up_ != nullptr) cudaFreeHost(gave_up_);
  if (group_page_ != nullptr) cudaHostUnregister(group_page_);
}

std::string RankChannels::Connect() {
  std::string error = memory_.Connect();
  if (error.empty() && !TakeState()) error = context_.error;
  if (!error.empty()) return error;
  return AllAgree(true) ? "" : group_->failure();
}

bool RankChannels::TakeState() {
  const auto* const word = group_->failed_word();
  const auto page_bytes = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  auto* const page =
      reinterpret_cast<char*>(reinterpret_cast<uintptr_t>(word) / page_bytes * page_bytes);
  void* seen = nullptr;
  if (!context_.Check(cudaHostRegister(page, page_bytes, cudaHostRegisterMapped), "group")) {
    return false;
  }
  group_page_ = page;
  if (!context_.Check(cudaHostGetDevicePointer(&seen, page, 0), "group")) return false;
  group_failed_ = reinterpret_cast<const uint32_t*>(static_cast<char*>(seen) +
                                                    (reinterpret_cast<const char*>(word) - page));
  if (!context_.Check(cudaHostAlloc(&gave_up_, sizeof(*gave_up_), cudaHostAllocMapped), "group")) {
    return false;
  }
  *gave_up_ = 0;
  return context_.Check(cudaMalloc(&states_, 2 * sizeof(*states_)), "group") &&
         context_.Check(cudaMemsetAsync(states_, 0, 2 * sizeof(*states_), context_.stream),
                        "group") &&
         context_.Check(cudaStreamSynchronize(context_.stream), "group");
}

bool RankChannels::Reserve(const BackendLimits& limits) {
  const int ranks = group_->size();
  const size_t main_slot = MainSlotBytes(limits, ranks), score_slot = ScoreSlotBytes(limits);
  const size_t main_bytes = 2 * ranks * main_slot;
  if (!memory_.Reserve(main_bytes + 2 * ranks * score_slot)) return false;
  // Ranks that share a device leave room for each other's kernels.
  const int sharers = memory_.shares_device() ? 2 * ranks : 1;
  main_ = MakeChannel(0, 0, main_slot, std::max(context_.num_sms / sharers, 1));
  scores_ = MakeChannel(1, main_bytes, score_slot, std::max(context_.num_sms / 4 / sharers, 1));
  return true;
}

Channel RankChannels::MakeChannel(int index, size_t offset, size_t slot_bytes,
                                  int32_t max_blocks) const {
  Channel channel{};
  channel.rank = group_->rank();
  channel.ranks = group_->size();
  channel.slot_quads = static_cast<int64_t>(slot_bytes / sizeof(uint4));
  for (int rank = 0; rank < channel.ranks; ++rank) {
    channel.slots[rank] = reinterpret_cast<uint4*>(memory_.of(rank) + offset);
  }
  channel.state = states_ + index;
  channel.group_failed = group_failed_;
  channel.gave_up = gave_up_;
  channel.max_blocks = max_blocks;
  // The next kernels would stand before those of another rank, which this one waits for. Between
  // processes a device takes turns.
  channel.let_next_start = !memory_.shares_context();
  return channel;
}

bool RankChannels::AllAgree(bool mine) {
  bool all = true;
  const char answer = mine ? 1 : 0;
  const auto look = [&](const char* const* pieces, size_t, size_t) {
    for (int rank = 0; rank < group_->size(); ++rank) all &= pieces[rank][0] == 1;
  };
  return exchange_.Run(&answer, sizeof(answer), look) && all;
}

void RankChannels::Quieten() {
  if (!memory_.shares_process()) return;
  context_.Check(cudaStreamSynchronize(context_.stream), "ranks");
  (void)AllAgree(true);
}

std::string RankChannels::Failure() {
  if (!context_.error.empty()) {
    group_->Fail(group_->rank(), context_.error);
  } else if (*static_cast<volatile uint32_t*>(gave_up_) != 0) {
    group_->Fail(group_->rank(), "its GPU has waited for the others for too long");
  }
  return group_->failure();
}

}  // namespace tidal::cuda
