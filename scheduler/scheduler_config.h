// The scheduler's limits. Filled by the server from flags and EngineInfo.
#ifndef TIDAL_SCHEDULER_SCHEDULER_CONFIG_H_
#define TIDAL_SCHEDULER_SCHEDULER_CONFIG_H_

#include <cstdint>

#include "absl/status/status.h"

namespace tidal {

struct SchedulerConfig {
  int32_t num_blocks = 0;                 // of the KV cache
  int32_t block_size = 16;                // tokens
  int32_t max_model_len = 0;              // tokens of prompt and output together
  int32_t max_num_seqs = 256;             // sequences in one step
  int32_t max_num_batched_tokens = 2048;  // tokens in one step
  int32_t max_queued_requests = 4096;     // waiting requests, inbox included; more are refused
  bool enable_prefix_caching = true;
  bool overlap = true;            // launch steps while others run, where the executor can
  int32_t correction_period = 0;  // tokens; see SparseAttentionConfig

  // INVALID_ARGUMENT "field: must be ..., got ...".
  absl::Status Validate() const;
};

}  // namespace tidal

#endif  // TIDAL_SCHEDULER_SCHEDULER_CONFIG_H_
