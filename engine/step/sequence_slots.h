// What running sequences own on the device: one slot each, from admission to their end or
// preemption. A step names slots and brings only what they do not hold yet, so that neither the
// host's work nor the bytes of a step grow with contexts.
#ifndef TIDAL_ENGINE_STEP_SEQUENCE_SLOTS_H_
#define TIDAL_ENGINE_STEP_SEQUENCE_SLOTS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/memory/device_buffer.h"
#include "engine/memory/memory_plan.h"
#include "engine/step.h"
#include "kernels/backend.h"
#include "kernels/sampling_params.h"

namespace tidal {

// Not thread-safe. All device memory is taken by Create(), and its pointers never change, so that
// recorded steps can read it.
class SequenceSlots {
 public:
  // New table entries of a sequence that a step lists; more are copied by themselves.
  static constexpr int32_t kMaxListedBlocks = 2;

  static absl::StatusOr<SequenceSlots> Create(const MemoryPlan& plan, int32_t vocab_size,
                                              Backend* backend);

  // Enqueues what the slot does not hold yet: its sampling and token counts when the sequence is
  // new in it, and many new table entries. Few are added to `listed`, as UpdateTablesParams takes
  // them.
  void Update(const ScheduledSequence& sequence, std::vector<int32_t>* listed);

  // Whose slot it is.
  SequenceId owner(int32_t slot) const { return owners_[slot]; }

  int32_t* block_tables() const { return tables_.As<int32_t>(); }  // [slots, table_stride]
  int32_t table_stride() const { return table_stride_; }
  const int32_t* last_tokens() const { return last_tokens_.As<int32_t>(); }  // [slots]
  SamplingSlots sampling() const;

 private:
  void WriteSampling(const ScheduledSequence& sequence);

  Backend* backend_ = nullptr;
  int32_t table_stride_ = 0, vocab_size_ = 0;
  DeviceBuffer tables_, last_tokens_;
  DeviceBuffer settings_;      // SamplingSettings [slots]
  DeviceBuffer biases_;        // TokenBias [slots, kMaxBiases]
  DeviceBuffer logprob_ids_;   // TokenId [slots, kMaxLogprobTokenIds]
  DeviceBuffer counts_;        // TokenCount [slots, vocab]
  DeviceBuffer known_tokens_;  // int32 [max_model_len], of the sequence whose tokens are counted
  std::vector<SequenceId> owners_;  // [slots]
};

}  // namespace tidal

#endif  // TIDAL_ENGINE_STEP_SEQUENCE_SLOTS_H_
