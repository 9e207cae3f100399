// libFuzzer entry: bytes that claim to be steps of rank 0, one after another, for one decoder, and
// each the masks of a step. The first two bytes are the size of the first step.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/parallel/step_codec.h"

// Masks take no more memory than their bytes, and what was decoded is encoded as it came.
static void CheckMasks(absl::Span<const char> bytes) {
  const auto masks = tidal::DecodeMasks(bytes);
  if (!masks.ok()) return;
  std::vector<char> again;
  tidal::EncodeMasks(*masks, &again);
  if (absl::MakeConstSpan(again) != bytes) __builtin_trap();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr tidal::StepLimits kLimits = {.num_slots = 4, .max_tokens = 64, .max_blocks = 8};
  if (size < 2) return 0;
  const absl::Span<const char> bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  const size_t first = std::min<size_t>(bytes.size(), data[0] + 256u * data[1]);
  tidal::StepDecoder decoder(kLimits);
  for (const auto step : {bytes.first(first), bytes.subspan(first)}) {
    CheckMasks(step);
    const auto input = decoder.Decode(step);
    if (!input.ok()) continue;
    for (const tidal::ScheduledSequence& sequence : input->sequences) {
      if (sequence.slot < 0 || sequence.slot >= kLimits.num_slots ||
          sequence.tokens.size() > static_cast<size_t>(kLimits.max_tokens) ||
          sequence.block_table.size() > static_cast<size_t>(kLimits.max_blocks) ||
          sequence.sampling == nullptr) {
        __builtin_trap();
      }
    }
  }
  return 0;
}
