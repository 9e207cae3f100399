// Steps as bytes, from rank 0 to the others. What the others know of a sequence already, by its
// slot, is not sent again: a decode row is some 70 bytes, however long its context is.
#ifndef TIDAL_ENGINE_PARALLEL_STEP_CODEC_H_
#define TIDAL_ENGINE_PARALLEL_STEP_CODEC_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/sampling_params.h"
#include "engine/step.h"

namespace tidal {

// Rank 0's side. Not thread-safe. The ranks have the same byte order and the same program.
class StepEncoder {
 public:
  // Slots are in [0, num_slots).
  explicit StepEncoder(int32_t num_slots) : sent_tokens_(num_slots, 0) {}

  // Appends the step. It holds what an Executor may be given, each step once and in order.
  void Encode(const StepInput& input, std::vector<char>* out);

 private:
  void EncodeSequence(const ScheduledSequence& sequence, std::vector<char>* out);

  std::vector<int32_t> sent_tokens_;  // [slots]
};

struct StepLimits {
  int32_t num_slots;
  int32_t max_tokens;  // of a sequence
  int32_t max_blocks;  // of a sequence
};

// The other side: remembers what was sent. Not thread-safe.
class StepDecoder {
 public:
  explicit StepDecoder(const StepLimits& limits)
      : limits_(limits), sequences_(static_cast<size_t>(limits.num_slots)) {}

  // The step that was encoded. Its views are good until the next call. DATA_LOSS when the bytes are
  // no step, or one beyond the limits.
  absl::StatusOr<StepInput> Decode(absl::Span<const char> bytes);

  class Reader;

 private:
  // What a slot's sequence has.
  struct Known {
    std::vector<TokenId> tokens;
    std::vector<BlockId> blocks;
    std::vector<TokenId> draft;
    SamplingParams sampling;
  };
  absl::Status DecodeSequence(Reader& reader, ScheduledSequence* sequence);
  absl::Status DecodeSampling(Reader& reader, SamplingParams* sampling) const;

  const StepLimits limits_;
  std::vector<Known> sequences_;  // [slots]
};

// The masks of the step sent last. DATA_LOSS when the bytes are none.
void EncodeMasks(const StepMasks& masks, std::vector<char>* out);
absl::StatusOr<StepMasks> DecodeMasks(absl::Span<const char> bytes);

}  // namespace tidal

#endif  // TIDAL_ENGINE_PARALLEL_STEP_CODEC_H_
