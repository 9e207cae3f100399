#include "server/generation/generation.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "engine/base/check.h"
#include "scheduler/queue_limit.h"
#include "scheduler/steady_time.h"
#include "server/generation/logprob_message.h"

namespace tidal {
namespace {

const char* Name(Metrics::Finished reason) {
  switch (reason) {
    case Metrics::Finished::kStop:
      return "stop";
    case Metrics::Finished::kLength:
      return "length";
    case Metrics::Finished::kAbort:
      return "abort";
    case Metrics::Finished::kError:
      return "error";
  }
  return "error";
}

}  // namespace

Generation::Generation(const GenerationContext* context, absl::Time arrival, Caller caller)
    : context_(context), arrival_(arrival), caller_(std::move(caller)) {
  context_->live_generations->fetch_add(1);
}

Generation::~Generation() { context_->live_generations->fetch_sub(1); }

void Generation::Refuse(absl::Status status, const std::string& request_id) {
  std::function<void()> wake;
  {
    absl::MutexLock lock(&mutex_);
    request_.request_id = request_id.substr(0, kMaxRequestIdBytes);
    error_ = std::move(status);
    Conclude();
    wake = std::exchange(wake_, nullptr);
  }
  if (wake) wake();
}

void Generation::ParseAndSubmit(const v1::GenerateRequest& request) {
  auto parsed = ParseGenerationRequest(request, *context_->model);
  if (!parsed.ok()) return Refuse(parsed.status(), request.request_id());
  const std::optional<std::string> structure = std::move(parsed->structure);
  const std::string request_id = parsed->request_id;
  {
    absl::MutexLock lock(&mutex_);
    request_ = *std::move(parsed);
    is_chat_ = request.has_chat();
    if (request_.sampling.wants_prompt_logprobs()) {
      *prompt_logprobs_.Add() =
          MakeFirstTokenLogprobs(request_.prompt.front(), *context_->model->tokenizer);
    }
  }
  if (!structure.has_value()) return SubmitParsed(nullptr);
  context_->model->grammars->Compile(
      *structure, [self = shared_from_this(), request_id](const GrammarCompiler::Result& compiled) {
        if (!compiled.ok()) return self->Refuse(compiled.status(), request_id);
        self->SubmitParsed(compiled->get());
      });
}

void Generation::SubmitParsed(const CompiledStructure* structure) {
  std::function<void()> wake;
  {
    absl::MutexLock lock(&mutex_);
    if (!cancelled_) error_ = Submit(structure);
    if (outputs_.empty()) Conclude();
    for (Output& output : outputs_) TakeWhenReady(output);
    submitted_ = true;
    wake = std::exchange(wake_, nullptr);
  }
  if (wake) wake();
}

absl::Status Generation::Submit(const CompiledStructure* structure) {
  std::vector<std::unique_ptr<Request>> sequences;
  for (int i = 0; i < request_.n; ++i) {
    sequences.push_back(MakeSequence(i));
    sequences.back()->constraint = MakeConstraint(structure);
  }
  absl::Status status = context_->loop->Submit(std::move(sequences));
  if (!status.ok()) outputs_.clear();
  return status;
}

std::shared_ptr<TokenConstraint> Generation::MakeConstraint(
    const CompiledStructure* structure) const {
  const StopCriteria& stop = request_.stop;
  std::shared_ptr<TokenConstraint> constraint;
  if (structure != nullptr) constraint = structure->MakeConstraint(stop.min_tokens);
  if (request_.filter == nullptr) return constraint;
  return MakeFilterConstraint(request_.filter, std::move(constraint), stop.stop_token_ids,
                              stop.min_tokens);
}

std::unique_ptr<Request> Generation::MakeSequence(int index) {
  auto sequence = std::make_unique<Request>();
  sequence->id = context_->next_sequence_id->fetch_add(1);
  sequence->prompt = request_.prompt;
  sequence->sampling = request_.sampling;
  sequence->sampling.seed += static_cast<uint64_t>(index);
  // They are the same of all outputs.
  if (index > 0) sequence->sampling.num_prompt_logprobs = SamplingParams::kNoPromptLogprobs;
  sequence->stop = request_.stop;
  sequence->attention = request_.attention;
  sequence->priority = request_.priority;
  sequence->cache_salt =
      ScopedCacheSalt(context_->prefix_cache_scope, caller_.tenant, request_.cache_salt);
  sequence->arrival = arrival_;
  sequence->tenant = caller_.tenant;
  sequence->deadline = caller_.deadline;
  const Output& output =
      outputs_.emplace_back(index, sequence->id, context_->model->tokenizer.get(), request_);
  sequence->stream = output.stream;
  return sequence;
}

void Generation::TakeWhenReady(Output& output) {
  output.stream->NotifyWhenReady([self = shared_from_this()] { self->PostTakeTokens(); });
}

void Generation::PostTakeTokens() {
  if (take_posted_.exchange(true)) return;
  context_->output_pool->Post([self = shared_from_this()] { self->TakeTokens(); });
}

void Generation::TakeTokens() {
  // First of all: what arrives from here on posts another job.
  take_posted_.store(false);
  std::function<void()> wake;
  {
    absl::MutexLock lock(&mutex_);
    const absl::Time now = SteadyNow();
    bool all_done = true;
    for (Output& output : outputs_) {
      if (output.info.has_value()) continue;
      if (TakeTokensOf(output, now)) TakeWhenReady(output);
      all_done = all_done && output.info.has_value();
    }
    if (all_done && !concluded_) Conclude();
    wake = std::exchange(wake_, nullptr);
  }
  if (wake) wake();
}

bool Generation::TakeTokensOf(Output& output, absl::Time now) {
  TokenStream::Events events = output.stream->TakeAll();
  const bool was_ended = output.assembler.ended();
  TakePromptLogprobs(events.prompt_logprobs);
  for (SampledToken& token : events.tokens) output.assembler.Append(std::move(token));
  if (events.finish.has_value()) output.assembler.Finish(*events.finish);
  ObserveTokens(output, static_cast<int32_t>(events.tokens.size()), now);
  if (!events.finish.has_value()) {
    if (!was_ended && output.assembler.ended()) context_->loop->Cancel(output.id);
    return !events.prompt_logprobs.empty() || !events.tokens.empty();  // they spent the wake
  }
  output.info = std::move(events.finish);
  const FinishReason reason = output.info->reason;
  const bool failed = reason == FinishReason::kCancelled || reason == FinishReason::kError;
  if (failed && !output.assembler.stopped_by_string() && error_.ok()) {
    error_ = output.info->status.ok() ? absl::CancelledError("cancelled") : output.info->status;
    CancelUnfinished();
  }
  return false;
}

void Generation::TakePromptLogprobs(const std::vector<PromptLogprob>& logprobs) {
  for (const PromptLogprob& logprob : logprobs) {
    const TokenId id = request_.prompt[prompt_logprobs_.size()];
    *prompt_logprobs_.Add() = MakeTokenLogprobs(id, logprob, *context_->model->tokenizer);
  }
}

void Generation::ObserveTokens(Output& output, int32_t count, absl::Time now) {
  if (count == 0) return;
  const bool first = output.last_token == absl::InfinitePast();
  if (first) {
    time_to_first_token_ = std::min(time_to_first_token_, now - arrival_);
    context_->metrics->OnFirstToken(static_cast<int32_t>(request_.prompt.size()), now - arrival_);
  }
  // Tokens that came together count as evenly spaced, or as one when the first is among them.
  const absl::Duration gap = first ? absl::ZeroDuration() : (now - output.last_token) / count;
  context_->metrics->OnTokens(count, first ? count - 1 : count, gap);
  output.last_token = now;
}

void Generation::CancelUnfinished() {
  for (const Output& output : outputs_) {
    if (!output.info.has_value()) context_->loop->Cancel(output.id);
  }
}

Metrics::Finished Generation::FinishedReason(const Output& output) const {
  if (output.assembler.stopped_by_string()) return Metrics::Finished::kStop;
  switch (output.info->reason) {
    case FinishReason::kStop:
      return Metrics::Finished::kStop;
    case FinishReason::kLength:
      return Metrics::Finished::kLength;
    case FinishReason::kCancelled:
      return Metrics::Finished::kAbort;
    case FinishReason::kError:
      return Metrics::Finished::kError;
  }
  return Metrics::Finished::kError;
}

std::optional<Metrics::Refused> Generation::RefusedReason() const {
  if (cancelled_) return std::nullopt;
  const bool was_queued = !outputs_.empty();
  switch (error_.code()) {
    case absl::StatusCode::kResourceExhausted:
      if (was_queued) return Metrics::Refused::kQueueTime;
      return QueueLimitOf(error_) == QueueLimit::kTokens ? Metrics::Refused::kQueueTokens
                                                         : Metrics::Refused::kQueueRequests;
    case absl::StatusCode::kUnavailable:
      if (was_queued) return std::nullopt;
      return Metrics::Refused::kUnavailable;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
      return Metrics::Refused::kInvalid;
    default:
      return std::nullopt;
  }
}

void Generation::Conclude() {
  concluded_ = true;
  if (const auto refused = RefusedReason()) context_->metrics->OnRefused(*refused);
  GenerationSummary summary;
  summary.request_id = request_.request_id;
  summary.model = context_->model->names.front();
  summary.caller = caller_.trace;
  summary.is_chat = is_chat_;
  summary.status = cancelled_ ? absl::CancelledError("cancelled by the client") : error_;
  summary.n = request_.n;
  summary.prompt_tokens = static_cast<int32_t>(request_.prompt.size());
  summary.time_to_first_token = time_to_first_token_;
  summary.arrival = arrival_;
  summary.end = SteadyNow();
  summary.attention = request_.attention;
  summary.max_tokens = request_.stop.max_tokens;
  int32_t longest = 0;
  for (const Output& output : outputs_) {
    const Metrics::Finished reason = FinishedReason(output);
    const int32_t tokens = output.assembler.completion_tokens();
    context_->metrics->OnOutputFinished(reason, *output.info, tokens, request_.stop.max_tokens);
    absl::StrAppend(&summary.finish, summary.finish.empty() ? "" : ",", Name(reason));
    summary.cached_tokens = std::max(summary.cached_tokens, output.info->cached_tokens);
    summary.completion_tokens += tokens;
    summary.sparse_steps += output.info->sparse_steps;
    summary.dense_steps += output.info->dense_steps;
    summary.preemptions += output.info->preemptions;
    longest = std::max(longest, tokens);
    summary.outputs.push_back(*output.info);
  }
  if (!outputs_.empty()) context_->metrics->OnRequestFinished(request_.n, longest);
  if (context_->on_end) context_->on_end(summary);
}

Generation::Item Generation::TakeNext(std::function<void()> wake) {
  absl::MutexLock lock(&mutex_);
  TIDAL_CHECK(wake_ == nullptr);
  Item item;
  if (!cancelled_ && error_.ok()) item.event = NextEvent();
  if (item.event.has_value()) return item;
  if (concluded_) {
    item.end = cancelled_ ? absl::CancelledError("cancelled by the client") : error_;
  } else {
    wake_ = std::move(wake);
  }
  return item;
}

Generation::Item Generation::WaitNext() {
  while (true) {
    absl::Notification ready;
    Item item = TakeNext([&ready] { ready.Notify(); });
    if (item.event.has_value() || item.end.has_value()) return item;
    ready.WaitForNotification();
  }
}

// The first event commits the reply: until then a gateway may send the request elsewhere, and a
// refusal has its own status. So what is known of the prompt waits for the first of the answer.
std::optional<v1::GenerateResponse> Generation::NextEvent() {
  if (!submitted_) return std::nullopt;
  if (second_event_.has_value()) return std::exchange(second_event_, std::nullopt);
  if (!prompt_sent_ && !KnowsPrompt()) return std::nullopt;
  std::optional<v1::GenerateResponse> event = NextOutputEvent();
  if (prompt_sent_ || !event.has_value()) return event;
  prompt_sent_ = true;
  second_event_ = std::move(event);
  return MakePromptInfo();
}

std::optional<v1::GenerateResponse> Generation::NextOutputEvent() {
  const int count = static_cast<int>(outputs_.size());
  for (int i = 0; i < count; ++i) {
    Output& output = outputs_[next_output_];
    v1::GenerateResponse response;
    if (std::optional<v1::OutputDelta> delta = output.assembler.TakeDelta(); delta.has_value()) {
      // Its finish is the next event, so that they can be shown as one.
      delta->set_last(output.assembler.ended());
      if (!delta->last()) next_output_ = (next_output_ + 1) % count;
      *response.mutable_delta() = *std::move(delta);
      return response;
    }
    next_output_ = (next_output_ + 1) % count;
    if (output.assembler.ended() && !output.finish_sent) {
      output.finish_sent = true;
      *response.mutable_finish() = output.assembler.MakeFinish();
      return response;
    }
  }
  if (!concluded_ || usage_sent_) return std::nullopt;
  usage_sent_ = true;
  return MakeUsage();
}

bool Generation::KnowsPrompt() const {
  return !request_.sampling.wants_prompt_logprobs() ||
         static_cast<size_t>(prompt_logprobs_.size()) == request_.prompt.size();
}

v1::GenerateResponse Generation::MakePromptInfo() {
  v1::GenerateResponse response;
  v1::PromptInfo* info = response.mutable_prompt();
  info->set_request_id(request_.request_id);
  info->set_model(context_->model->names.front());
  info->set_prompt_tokens(static_cast<uint32_t>(request_.prompt.size()));
  if (request_.output.return_token_ids) {
    info->mutable_token_ids()->Add(request_.prompt.begin(), request_.prompt.end());
  }
  info->mutable_logprobs()->Swap(&prompt_logprobs_);
  return response;
}

v1::GenerateResponse Generation::MakeUsage() const {
  v1::GenerateResponse response;
  v1::Usage* usage = response.mutable_usage();
  v1::AttentionUsage* attention = usage->mutable_attention();
  const bool tidal = request_.attention.mode == AttentionMode::kTidal;
  attention->set_mode(tidal ? v1::ATTENTION_MODE_TIDAL : v1::ATTENTION_MODE_FULL);
  attention->set_budget(static_cast<uint32_t>(tidal ? request_.attention.token_budget : 0));
  usage->set_prompt_tokens(static_cast<uint32_t>(request_.prompt.size()));
  usage->set_cached_tokens(static_cast<uint32_t>(outputs_.front().info->cached_tokens));
  int32_t completion = 0, reasoning = 0, sparse = 0, dense = 0;
  for (const Output& output : outputs_) {
    completion += output.assembler.completion_tokens();
    reasoning += output.assembler.reasoning_tokens();
    sparse += output.info->sparse_steps;
    dense += output.info->dense_steps;
  }
  usage->set_completion_tokens(static_cast<uint32_t>(completion));
  usage->set_reasoning_tokens(static_cast<uint32_t>(reasoning));
  attention->set_sparse_steps(static_cast<uint32_t>(sparse));
  attention->set_dense_steps(static_cast<uint32_t>(dense));
  return response;
}

void Generation::Cancel() {
  absl::MutexLock lock(&mutex_);
  if (cancelled_) return;
  cancelled_ = true;
  CancelUnfinished();
}

}  // namespace tidal
