// What the server does for its clients, whatever carries the requests: the gRPC service is a thin
// shell around this.
#ifndef TIDAL_SERVER_GENERATION_GENERATION_SERVICE_H_
#define TIDAL_SERVER_GENERATION_GENERATION_SERVICE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "proto/tidal/v1/inference.pb.h"
#include "scheduler/serving_loop.h"
#include "server/config/prefix_cache_scope.h"
#include "server/generation/caller.h"
#include "server/generation/generation.h"
#include "server/generation/served_model.h"
#include "server/generation/worker_pool.h"
#include "server/observe/metrics.h"

namespace tidal {

struct GenerationServiceOptions {
  int intake_threads = 2;           // tokenize and submit
  int output_threads = 2;           // detokenize and send
  int query_threads = 1;            // answer Tokenize and Detokenize
  int max_waiting_requests = 1024;  // for an intake thread; more are refused
  int max_waiting_queries = 32;     // for a query thread; more are refused
  int max_live_requests = 8192;     // accepted and not yet read to the end; more are refused
  PrefixCacheScope prefix_cache_scope = PrefixCacheScope::kTenant;
  std::function<void(const GenerationSummary&)> on_request_end;
};

// Thread-safe. Errors are statuses with gRPC's codes: INVALID_ARGUMENT and NOT_FOUND name the
// field, RESOURCE_EXHAUSTED asks to come back later, UNAVAILABLE means that the server shuts down.
class GenerationService {
 public:
  // Everything outlives the service. Destroy it after the loop has stopped and every generation has
  // been read to its end.
  GenerationService(const ServedModel* model, ServingLoop* loop, Metrics* metrics,
                    GenerationServiceOptions options);

  // Answers the request: an intake thread parses and submits it, the generation tells what comes.
  // Never fails: errors are the generation's end. The caller's deadline is a wall-clock time.
  std::shared_ptr<Generation> Start(v1::GenerateRequest request, Caller caller);

  // These two take the time of a tokenizer: call them through RunQuery().
  absl::StatusOr<v1::TokenizeResponse> Tokenize(const v1::TokenizeRequest& request) const;
  absl::StatusOr<v1::DetokenizeResponse> Detokenize(const v1::DetokenizeRequest& request) const;
  v1::ModelInfo GetModelInfo(const v1::GetModelInfoRequest& request = {}) const;

  // Runs `job` on a query thread: they are few and stand back, so that questions about text hold up
  // no generation. Tenants take turns. RESOURCE_EXHAUSTED when too many wait.
  absl::Status RunQuery(WorkerPool::Job job, const std::string& tenant);

  // For a request that goes to the loop directly.
  SequenceId NewSequenceId() { return next_sequence_id_.fetch_add(1); }

  // From now on Start() answers UNAVAILABLE.
  void StopAccepting() { accepting_.store(false); }
  // The same until it is called with false: no answer can be expected now.
  void SetStalled(bool stalled) { stalled_.store(stalled); }

 private:
  // May a request enter? Cheap: it decides before anything is tokenized, so that saying no takes no
  // time from those that were told yes.
  absl::Status Admit(const v1::GenerateRequest& request, const Caller& caller) const;

  const ServedModel* model_;
  const GenerationServiceOptions options_;
  std::atomic<bool> accepting_{true};
  std::atomic<bool> stalled_{false};
  std::atomic<SequenceId> next_sequence_id_{1};
  std::atomic<int64_t> live_generations_{0};
  GenerationContext context_;
  WorkerPool output_pool_;
  WorkerPool query_pool_;
  WorkerPool intake_pool_;  // last, so that it ends first: its jobs use the rest
};

}  // namespace tidal

#endif  // TIDAL_SERVER_GENERATION_GENERATION_SERVICE_H_
