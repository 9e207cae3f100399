#include "tests/server/generation/service_harness.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "engine/base/check.h"

namespace tidal {
namespace {

constexpr int32_t kPromptTokens = 3;
constexpr int32_t kBlocks = 64;
constexpr int32_t kBlockSize = 16;

// Writes turns as tidal-nano's template does; refuses the role "nobody", as templates may.
class TestTemplate : public ChatTemplate {
 public:
  absl::StatusOr<std::string> Render(const ChatTemplateInput& input) const override {
    std::string text = "<|bos|>";
    for (const ChatTurn& turn : input.messages) {
      if (turn.role == "nobody") return absl::InvalidArgumentError("roles must be known");
      absl::StrAppend(&text, "<|", turn.role, "|>", absl::StrJoin(turn.content, ""), "<|end|>");
    }
    if (input.continue_final_message) text.resize(text.size() - sizeof("<|end|>") + 1);
    if (input.add_generation_prompt) absl::StrAppend(&text, "<|assistant|>");
    return text;
  }

  const std::string& source() const override { return source_; }

 private:
  const std::string source_;  // it has none
};

}  // namespace

std::unique_ptr<ServedModel> MakeTestModel() {
  auto model = std::make_unique<ServedModel>();
  model->names = {"tidal-nano", "nano"};
  model->version = "1.2.3";
  model->created_unix_seconds = 1234567;
  auto tokenizer = Tokenizer::Load("models/tidal-nano");
  TIDAL_CHECK(tokenizer.ok());
  model->tokenizer = *std::move(tokenizer);
  model->longest_token_bytes = LongestTokenBytes(*model->tokenizer);
  model->chat_template = std::make_unique<TestTemplate>();
  model->info.architecture = "LlamaForCausalLM";
  model->info.device = "fake";
  model->info.vocab_size = 4096;
  model->info.max_model_len = kTestMaxModelLen;
  model->info.block_size = kBlockSize;
  model->info.num_blocks = kBlocks;
  model->info.max_num_seqs = 16;
  model->info.max_num_batched_tokens = 256;
  model->info.max_token_budget = 64;
  model->info.tidal_available = true;
  model->info.attention.pattern = "DDSRRRSR";
  model->info.attention.token_budget = 8;
  model->info.attention.dense_below = 10;
  model->eos_token_ids = {kEndToken, 1};
  GrammarCompilerOptions grammars;
  grammars.vocab_size = model->info.vocab_size;
  grammars.stop_tokens = model->eos_token_ids;
  model->grammars = std::make_unique<GrammarCompiler>(*model->tokenizer, grammars);
  model->defaults.temperature = 0;
  model->default_attention_mode = AttentionMode::kTidal;
  model->default_token_budget = 8;
  return model;
}

void Reply::Add(const v1::GenerateResponse& event) {
  EXPECT_FALSE(usage.has_value()) << "an event after usage";
  if (finish_due.has_value()) {
    EXPECT_EQ(event.finish().index(), *finish_due);
    EXPECT_TRUE(event.has_finish()) << "the finish must follow the last delta at once";
    finish_due.reset();
  }
  switch (event.event_case()) {
    case v1::GenerateResponse::kPrompt:
      EXPECT_FALSE(prompt.has_value());
      prompt = event.prompt();
      break;
    case v1::GenerateResponse::kDelta: {
      EXPECT_TRUE(prompt.has_value());
      outputs.resize(std::max<size_t>(outputs.size(), event.delta().index() + 1));
      Output& output = outputs[event.delta().index()];
      EXPECT_FALSE(output.finish.has_value()) << "a delta after its output's finish";
      output.text += event.delta().text();
      output.token_ids.insert(output.token_ids.end(), event.delta().token_ids().begin(),
                              event.delta().token_ids().end());
      output.logprobs.insert(output.logprobs.end(), event.delta().logprobs().begin(),
                             event.delta().logprobs().end());
      output.num_tokens += event.delta().num_tokens();
      ++output.deltas;
      output.last = event.delta().last();
      if (output.last) finish_due = event.delta().index();
      break;
    }
    case v1::GenerateResponse::kFinish:
      outputs.resize(std::max<size_t>(outputs.size(), event.finish().index() + 1));
      EXPECT_FALSE(outputs[event.finish().index()].finish.has_value());
      EXPECT_TRUE(outputs[event.finish().index()].last ||
                  outputs[event.finish().index()].deltas == 0)
          << "the last token must be known as such";
      outputs[event.finish().index()].finish = event.finish();
      break;
    case v1::GenerateResponse::kUsage:
      usage = event.usage();
      break;
    case v1::GenerateResponse::EVENT_NOT_SET:
      ADD_FAILURE() << "an empty event";
  }
}

ServiceHarness::ServiceHarness(HarnessOptions options) : model_(MakeTestModel()) {
  FakeExecutorOptions executor;
  executor.num_blocks = kBlocks;
  executor.block_size = kBlockSize;
  executor.vocab_size = model_->info.vocab_size;
  executor.next_token = [this](absl::Span<const TokenId> tokens) { return NextToken(tokens); };
  executor.on_step = options.on_step;
  executor.fail_at_step = options.fail_at_step;
  executor_ = std::make_unique<FakeExecutor>(std::move(executor));

  MetricsOptions metrics;
  metrics.model_name = "tidal-nano";
  metrics.block_size = kBlockSize;
  metrics.num_blocks = kBlocks;
  metrics.max_model_len = kTestMaxModelLen;
  metrics_ = std::make_unique<Metrics>(metrics);

  SchedulerConfig scheduler;
  scheduler.num_blocks = kBlocks;
  scheduler.block_size = kBlockSize;
  scheduler.max_model_len = kTestMaxModelLen;
  scheduler.vocab_size = model_->info.vocab_size;
  scheduler.max_num_seqs = model_->info.max_num_seqs;
  scheduler.max_num_batched_tokens = model_->info.max_num_batched_tokens;
  scheduler.max_queued_requests = options.max_queued_requests;
  LoopObserver observer;
  observer.on_step = [this](const StepStats& step, const LoopStats& loop) {
    metrics_->OnStep(step, loop);
  };
  loop_ = std::make_unique<ServingLoop>(scheduler, executor_.get(), std::move(observer));
  service_ = std::make_unique<GenerationService>(model_.get(), loop_.get(), metrics_.get(),
                                                 options.service);
  loop_->Start();
}

ServiceHarness::~ServiceHarness() { loop_->Stop(); }

void ServiceHarness::Say(std::vector<TokenId> tokens) {
  absl::MutexLock lock(&mutex_);
  script_ = std::move(tokens);
}

void ServiceHarness::Say(const std::string& text) {
  auto tokens = model_->tokenizer->Encode(text, /*add_special_tokens=*/false);
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  tokens->push_back(kEndToken);
  Say(*std::move(tokens));
}

TokenId ServiceHarness::NextToken(absl::Span<const TokenId> tokens) {
  absl::MutexLock lock(&mutex_);
  const size_t position = std::max<size_t>(tokens.size(), kPromptTokens) - kPromptTokens;
  return script_[std::min(position, script_.size() - 1)];
}

v1::GenerateRequest ServiceHarness::MakeRequest() const {
  v1::GenerateRequest request;
  for (uint32_t id = 100; id < 100 + kPromptTokens; ++id) request.mutable_token_ids()->add_ids(id);
  return request;
}

Reply ServiceHarness::Run(v1::GenerateRequest request) {
  const std::shared_ptr<Generation> generation = service_->Start(std::move(request), {});
  Reply reply;
  while (true) {
    Generation::Item item = generation->WaitNext();
    if (item.event.has_value()) reply.Add(*item.event);
    if (item.end.has_value()) {
      reply.status = *item.end;
      return reply;
    }
  }
}

void ServiceHarness::WaitUntilIdle() {
  while (true) {
    const LoopStats stats = loop_->stats();
    if (stats.running == 0 && stats.waiting == 0) return;
    absl::SleepFor(absl::Milliseconds(1));
  }
}

double ServiceHarness::Metric(const std::string& name_and_labels) const {
  const std::string text = metrics_->Render();
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::StartsWith(line, name_and_labels + " ")) continue;
    double value = -1;
    EXPECT_TRUE(absl::SimpleAtod(line.substr(name_and_labels.size() + 1), &value)) << line;
    return value;
  }
  ADD_FAILURE() << "no line of the metrics begins with " << name_and_labels;
  return -1;
}

}  // namespace tidal
