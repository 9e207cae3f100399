#include "server/generation/generation_service.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "scheduler/retry_after.h"
#include "scheduler/steady_time.h"
#include "server/generation/generation_request.h"
#include "server/generation/prompt.h"
#include "server/generation/token_queries.h"

namespace tidal {
namespace {

constexpr int kQueryNiceness = 10;

absl::Status Busy(absl::string_view why) {
  return WithRetryAfter(absl::ResourceExhaustedError(why), /*seconds=*/1);
}

}  // namespace

GenerationService::GenerationService(const ServedModel* model, ServingLoop* loop, Metrics* metrics,
                                     GenerationServiceOptions options)
    : model_(model),
      options_(std::move(options)),
      output_pool_(options_.output_threads, 0),
      query_pool_(options_.query_threads, static_cast<size_t>(options_.max_waiting_queries),
                  kQueryNiceness),
      intake_pool_(options_.intake_threads, static_cast<size_t>(options_.max_waiting_requests)) {
  context_.model = model;
  context_.loop = loop;
  context_.output_pool = &output_pool_;
  context_.metrics = metrics;
  context_.prefix_cache_scope = options_.prefix_cache_scope;
  context_.on_end = options_.on_request_end;
  context_.next_sequence_id = &next_sequence_id_;
  context_.live_generations = &live_generations_;
}

absl::Status GenerationService::Admit(const v1::GenerateRequest& request,
                                      const Caller& caller) const {
  if (!accepting_.load()) return absl::UnavailableError("the server is shutting down");
  if (stalled_.load()) return absl::UnavailableError("the model does not answer");
  if (live_generations_.load() >= options_.max_live_requests) {
    return Busy(absl::StrCat("the server has ", options_.max_live_requests, " requests"));
  }
  const auto num_outputs = static_cast<int32_t>(std::clamp<uint32_t>(request.n(), 1, kMaxOutputs));
  return context_.loop->CheckRoom(caller.tenant, num_outputs, FewestPromptTokens(request, *model_));
}

absl::Status GenerationService::RunQuery(WorkerPool::Job job, const std::string& tenant) {
  if (query_pool_.TryPost(std::move(job), tenant)) return absl::OkStatus();
  return Busy(absl::StrCat("the server has ", options_.max_waiting_queries,
                           " questions about text waiting"));
}

std::shared_ptr<Generation> GenerationService::Start(v1::GenerateRequest request, Caller caller) {
  caller.deadline = SteadyTimeOf(caller.deadline);
  absl::Status status = Admit(request, caller);
  const std::string request_id = request.request_id(), tenant = caller.tenant;
  auto generation = std::make_shared<Generation>(&context_, SteadyNow(), std::move(caller));
  if (status.ok() &&
      !intake_pool_.TryPost(
          [generation, request = std::move(request)] { generation->ParseAndSubmit(request); },
          tenant)) {
    status = Busy(
        absl::StrCat("the server has ", options_.max_waiting_requests, " new requests waiting"));
  }
  if (!status.ok()) generation->Refuse(std::move(status), request_id);
  return generation;
}

absl::StatusOr<v1::TokenizeResponse> GenerationService::Tokenize(
    const v1::TokenizeRequest& request) const {
  return tidal::Tokenize(request, *model_);
}

absl::StatusOr<v1::DetokenizeResponse> GenerationService::Detokenize(
    const v1::DetokenizeRequest& request) const {
  return tidal::Detokenize(request, *model_);
}

v1::ModelInfo GenerationService::GetModelInfo(const v1::GetModelInfoRequest& request) const {
  const EngineInfo& info = model_->info;
  v1::ModelInfo out;
  out.set_model(model_->names.front());
  for (const std::string& name : model_->names) out.add_served_names(name);
  out.set_architecture(info.architecture);
  out.set_max_model_len(static_cast<uint32_t>(info.max_model_len));
  out.set_vocab_size(static_cast<uint32_t>(info.vocab_size));
  out.set_kv_block_size(static_cast<uint32_t>(info.block_size));
  out.set_num_kv_blocks(static_cast<uint32_t>(info.num_blocks));
  out.set_max_num_seqs(static_cast<uint32_t>(info.max_num_seqs));
  out.set_attention_pattern(info.attention.pattern);
  out.set_default_attention_mode(model_->default_attention_mode == AttentionMode::kTidal
                                     ? v1::ATTENTION_MODE_TIDAL
                                     : v1::ATTENTION_MODE_FULL);
  out.set_default_token_budget(static_cast<uint32_t>(model_->default_token_budget));
  out.set_device(info.device);
  out.set_version(model_->version);
  out.set_created_unix_seconds(model_->created_unix_seconds);
  out.set_tool_call_parser(model_->reply_formats.calls_name());
  out.set_reasoning_parser(model_->reply_formats.reasoning_name());
  if (request.tokenizer_info()) out.set_tokenizer_info(model_->tokenizer_info);
  return out;
}

}  // namespace tidal
