// The scheduler's limits. Filled by the server from flags and EngineInfo.
#ifndef TIDAL_SCHEDULER_SCHEDULER_CONFIG_H_
#define TIDAL_SCHEDULER_SCHEDULER_CONFIG_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace tidal {

struct SchedulerConfig {
  int32_t num_blocks = 0;                 // of the KV cache
  int32_t block_size = 16;                // tokens
  int32_t max_model_len = 0;              // tokens of prompt and output together
  int32_t vocab_size = 0;                 // of the logits; only constraints of tokens need it
  int32_t mask_threads = 1;               // that find what they allow; one is the loop's own
  int32_t max_num_seqs = 256;             // sequences in one step
  int32_t max_num_batched_tokens = 2048;  // tokens in one step
  int32_t max_sampled_tokens = 0;         // of one step; 0 = max_num_seqs, which leaves no drafts
  // What may wait, inbox included (queue_budget.h); more is refused.
  int32_t max_queued_requests = 4096;
  int64_t max_queued_tokens = 0;  // 0 = by the measured rate and max_queue_time
  // A request that waited so long for its first step ends.
  absl::Duration max_queue_time = absl::InfiniteDuration();
  bool enable_prefix_caching = true;
  bool overlap = true;            // launch steps while others run, where the executor can
  int32_t correction_period = 0;  // tokens; see SparseAttentionConfig

  // INVALID_ARGUMENT "field: must be ..., got ...".
  absl::Status Validate() const;
};

}  // namespace tidal

#endif  // TIDAL_SCHEDULER_SCHEDULER_CONFIG_H_
