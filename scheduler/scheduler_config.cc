#include "scheduler/scheduler_config.h"

#include "absl/strings/str_cat.h"

namespace tidal {
namespace {

absl::Status MustBe(absl::string_view field, absl::string_view what, int64_t got) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": must be ", what, ", got ", got));
}

}  // namespace

absl::Status SchedulerConfig::Validate() const {
  if (num_blocks < 1) return MustBe("num_blocks", "at least 1", num_blocks);
  if (block_size < 1) return MustBe("block_size", "at least 1", block_size);
  if (max_model_len < 2) return MustBe("max_model_len", "at least 2", max_model_len);
  if (max_num_seqs < 1) return MustBe("max_num_seqs", "at least 1", max_num_seqs);
  // A step of nothing but decode rows must leave room for a prompt, or prompts could starve.
  if (max_num_batched_tokens <= max_num_seqs) {
    return MustBe("max_num_batched_tokens",
                  absl::StrCat("more than max_num_seqs (", max_num_seqs, ")"),
                  max_num_batched_tokens);
  }
  if (max_sampled_tokens != 0 && max_sampled_tokens < max_num_seqs) {
    return MustBe("max_sampled_tokens",
                  absl::StrCat("0 or at least max_num_seqs (", max_num_seqs, ")"),
                  max_sampled_tokens);
  }
  if (max_queued_requests < 1) {
    return MustBe("max_queued_requests", "at least 1", max_queued_requests);
  }
  if (max_queued_tokens < 0) return MustBe("max_queued_tokens", "at least 0", max_queued_tokens);
  if (max_queue_time <= absl::ZeroDuration()) {
    return MustBe("max_queue_time", "more than 0 s", absl::ToInt64Seconds(max_queue_time));
  }
  if (mask_threads < 1) return MustBe("mask_threads", "at least 1", mask_threads);
  if (correction_period < 0) return MustBe("correction_period", "at least 0", correction_period);
  return absl::OkStatus();
}

}  // namespace tidal
