// The generation service over the real serving loop and a fake executor that says what a test
// wants.
#ifndef TIDAL_TESTS_SERVER_GENERATION_SERVICE_HARNESS_H_
#define TIDAL_TESTS_SERVER_GENERATION_SERVICE_HARNESS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "proto/tidal/v1/inference.pb.h"
#include "scheduler/serving_loop.h"
#include "server/generation/generation_service.h"
#include "server/generation/served_model.h"
#include "server/observe/metrics.h"
#include "tests/support/fake_executor.h"

namespace tidal {

// tidal-nano's tokenizer and end tokens, a template like its own, small limits: 200 tokens of
// prompt and output together, budgets up to 64, 8 by default.
std::unique_ptr<ServedModel> MakeTestModel();
inline constexpr int32_t kTestMaxModelLen = 200;
inline constexpr TokenId kEndToken = 6;  // <|end|>

// One reply, put together from its events in the order they must have.
struct Reply {
  struct Output {
    std::string text;
    std::vector<uint32_t> token_ids;
    std::vector<v1::TokenLogprobs> logprobs;
    uint32_t num_tokens = 0;
    int deltas = 0;
    bool last = false;  // the last delta said so
    std::optional<v1::OutputFinish> finish;
  };
  absl::Status status;
  std::optional<v1::PromptInfo> prompt;
  std::vector<Output> outputs;
  std::optional<v1::Usage> usage;
  std::optional<uint32_t> finish_due;  // of this output, as the next event

  // Adds one event; false, with a failed expectation, when it may not come here.
  void Add(const v1::GenerateResponse& event);
};

struct HarnessOptions {
  int32_t max_queued_requests = 64;
  int64_t fail_at_step = -1;
  // Runs before each step, on the loop's thread.
  std::function<void(const StepInput&)> on_step;
  GenerationServiceOptions service;
};

class ServiceHarness {
 public:
  explicit ServiceHarness(HarnessOptions options = {});
  ~ServiceHarness();

  // From now on requests with the prompt of MakeRequest() get these tokens, then more of the last.
  void Say(std::vector<TokenId> tokens);
  // The tokens of `text`, then the end token.
  void Say(const std::string& text);

  // Three tokens as prompt, greedy.
  v1::GenerateRequest MakeRequest() const;
  // Runs to the end.
  Reply Run(v1::GenerateRequest request);
  // Waits until the loop holds nothing any more.
  void WaitUntilIdle();
  // The value of one line of the metrics; fails the test when there is no such line.
  double Metric(const std::string& name_and_labels) const;

  ServedModel& model() { return *model_; }
  ServingLoop& loop() { return *loop_; }
  GenerationService& service() { return *service_; }
  Metrics& metrics() { return *metrics_; }

 private:
  TokenId NextToken(absl::Span<const TokenId> tokens);

  std::unique_ptr<ServedModel> model_;
  absl::Mutex mutex_;
  std::vector<TokenId> script_ ABSL_GUARDED_BY(mutex_) = {kEndToken};
  std::unique_ptr<FakeExecutor> executor_;
  std::unique_ptr<Metrics> metrics_;
  std::unique_ptr<ServingLoop> loop_;
  std::unique_ptr<GenerationService> service_;
};

}  // namespace tidal

#endif  // TIDAL_TESTS_SERVER_GENERATION_SERVICE_HARNESS_H_
