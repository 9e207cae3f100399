#include "tests/scheduler/harness.h"

#include <numeric>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "scheduler/admission.h"
#include "scheduler/invariants.h"

namespace tidal {

SchedulerConfig SmallConfig() {
  SchedulerConfig config;
  config.num_blocks = 64;
  config.block_size = 4;
  config.max_model_len = 200;
  config.vocab_size = kTestVocabSize;
  config.max_num_seqs = 8;
  config.max_num_batched_tokens = 32;
  config.max_queued_requests = 64;
  return config;
}

SchedulerConfig TinyPoolConfig() {
  SchedulerConfig config = SmallConfig();
  config.num_blocks = 10;
  config.max_model_len = 41;
  return config;
}

std::vector<TokenId> Prompt(int32_t size, TokenId first) {
  std::vector<TokenId> prompt(size);
  std::iota(prompt.begin(), prompt.end(), first);
  return prompt;
}

std::unique_ptr<Request> MakeRequest(SequenceId id, std::vector<TokenId> prompt,
                                     int32_t max_tokens) {
  auto request = std::make_unique<Request>();
  request->id = id;
  request->prompt = std::move(prompt);
  request->sampling.temperature = 0;
  request->stop.max_tokens = max_tokens;
  request->stream = std::make_shared<TokenStream>();
  return request;
}

AttentionPolicy Tidal(int32_t budget) {
  return {.mode = AttentionMode::kTidal, .token_budget = budget, .dense_below = 0};
}

Harness::Harness(const SchedulerConfig& config, int32_t vocab_size)
    : config_(config),
      vocab_size_(vocab_size),
      scheduler_(std::make_unique<Scheduler>(config)),
      executor_(config, vocab_size),
      encoder_(config.max_num_seqs),
      decoder_({config.max_num_seqs, config.max_model_len, config.num_blocks}) {}

void Harness::Add(std::unique_ptr<Request> request) {
  ASSERT_TRUE(CheckAdmissible(*request, config_).ok()) << CheckAdmissible(*request, config_);
  request->arrival = now;
  results_[request->id].request = *request;
  scheduler_->Add(std::move(request));
}

void Harness::Abort(SequenceId id) {
  scheduler_->Abort(id, absl::CancelledError("cancelled by the test"), now);
  TakeEvents();
}

void Harness::SetDraft(SequenceId id, int32_t size, int32_t num_right) {
  if (scheduler_->step_in_flight()) return;
  for (const SequenceSnapshot& running : scheduler_->Snapshot().running) {
    if (running.id != id) continue;
    const std::vector<TokenId> expected = Expected(id);
    const int32_t num_output = running.num_tokens - running.num_prompt_tokens;
    std::vector<TokenId> draft;
    for (int32_t i = 0; i < size; ++i) {
      const auto at = static_cast<size_t>(num_output + i);
      const TokenId right = at < expected.size() ? expected[at] : 0;
      draft.push_back(i < num_right ? right : (right + 1) % vocab_size_);
    }
    scheduler_->SetDraft(id, draft);
  }
}

void Harness::Launch(const StepInput& input) {
  awaits_masks_ = input.masked();
  if (through_codec) {
    std::vector<char> bytes;
    encoder_.Encode(input, &bytes);
    const absl::StatusOr<StepInput> decoded = decoder_.Decode(bytes);
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    executor_.Launch(*decoded);
  } else {
    executor_.Launch(input);
  }
  std::vector<Row>& rows = launched_.emplace_back();
  for (const ScheduledSequence& s : input.sequences) {
    rows.push_back({s.id, s.num_computed_tokens, s.num_new_tokens, s.kind != RowKind::kPrefill,
                    s.num_wanted() > 0});
  }
}

void Harness::GiveMasks() {
  if (!std::exchange(awaits_masks_, false)) return;
  StepMasks masks = scheduler_->FillMasks();
  if (through_codec) {
    std::vector<char> bytes;
    EncodeMasks(masks, &bytes);
    absl::StatusOr<StepMasks> decoded = DecodeMasks(bytes);
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    masks = *std::move(decoded);
  }
  num_masked_ +=
      std::ranges::count_if(masks.of_sequences, [](int32_t m) { return m != StepMasks::kNoMask; });
  executor_.Sample(masks);
}

std::vector<Harness::Row> Harness::Step() {
  if (launched_.empty()) {
    const StepInput input = scheduler_->Schedule(now);
    if (!input.sequences.empty()) Launch(input);
    GiveMasks();
  }
  if (overlap) {
    if (const std::optional<StepInput> ahead = scheduler_->ScheduleAhead(now)) {
      Launch(*ahead);
      ++num_ahead_;
    }
  }
  std::vector<Row> rows;
  if (!launched_.empty()) {
    rows = std::move(launched_.front());
    launched_.pop_front();
    absl::StatusOr<StepOutput> output = executor_.Collect();
    EXPECT_TRUE(output.ok()) << output.status();
    if (!output.ok()) {
      scheduler_->AbortAll(FinishReason::kError, output.status(), now);
    } else {
      scheduler_->Commit(*output, now);
      GiveMasks();
    }
  }
  TakeEvents();
  CheckInvariants();
  return rows;
}

void Harness::RunToEnd(int32_t max_steps) {
  for (int32_t i = 0; i < max_steps && (!scheduler_->empty() || !launched_.empty()); ++i) Step();
  EXPECT_TRUE(scheduler_->empty()) << scheduler_->num_running() << " sequences still run, "
                                   << scheduler_->num_waiting() << " wait";
  if (scheduler_->empty()) {
    EXPECT_EQ(scheduler_->blocks().num_available(), config_.num_blocks);
  }
}

void Harness::TakeEvents() {
  SchedulerEvents events = scheduler_->TakeEvents();
  for (SchedulerEvents::PromptLogprobs& event : events.prompt_logprobs) {
    event.stream->PushPromptLogprobs(std::move(event.logprobs));
  }
  for (SchedulerEvents::Token& event : events.tokens) event.stream->Push(std::move(event.token));
  for (SchedulerEvents::Finish& event : events.finishes) {
    event.request->stream->Finish(std::move(event.info));
    TokenStream::Events all = event.request->stream->TakeAll();
    Result& result = results_.at(event.request->id);
    EXPECT_FALSE(result.finish.has_value());
    for (const PromptLogprob& p : all.prompt_logprobs) result.prompt_ranks.push_back(p.rank);
    for (const SampledToken& token : all.tokens) result.tokens.push_back(token.id);
    result.finish = std::move(all.finish);
    EXPECT_EQ(result.finish->output_tokens, result.tokens.size());
  }
}

void Harness::ExpectOutputs() const {
  for (const auto& [id, result] : results_) {
    ASSERT_TRUE(result.finish.has_value()) << "request " << id;
    std::vector<TokenId> expected = Expected(id);
    std::vector<int32_t> prompt_ranks = KvExecutor::ExpectedPromptRanks(result.request);
    if (result.finish->reason == FinishReason::kError) {
      EXPECT_EQ(result.finish->status.code(), absl::StatusCode::kInternal);
    }
    if (result.finish->reason == FinishReason::kCancelled ||
        result.finish->reason == FinishReason::kError) {
      // A prefix of the whole.
      ASSERT_LE(result.tokens.size(), expected.size());
      expected.resize(result.tokens.size());
      ASSERT_LE(result.prompt_ranks.size(), prompt_ranks.size());
      ASSERT_TRUE(result.tokens.empty() || result.prompt_ranks == prompt_ranks);
      prompt_ranks.resize(result.prompt_ranks.size());
    }
    EXPECT_EQ(result.prompt_ranks, prompt_ranks) << "request " << id;
    EXPECT_EQ(result.tokens, expected) << "request " << id;
  }
}

void Harness::CheckInvariants() const {
  for (const std::string& violation : FindViolations(scheduler_->Snapshot())) {
    ADD_FAILURE() << violation;
  }
}

}  // namespace tidal
