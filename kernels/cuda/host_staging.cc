#include "kernels/cuda/host_staging.h"

#include <algorithm>
#include <cstring>

#include "kernels/cuda/small_copy.h"

namespace tidal::cuda {
namespace {

// Large enough that copying into one half and out of the other overlap, small enough to stay in
// the caches on the way.
constexpr size_t kHalfBytes = size_t{16} << 20;
constexpr size_t kAlignment = 256;

}  // namespace

HostStaging::~HostStaging() {
  for (cudaEvent_t event : submitted_) {
    if (event != nullptr) cudaEventDestroy(event);
  }
  for (Half& half : halves_) {
    if (half.done != nullptr) cudaEventDestroy(half.done);
    if (half.memory != nullptr) cudaFreeHost(half.memory);
  }
}

bool HostStaging::Reserve() {
  for (Half& half : halves_) {
    void* memory = nullptr;
    if (!context_.Check(cudaHostAlloc(&memory, kHalfBytes, cudaHostAllocDefault),
                        "pinned memory")) {
      return false;
    }
    half.memory = static_cast<char*>(memory);
    if (!context_.Check(cudaEventCreateWithFlags(&half.done, cudaEventDisableTiming), "event")) {
      return false;
    }
  }
  for (cudaEvent_t& event : submitted_) {
    if (!context_.Check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "event")) {
      return false;
    }
  }
  return true;
}

char* HostStaging::Take(size_t* bytes) {
  if (halves_[current_].used == kHalfBytes) {
    context_.Check(cudaEventRecord(halves_[current_].done, context_.stream), "event record");
    current_ ^= 1;
    Half& next = halves_[current_];
    context_.Check(cudaEventSynchronize(next.done), "copy");
    HandOut(next_ticket_, next);
    next.used = 0;
  }
  enqueued_since_submit_ = true;
  Half& half = halves_[current_];
  *bytes = std::min(*bytes, kHalfBytes - half.used);
  char* const memory = half.memory + half.used;
  half.used +=
      std::min((*bytes + kAlignment - 1) / kAlignment * kAlignment, kHalfBytes - half.used);
  return memory;
}

void HostStaging::Copy(void* dst, const void* src, size_t bytes, const char* operation) {
  if (IsSmallCopy(dst, src, bytes)) {
    SmallCopy(dst, src, bytes, operation, context_);
  } else {
    context_.Check(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDefault, context_.stream), operation);
  }
}

void HostStaging::ToDevice(void* dst, const void* host_src, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    size_t count = bytes - done;
    char* const pinned = Take(&count);
    std::memcpy(pinned, static_cast<const char*>(host_src) + done, count);
    Copy(static_cast<char*>(dst) + done, pinned, count, "copy to the device");
    done += count;
  }
}

void HostStaging::ToHost(void* host_dst, const void* src, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    size_t count = bytes - done;
    char* const pinned = Take(&count);
    Copy(pinned, static_cast<const char*>(src) + done, count, "copy from the device");
    halves_[current_].arrivals.push_back(
        {static_cast<char*>(host_dst) + done, pinned, count, next_ticket_});
    done += count;
  }
}

void HostStaging::HandOut(Ticket ticket, Half& half) {
  auto next = half.arrivals.begin();
  for (; next != half.arrivals.end() && next->ticket <= ticket; ++next) {
    std::memcpy(next->dst, next->pinned, next->bytes);
  }
  half.arrivals.erase(half.arrivals.begin(), next);
}

Ticket HostStaging::Submit() {
  context_.Check(cudaEventRecord(submitted_[next_ticket_ % submitted_.size()], context_.stream),
                 "event record");
  enqueued_since_submit_ = false;
  return next_ticket_++;
}

void HostStaging::Wait(Ticket ticket) {
  context_.Check(cudaEventSynchronize(submitted_[ticket % submitted_.size()]), "step");
  // In the order of the copies: the other half is the older one.
  HandOut(ticket, halves_[current_ ^ 1]);
  HandOut(ticket, halves_[current_]);
  // Where nothing is under way, the memory that is warm is used again.
  if (ticket + 1 == next_ticket_ && !enqueued_since_submit_) {
    halves_[0].used = halves_[1].used = 0;
  }
}

}  // namespace tidal::cuda
