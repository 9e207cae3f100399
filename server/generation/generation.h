// One request being answered: n sequences in the serving loop on one side, the events of its reply
// on the other.
//
// Life: made by GenerationService::Start(); parsed and submitted on the intake pool; from then on
// each wake of a token stream posts one job to the output pool, which takes what has arrived,
// detokenizes it and wakes the consumer. What the consumer has not taken is merged, so a client
// that stops reading holds at most the text of its own request.
#ifndef TIDAL_SERVER_GENERATION_GENERATION_H_
#define TIDAL_SERVER_GENERATION_GENERATION_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "proto/tidal/v1/inference.pb.h"
#include "scheduler/serving_loop.h"
#include "server/config/prefix_cache_scope.h"
#include "server/generation/caller.h"
#include "server/generation/generation_request.h"
#include "server/generation/output_assembler.h"
#include "server/generation/served_model.h"
#include "server/generation/worker_pool.h"
#include "server/observe/metrics.h"

namespace tidal {

// How one request went, for its log line and its spans. Carries nothing of what was said.
struct GenerationSummary {
  std::string request_id;
  std::string model;
  TraceContext caller;   // the span that asked
  bool is_chat = false;  // the prompt came as a conversation
  absl::Status status;
  // Of each output: "stop", "length", "abort" or "error", with commas. Empty: none was begun.
  std::string finish;
  std::vector<FinishInfo> outputs;  // the same outputs
  AttentionPolicy attention;
  int32_t max_tokens = 0;
  int32_t n = 0, prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0;
  int32_t sparse_steps = 0, dense_steps = 0, preemptions = 0;
  absl::Duration time_to_first_token = absl::InfiniteDuration();  // infinite: none came
  absl::Time arrival, end;
};

// What generations share; owned by their service. Everything outlives them.
struct GenerationContext {
  const ServedModel* model = nullptr;
  ServingLoop* loop = nullptr;
  WorkerPool* output_pool = nullptr;
  Metrics* metrics = nullptr;
  PrefixCacheScope prefix_cache_scope = PrefixCacheScope::kTenant;
  std::function<void(const GenerationSummary&)> on_end;  // on an output thread; may be empty
  std::atomic<SequenceId>* next_sequence_id = nullptr;
  std::atomic<int64_t>* live_generations = nullptr;
};

// Thread-safe; one consumer. Kept alive by its consumer and, until it has ended, by itself.
class Generation : public std::enable_shared_from_this<Generation> {
 public:
  // Times as SteadyNow(), the caller's deadline too.
  Generation(const GenerationContext* context, absl::Time arrival, Caller caller);
  ~Generation();

  // One thing to send, or the end: ok when everything was sent. After the end there is nothing
  // more.
  struct Item {
    std::optional<v1::GenerateResponse> event;
    std::optional<absl::Status> end;
  };

  // Consumer: the next item. When nothing has arrived both are empty, and `wake` will run once, on
  // another thread, when it is worth asking again; it must not block.
  Item TakeNext(std::function<void()> wake);

  // Consumer, programs and tests: waits for the next item.
  Item WaitNext();

  // Ends the request soon. Nothing but `end` comes out any more; it comes once the loop has let go
  // of the request.
  void Cancel();

  // Service: parses the request and submits its outputs to the loop; what is wrong with it becomes
  // the end. Called once, on any thread.
  void ParseAndSubmit(const v1::GenerateRequest& request);
  // Service: instead of ParseAndSubmit(), ends with `status`, for which the request was refused.
  void Refuse(absl::Status status, const std::string& request_id);

 private:
  struct Output {
    Output(int index, SequenceId id, const Tokenizer* tokenizer, const GenerationRequest& request)
        : id(id),
          stream(std::make_shared<TokenStream>()),
          assembler(index, tokenizer, request.output, request.stop) {}
    const SequenceId id;
    std::shared_ptr<TokenStream> stream;
    OutputAssembler assembler;
    std::optional<FinishInfo> info;  // set when the loop has let go of it
    absl::Time last_token = absl::InfinitePast();
    bool finish_sent = false;
  };

  // What is parsed goes to the loop, under this structure; null: any text.
  void SubmitParsed(const CompiledStructure* structure);
  // All outputs or none.
  absl::Status Submit(const CompiledStructure* structure) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Null where any token may come.
  std::shared_ptr<TokenConstraint> MakeConstraint(const CompiledStructure* structure) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::unique_ptr<Request> MakeSequence(int index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Posts a TakeTokens() once, when tokens of the output have come.
  void TakeWhenReady(Output& output) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PostTakeTokens();  // to the output pool
  // Takes what came for all outputs and wakes the consumer.
  void TakeTokens();
  // Takes what came for one output. True when its stream's wake was spent, and more may come.
  bool TakeTokensOf(Output& output, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ObserveTokens(Output& output, int32_t count, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CancelUnfinished() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What the request was refused for, or cut short in the queue; nothing when it was not.
  std::optional<Metrics::Refused> RefusedReason() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Once every output is let go of, or there is none: metrics and summary.
  void Conclude() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Metrics::Finished FinishedReason(const Output& output) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::optional<v1::GenerateResponse> NextEvent() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::optional<v1::GenerateResponse> NextOutputEvent() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Takes what came of the prompt's log probabilities.
  void TakePromptLogprobs(const std::vector<PromptLogprob>& logprobs)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Is all there that PromptInfo tells?
  bool KnowsPrompt() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  v1::GenerateResponse MakePromptInfo() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  v1::GenerateResponse MakeUsage() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const GenerationContext* context_;
  const absl::Time arrival_;
  const Caller caller_;
  std::atomic<bool> take_posted_{false};

  absl::Mutex mutex_;
  bool is_chat_ ABSL_GUARDED_BY(mutex_) = false;
  GenerationRequest request_ ABSL_GUARDED_BY(mutex_);
  std::deque<Output> outputs_ ABSL_GUARDED_BY(mutex_);
  int next_output_ ABSL_GUARDED_BY(mutex_) = 0;  // round robin over outputs in NextEvent
  // Of the prompt's tokens so far, if they are wanted; until they are sent.
  google::protobuf::RepeatedPtrField<v1::TokenLogprobs> prompt_logprobs_ ABSL_GUARDED_BY(mutex_);
  bool submitted_ ABSL_GUARDED_BY(mutex_) = false;
  bool prompt_sent_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<v1::GenerateResponse> second_event_ ABSL_GUARDED_BY(mutex_);  // after the prompt's
  bool usage_sent_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;  // by the consumer
  bool concluded_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status error_ ABSL_GUARDED_BY(mutex_);  // of the first output that failed
  std::function<void()> wake_ ABSL_GUARDED_BY(mutex_);
  absl::Duration time_to_first_token_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteDuration();
};

}  // namespace tidal

#endif  // TIDAL_SERVER_GENERATION_GENERATION_H_
