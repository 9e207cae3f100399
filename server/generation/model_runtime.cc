#include "server/generation/model_runtime.h"

#include <algorithm>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/base/status_macros.h"
#include "engine/checkpoint/generation_config.h"
#include "server/generation/warm_up.h"
#include "server/observe/logging.h"
#include "server/observe/version.h"
#include "server/text/tokenizer_info.h"

namespace tidal {
namespace {

GenerationDefaults MakeDefaults(const GenerationConfig& config) {
  GenerationDefaults out;
  out.temperature = config.temperature.value_or(out.temperature);
  if (config.do_sample.has_value() && !*config.do_sample) out.temperature = 0;
  out.top_k = config.top_k.value_or(out.top_k);
  out.top_p = config.top_p.value_or(out.top_p);
  out.min_p = config.min_p.value_or(out.min_p);
  out.repetition_penalty = config.repetition_penalty.value_or(out.repetition_penalty);
  out.max_tokens = config.max_new_tokens;
  return out;
}

absl::Status LoadText(const ModelOptions& options, ServedModel* model) {
  const std::string& folder = options.engine.model_path;
  TIDAL_ASSIGN_OR_RETURN(model->tokenizer, Tokenizer::Load(folder));
  if (model->tokenizer->vocab_size() > model->info.vocab_size) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder, "/tokenizer.json: must have at most the model's ",
                     model->info.vocab_size, " tokens, got ", model->tokenizer->vocab_size()));
  }
  model->longest_token_bytes = LongestTokenBytes(*model->tokenizer);
  if (options.enable_tokenizer_info_endpoint) {
    TIDAL_ASSIGN_OR_RETURN(model->tokenizer_info, ReadTokenizerInfo(folder, options.chat_template));
  }
  if (options.escape_special_tokens) {
    auto texts = model->tokenizer->special_token_texts();
    if (!texts.ok()) {
      return absl::Status(texts.status().code(),
                          absl::StrCat("escape_special_tokens: must be false with ", folder,
                                       "/tokenizer.json: ", texts.status().message()));
    }
    model->escaped_tokens = std::make_unique<SpecialTokenTexts>(*std::move(texts));
  }
  auto chat_template = ChatTemplate::Load(folder, options.chat_template);
  // Plain completions work with a model that has no template.
  if (!options.chat_template.empty() || !absl::IsNotFound(chat_template.status())) {
    TIDAL_ASSIGN_OR_RETURN(model->chat_template, std::move(chat_template));
  }
  TIDAL_ASSIGN_OR_RETURN(model->reply_formats,
                         FindReplyFormats({options.tool_call_parser, options.reasoning_parser},
                                          model->chat_template.get(), *model->tokenizer));
  return absl::OkStatus();
}

absl::Status LoadServedModel(const ModelOptions& options, const EngineInfo& info,
                             ServedModel* model) {
  model->names = options.served_model_names;
  model->version = std::string(Version());
  model->created_unix_seconds = absl::ToUnixSeconds(absl::Now());
  model->info = info;
  TIDAL_RETURN_IF_ERROR(LoadText(options, model));
  TIDAL_ASSIGN_OR_RETURN(const GenerationConfig generation,
                         ReadGenerationConfig(options.engine.model_path, info.vocab_size));
  model->defaults = MakeDefaults(generation);
  model->eos_token_ids = generation.eos_token_ids.value_or(info.eos_token_ids);
  GrammarCompilerOptions grammars;
  grammars.vocab_size = info.vocab_size;
  grammars.stop_tokens = model->eos_token_ids;
  model->grammars = std::make_unique<GrammarCompiler>(*model->tokenizer, grammars);
  model->default_attention_mode =
      info.tidal_chosen ? options.default_attention_mode : AttentionMode::kFull;
  if (options.token_budget.value_or(0) > info.max_token_budget) {
    return absl::InvalidArgumentError(
        absl::StrCat("token_budget: must be at most max_token_budget, ", info.max_token_budget,
                     ", got ", *options.token_budget));
  }
  model->default_token_budget =
      options.token_budget.value_or(std::min(info.attention.token_budget, info.max_token_budget));
  return absl::OkStatus();
}

