#include "server/generation/generation_request.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "engine/base/status_macros.h"
#include "engine/json/json_value.h"
#include "server/generation/field_error.h"
#include "server/generation/output_structure.h"
#include "server/generation/prompt.h"
#include "server/generation/token_filter_request.h"
#include "server/reply/detect_format.h"

namespace tidal {
namespace {

// Of an echoed prompt they come with those of the output, as many.
absl::StatusOr<int32_t> ParsePromptLogprobs(const v1::Output& output) {
  if (output.prompt_logprobs() > SamplingParams::kMaxLogprobs) {
    return InvalidField("output.prompt_logprobs",
                        absl::StrCat("be in [0, ", SamplingParams::kMaxLogprobs, "]"),
                        output.prompt_logprobs());
  }
  if (output.has_prompt_logprobs()) return static_cast<int32_t>(output.prompt_logprobs());
  if (output.has_logprobs() && output.echo()) return static_cast<int32_t>(output.logprobs());
  return SamplingParams::kNoPromptLogprobs;
}

// Each output may show those of the prompt.
absl::Status CheckNumPromptLogprobs(const GenerationRequest& request, const v1::Output& output) {
  if (!request.sampling.wants_prompt_logprobs()) return absl::OkStatus();
  const auto tokens = static_cast<int64_t>(request.prompt.size());
  const int64_t each = tokens * request.n;
  if (each * (1 + request.sampling.num_prompt_logprobs) <= kMaxPromptLogprobs) {
    return absl::OkStatus();
  }
  const std::string beside =
      absl::StrCat(" for ", request.n, " outputs of a prompt of ", tokens, " tokens");
  const char* const field =
      output.has_prompt_logprobs() ? "output.prompt_logprobs" : "output.logprobs";
  const int64_t most = kMaxPromptLogprobs / each - 1;
  const std::string must =
      most < 0 ? absl::StrCat("be absent", beside) : absl::StrCat("be at most ", most, beside);
  return InvalidField(field, must, request.sampling.num_prompt_logprobs);
}

// Rising, each once.
absl::StatusOr<std::vector<TokenId>> ParseLogprobTokenIds(const v1::GenerateRequest& request,
                                                          const ServedModel& model) {
  const auto& in = request.output().logprob_token_ids();
  std::vector<TokenId> out;
  if (in.empty()) return out;
  constexpr const char* kField = "output.logprob_token_ids";
  constexpr int kMost = SamplingParams::kMaxLogprobTokenIds;
  if (in.size() > kMost) {
    return InvalidField(kField, absl::StrCat("have at most ", kMost, " ids"), in.size());
  }
  if (!request.output().has_logprobs()) {
    return InvalidField(kField, "be absent where logprobs is", absl::StrCat(in.size(), " ids"));
  }
  if (request.stopping().has_max_tokens() && request.stopping().max_tokens() == 0) {
    return InvalidField(kField, "be absent where max_tokens is 0, as no token is generated",
                        absl::StrCat(in.size(), " ids"));
  }
  for (int i = 0; i < in.size(); ++i) {
    TIDAL_RETURN_IF_ERROR(CheckTokenId(kField, i, in[i], model));
    out.push_back(static_cast<TokenId>(in[i]));
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

// What is kept of all outputs, at most.
absl::Status CheckNumGivenLogprobs(const GenerationRequest& request) {
  const auto ids = static_cast<int64_t>(request.sampling.logprob_token_ids.size());
  const int64_t each = int64_t{request.n} * (1 + ids);
  if (ids == 0 || each * request.stop.max_tokens <= kMaxGivenLogprobs) return absl::OkStatus();
  return InvalidField("stopping.max_tokens",
                      absl::StrCat("be at most ", kMaxGivenLogprobs / each, " for ", request.n,
                                   " outputs with ", ids, " logprob_token_ids"),
                      request.stop.max_tokens);
}

absl::StatusOr<SamplingParams> ParseSampling(const v1::GenerateRequest& request,
                                             const ServedModel& model) {
  const v1::Sampling& in = request.sampling();
  const GenerationDefaults& defaults = model.defaults;
  SamplingParams out;
  out.temperature = in.has_temperature() ? in.temperature() : defaults.temperature;
  out.top_k = in.has_top_k() ? in.top_k() : defaults.top_k;
  out.top_p = in.has_top_p() ? in.top_p() : defaults.top_p;
  out.min_p = in.has_min_p() ? in.min_p() : defaults.min_p;
  out.repetition_penalty =
      in.has_repetition_penalty() ? in.repetition_penalty() : defaults.repetition_penalty;
  out.presence_penalty = in.presence_penalty();
  out.frequency_penalty = in.frequency_penalty();
  for (const auto& [token, bias] : in.logit_bias()) {
    // Clamped so that the check below sees what does not fit into a token id.
    const uint32_t largest = std::numeric_limits<TokenId>::max();
    out.logit_bias.emplace_back(static_cast<TokenId>(std::min(token, largest)), bias);
  }
  std::sort(out.logit_bias.begin(), out.logit_bias.end());
  if (request.output().logprobs() > SamplingParams::kMaxLogprobs) {
    return InvalidField("output.logprobs",
                        absl::StrCat("be in [0, ", SamplingParams::kMaxLogprobs, "]"),
                        request.output().logprobs());
  }
  out.num_logprobs = static_cast<int32_t>(request.output().logprobs());
  TIDAL_ASSIGN_OR_RETURN(out.logprob_token_ids, ParseLogprobTokenIds(request, model));
  TIDAL_ASSIGN_OR_RETURN(out.num_prompt_logprobs, ParsePromptLogprobs(request.output()));
  TIDAL_RETURN_IF_ERROR(Within("sampling.", out.Validate(model.info.vocab_size)));
  out.seed = in.has_seed() ? in.seed() : absl::Uniform<uint64_t>(absl::BitGen());
  return out;
}

absl::Status CheckStopStrings(const v1::Stopping& stopping) {
  if (stopping.stop_size() > kMaxStopStrings) {
    return InvalidField("stopping.stop", absl::StrCat("have at most ", kMaxStopStrings, " entries"),
                        stopping.stop_size());
  }
  for (int i = 0; i < stopping.stop_size(); ++i) {
    const size_t bytes = stopping.stop(i).size();
    if (bytes == 0 || bytes > kMaxStopStringBytes) {
      return InvalidField(absl::StrCat("stopping.stop[", i, "]"),
                          absl::StrCat("have 1 to ", kMaxStopStringBytes, " bytes"), bytes);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<StopCriteria> ParseStopCriteria(const v1::Stopping& stopping, int32_t prompt_tokens,
                                               const ServedModel& model) {
  TIDAL_RETURN_IF_ERROR(CheckStopStrings(stopping));
  StopCriteria out;
  // At least 1, but where the prompt alone is wanted.
  const int32_t room = model.info.max_model_len - prompt_tokens;
  if (!stopping.has_max_tokens()) {
    out.max_tokens = std::min(room, model.defaults.max_tokens.value_or(room));
  } else if (stopping.max_tokens() > static_cast<uint32_t>(room) && !stopping.fit_max_tokens()) {
    return InvalidField("stopping.max_tokens",
                        absl::StrCat("be at most ", room, " beside a prompt of ", prompt_tokens,
                                     " tokens, as this model's maximum context length is ",
                                     model.info.max_model_len, " tokens"),
                        stopping.max_tokens());
  } else {
    out.max_tokens = static_cast<int32_t>(
        std::min<uint32_t>(stopping.max_tokens(), static_cast<uint32_t>(room)));
  }
  if (stopping.min_tokens() > static_cast<uint32_t>(out.max_tokens)) {
    return InvalidField("stopping.min_tokens",
                        absl::StrCat("be at most max_tokens, ", out.max_tokens),
                        stopping.min_tokens());
  }
  out.min_tokens = static_cast<int32_t>(stopping.min_tokens());
  if (stopping.stop_token_ids_size() > kMaxStopTokenIds) {
    return InvalidField("stopping.stop_token_ids",
                        absl::StrCat("have at most ", kMaxStopTokenIds, " entries"),
                        stopping.stop_token_ids_size());
  }
  for (int i = 0; i < stopping.stop_token_ids_size(); ++i) {
    const uint32_t id = stopping.stop_token_ids(i);
    TIDAL_RETURN_IF_ERROR(CheckTokenId("stopping.stop_token_ids", i, id, model));
    out.stop_token_ids.push_back(static_cast<TokenId>(id));
  }
  if (!stopping.ignore_eos()) {
    out.stop_token_ids.insert(out.stop_token_ids.end(), model.eos_token_ids.begin(),
                              model.eos_token_ids.end());
  }
  return out;
}

absl::StatusOr<AttentionPolicy> ParseAttention(const v1::Attention& attention,
                                               const ServedModel& model) {
  AttentionPolicy out;
  switch (attention.mode()) {
    case v1::ATTENTION_MODE_AUTO:
      out.mode = model.default_attention_mode;
      break;
    case v1::ATTENTION_MODE_FULL:
      out.mode = AttentionMode::kFull;
      break;
    case v1::ATTENTION_MODE_TIDAL:
      out.mode = AttentionMode::kTidal;
      break;
    default:
      return InvalidField("attention.mode", "be AUTO, FULL or TIDAL",
                          static_cast<int>(attention.mode()));
  }
  if (attention.budget() > static_cast<uint32_t>(model.info.max_token_budget)) {
    return InvalidField("attention.budget",
                        absl::StrCat("be in [1, ", model.info.max_token_budget, "]"),
                        attention.budget());
  }
  if (out.mode == AttentionMode::kFull) return out;
  if (!model.info.tidal_available) {
    return InvalidField("attention.mode",
                        "be AUTO or FULL for this model, whose plan has no reuse layer", "TIDAL");
  }
  out.token_budget = attention.budget() > 0 ? static_cast<int32_t>(attention.budget())
                                            : model.default_token_budget;
  out.dense_below = std::max(out.token_budget, model.info.attention.dense_below);
  return out;
}

std::string MakeRequestId() {
  return absl::StrCat("gen-", absl::Hex(absl::Uniform<uint64_t>(absl::BitGen()), absl::kZeroPad16));
}

OutputOptions ParseOutput(const v1::GenerateRequest& request) {
  const v1::Output& in = request.output();
  OutputOptions out;
  out.stop_strings.assign(request.stopping().stop().begin(), request.stopping().stop().end());
  out.include_stop_in_output = request.stopping().include_stop_str_in_output();
  out.logprobs = in.has_logprobs();
  out.return_token_ids = in.return_token_ids();
  out.skip_special_tokens = !in.has_skip_special_tokens() || in.skip_special_tokens();
  out.final_only = in.final_only();
  return out;
}

// What the tools' schemas say of arguments.
std::shared_ptr<const ArgumentTypes> TypesOf(const v1::Chat& chat) {
  auto types = std::make_shared<ArgumentTypes>();
  for (const std::string& text : chat.tools()) {
    const auto tool = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
    const nlohmann::json* const function = FindMember(tool, "function");
    if (function == nullptr) continue;
    const nlohmann::json* const name = FindMember(*function, "name");
    const nlohmann::json* const schema = FindMember(*function, "parameters");
    if (name == nullptr || !name->is_string() || schema == nullptr) continue;
    types->AddTool(name->get<std::string>(), schema->dump());
  }
  return types;
}

// For calls that must be made by a model whose own way to write them is not known: plain JSON.
constexpr char kForcedCallFormat[] = "llama3_json";

// `prompt`: of a chat, rendered.
ReplyParsing ParseReplyParsing(const v1::GenerateRequest& request, const std::string& prompt,
                               const ServedModel& model) {
  ReplyParsing parsing;
  if (request.prompt_case() != v1::GenerateRequest::kChat) return parsing;
  const v1::ReplyParsing& in = request.output().parsing();
  if (in.reasoning()) parsing.reasoning = model.reply_formats.reasoning;
  if (in.tool_calls()) parsing.calls = model.reply_formats.calls;
  if (in.tool_calls() && parsing.calls == nullptr && in.tool_choice().required()) {
    parsing.calls = FindCallFormat(kForcedCallFormat);
  }
  if (!parsing.enabled()) return parsing;
  parsing.special = model.reply_formats.special;
  if (parsing.reasoning != nullptr) {
    parsing.starts_in_reasoning = PromptEndsInReasoning(prompt, *parsing.reasoning);
  }
  if (parsing.calls != nullptr && parsing.calls->syntax == CallSyntax::kTagged) {
    parsing.types = TypesOf(request.chat());
  }
  return parsing;
}

// What needs no tokenizer, so that a bad request costs nothing.
absl::Status CheckScalars(const v1::GenerateRequest& request) {
  if (request.n() > kMaxOutputs) {
    return InvalidField("n", absl::StrCat("be in [1, ", kMaxOutputs, "]"), request.n());
  }
  if (request.request_id().size() > kMaxRequestIdBytes) {
    return InvalidField("request_id", absl::StrCat("have at most ", kMaxRequestIdBytes, " bytes"),
                        request.request_id().size());
  }
  if (request.cache_salt().size() > kMaxCacheSaltBytes) {
    return InvalidField("cache_salt", absl::StrCat("have at most ", kMaxCacheSaltBytes, " bytes"),
                        request.cache_salt().size());
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckModelName(const std::string& name, const ServedModel& model) {
  if (name.empty() ||
      std::find(model.names.begin(), model.names.end(), name) != model.names.end()) {
    return absl::OkStatus();
  }
  return absl::NotFoundError(
      absl::StrCat("model: must be ", absl::StrJoin(model.names, " or "), ", got ", name));
}

absl::StatusOr<GenerationRequest> ParseGenerationRequest(const v1::GenerateRequest& request,
                                                         const ServedModel& model) {
  TIDAL_RETURN_IF_ERROR(CheckModelName(request.model(), model));
  TIDAL_RETURN_IF_ERROR(CheckScalars(request));
  TIDAL_RETURN_IF_ERROR(CheckTools(request.chat()));
  GenerationRequest out;
  TIDAL_ASSIGN_OR_RETURN(out.sampling, ParseSampling(request, model));
  TIDAL_ASSIGN_OR_RETURN(out.filter, ParseTokenFilter(request.sampling(), model));
  TIDAL_ASSIGN_OR_RETURN(out.attention, ParseAttention(request.attention(), model));
  TIDAL_ASSIGN_OR_RETURN(Prompt prompt, ParsePrompt(request, model));
  out.prompt = std::move(prompt.tokens);
  TIDAL_ASSIGN_OR_RETURN(
      out.stop,
      ParseStopCriteria(request.stopping(), static_cast<int32_t>(out.prompt.size()), model));
  out.request_id = request.request_id().empty() ? MakeRequestId() : request.request_id();
  out.n = std::max(1, static_cast<int32_t>(request.n()));
  TIDAL_RETURN_IF_ERROR(CheckNumPromptLogprobs(out, request.output()));
  TIDAL_RETURN_IF_ERROR(CheckNumGivenLogprobs(out));
  out.priority = request.priority();
  out.cache_salt = request.cache_salt();
  out.output = ParseOutput(request);
  out.output.parsing = ParseReplyParsing(request, prompt.text, model);
  TIDAL_ASSIGN_OR_RETURN(out.structure, OutputStructure(request, out.output.parsing, model));
  if (request.output().echo()) {
    const bool is_whole_text = request.has_text() && !prompt.truncated;
    // As in vLLM, the prompt as it is, with its special tokens.
    out.output.echo = is_whole_text
                          ? std::move(prompt.text)
                          : model.tokenizer->Decode(out.prompt, /*skip_special_tokens=*/false);
  }
  return out;
}

}  // namespace tidal
