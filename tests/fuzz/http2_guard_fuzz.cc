// libFuzzer entry: however a client's bytes are cut into pieces, the guard says the same of them.
// The first byte chooses the cut.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/grpc/http2_guard.h"

namespace {

using tidal::Http2Guard;

constexpr tidal::Http2Limits kLimits = {
    .max_header_block_bytes = 256, .max_idle_frames = 20, .idle_frames_per_second = 1};

struct Outcome {
  Http2Guard::Verdict verdict = Http2Guard::Verdict::kOk;
  bool is_opening = true, in_header_block = false;
  bool operator==(const Outcome&) const = default;
};

// An answered client is sent its own bytes.
Outcome Receive(absl::string_view bytes, size_t piece, bool answered) {
  Http2Guard guard(kLimits);
  Outcome outcome;
  while (!bytes.empty() && outcome.verdict == Http2Guard::Verdict::kOk) {
    const size_t size = std::min(piece, bytes.size());
    outcome.verdict = guard.Receive(bytes.substr(0, size), absl::UnixEpoch());
    if (answered) guard.Sent(bytes.substr(0, size));
    bytes.remove_prefix(size);
  }
  outcome.is_opening = guard.is_opening();
  outcome.in_header_block = guard.in_header_block();
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const absl::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Outcome whole = Receive(bytes, bytes.size() + 1, false);
  if (!(whole == Receive(bytes, size_t{1} + data[0] % 32, false))) __builtin_trap();
  Receive(bytes, size_t{1} + data[0] % 32, true);
  tidal::Farewell(whole.verdict, kLimits);
  return 0;
}