// Enough for the tokens of a large batch, few beside the threads that compute.
int NumServiceThreads() {
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()) / 4, 2, 8);
}

// Idle where no output is constrained; a CPU back end waits while they work.
int NumMaskThreads() {
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, 8);
}

SchedulerConfig MakeSchedulerConfig(const ModelOptions& options, const EngineInfo& info) {
  SchedulerConfig config;
  config.num_blocks = info.num_blocks;
  config.block_size = info.block_size;
  config.vocab_size = info.vocab_size;
  config.mask_threads = NumMaskThreads();
  config.max_model_len = info.max_model_len;
  config.max_num_seqs = info.max_num_seqs;
  config.max_sampled_tokens = info.max_sampled_tokens;
  config.max_num_batched_tokens = info.max_num_batched_tokens;
  config.max_queued_requests = options.max_queued_requests;
  config.max_queued_tokens = options.max_queued_tokens;
  if (options.max_queue_time > absl::ZeroDuration()) {
    config.max_queue_time = options.max_queue_time;
  }
  config.enable_prefix_caching = options.enable_prefix_caching;
  config.overlap = options.overlap;
  config.correction_period = options.correction_period.value_or(info.attention.correction_period);
  return config;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ModelRuntime>> ModelRuntime::Load(const ModelOptions& options,
                                                                 RuntimeHooks hooks) {
  std::unique_ptr<ModelRuntime> runtime(new ModelRuntime);
  TIDAL_ASSIGN_OR_RETURN(runtime->engine_, LoadEngine(options));
  Engine* const engine = runtime->engine_.engine.get();
  const EngineInfo& info = engine->info();
  TIDAL_RETURN_IF_ERROR(LoadServedModel(options, info, &runtime->model_));
  const SchedulerConfig scheduler = MakeSchedulerConfig(options, info);
  TIDAL_RETURN_IF_ERROR(scheduler.Validate());

  MetricsOptions metrics;
  metrics.model_name = runtime->model_.names.front();
  metrics.block_size = info.block_size;
  metrics.num_blocks = info.num_blocks;
  metrics.max_model_len = info.max_model_len;
  metrics.enable_prefix_caching = options.enable_prefix_caching;
  metrics.memory = info.memory;
  runtime->metrics_ = std::make_unique<Metrics>(metrics);

  LoopObserver observer;
  observer.on_step = [m = runtime->metrics_.get()](const StepStats& step, const LoopStats& loop) {
    m->OnStep(step, loop);
  };
  observer.on_block_use = [m = runtime->metrics_.get()](const BlockUse& use) {
    m->OnBlockUse(use);
  };
  observer.on_failure = std::move(hooks.on_failure);
  runtime->loop_ = std::make_unique<ServingLoop>(scheduler, engine, std::move(observer));
  GenerationServiceOptions service;
  service.intake_threads = service.output_threads = NumServiceThreads();
  service.max_live_requests = 2 * (options.max_queued_requests + info.max_num_seqs);
  service.prefix_cache_scope = options.prefix_cache_scope;
  service.on_request_end = std::move(hooks.on_request_end);
  runtime->service_ = std::make_unique<GenerationService>(
      &runtime->model_, runtime->loop_.get(), runtime->metrics_.get(), std::move(service));
  runtime->loop_->Start();
  return runtime;
}

ModelRuntime::~ModelRuntime() {
  if (loop_ != nullptr) loop_->Stop();
}

absl::Status ModelRuntime::WarmUp() {
  metrics_->SetCounting(false);
  TIDAL_RETURN_IF_ERROR(tidal::WarmUp(model_.info, loop_.get(), service_.get()));
  metrics_->SetCounting(true);
  return absl::OkStatus();
}

}  // namespace tidal
