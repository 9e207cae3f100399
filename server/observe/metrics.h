// Prometheus metrics: vLLM's names under "vllm:", so that its dashboards, autoscalers and routers
// work unchanged, and ours under "tidal:".
#ifndef TIDAL_SERVER_OBSERVE_METRICS_H_
#define TIDAL_SERVER_OBSERVE_METRICS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "engine/engine.h"
#include "engine/step.h"
#include "scheduler/serving_loop.h"
#include "scheduler/token_stream.h"
#include "server/observe/health_monitor.h"

namespace tidal {

struct MetricsOptions {
  std::string model_name;
  int32_t block_size = 0;
  int32_t num_blocks = 0;
  int32_t max_model_len = 0;
  bool enable_prefix_caching = true;
  std::vector<MemoryUse> memory;  // of each rank's device
};

// Thread-safe. What runs for each token is lock-free.
class Metrics {
 public:
  explicit Metrics(const MetricsOptions& options);
  ~Metrics();

  // Off during a warm-up: what its steps did is not counted, then or later.
  void SetCounting(bool counting);

  // For LoopObserver::on_step and on_block_use; one thread.
  void OnStep(const StepStats& step, const LoopStats& loop);
  void OnBlockUse(const BlockUse& use);

  // The first token of an output came `latency` after the request.
  void OnFirstToken(int32_t prompt_tokens, absl::Duration latency);
  // `count` tokens of an output came; `num_gaps` of them followed another token, `gap` after it on
  // average.
  void OnTokens(int32_t count, int32_t num_gaps, absl::Duration gap);

  // One output has ended. generation_tokens: those the client was given.
  enum class Finished { kStop, kLength, kAbort, kError };
  void OnOutputFinished(Finished reason, const FinishInfo& info, int32_t generation_tokens,
                        int32_t max_tokens);
  // All n outputs of a request have ended; the longest had this many tokens.
  void OnRequestFinished(int32_t n, int32_t longest_generation);

  // A request was not begun.
  enum class Refused { kQueueRequests, kQueueTokens, kQueueTime, kUnavailable, kInvalid };
  void OnRefused(Refused reason);

  // What probes are told, and what waits.
  void OnHealth(const Health& health);

  // The text format of Prometheus, version 0.0.4.
  std::string Render() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_OBSERVE_METRICS_H_
