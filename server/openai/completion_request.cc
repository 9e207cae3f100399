#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/generation/request_limits.h"
#include "server/openai/openai_codec.h"
#include "server/openai/request_fields.h"
#include "server/openai/structured_output_fields.h"

namespace tidal {
namespace {

constexpr uint32_t kDefaultMaxTokens = 16;  // OpenAI's default for completions
// Each prompt is a call of its own.
constexpr size_t kMaxPrompts = 128;

constexpr const char* kUnsupportedInCompletions[] = {"suffix", nullptr};

// "prompt" in its four forms, into one copy of `call` each.
void ReadPrompts(JsonFields& fields, const v1::GenerateRequest& call, OpenAiRequest& request) {
  const nlohmann::json* prompt = fields.Find("prompt");
  if (prompt == nullptr) return fields.Fail("prompt", "must be given");
  if (prompt->is_string()) {
    request.calls.push_back(call);
    request.calls.back().set_text(prompt->get<std::string>());
    return;
  }
  if (!prompt->is_array()) {
    return fields.Fail("prompt", "a string, an array of strings or token ids", *prompt);
  }
  if (prompt->empty()) return fields.Fail("prompt", "must not be empty");
  if ((*prompt)[0].is_number()) {
    auto ids = fields.TokenIds("prompt");
    if (!ids) return;
    request.calls.push_back(call);
    request.calls.back().mutable_token_ids()->mutable_ids()->Add(ids->begin(), ids->end());
    return;
  }
  if (prompt->size() > kMaxPrompts) {
    return fields.Fail(
        "prompt", absl::StrCat("must be at most ", kMaxPrompts, " prompts, got ", prompt->size()));
  }
  for (size_t i = 0; i < prompt->size(); ++i) {
    const nlohmann::json& element = (*prompt)[i];
    const std::string name = absl::StrCat("prompt[", i, "]");
    request.calls.push_back(call);
    if (element.is_string()) {
      request.calls.back().set_text(element.get<std::string>());
    } else if (auto ids = ToTokenIds(element)) {
      if (ids->empty()) return fields.Fail(name, "must not be empty");
      request.calls.back().mutable_token_ids()->mutable_ids()->Add(ids->begin(), ids->end());
    } else {
      return fields.Fail(name, "a string or an array of token ids", element);
    }
  }
}

// What all calls may make of them; each call is checked for itself.
void CheckNumGivenLogprobs(JsonFields& fields, const OpenAiRequest& request) {
  if (request.calls.empty()) return;
  const v1::GenerateRequest& call = request.calls.front();
  const int64_t ids = call.output().logprob_token_ids_size();
  const auto calls = static_cast<int64_t>(request.calls.size());
  const int64_t each = calls * call.n() * (1 + ids);
  if (ids == 0 || each * call.stopping().max_tokens() <= kMaxReplyLogprobs) return;
  fields.Fail("logprob_token_ids",
              absl::StrCat("must make at most ", kMaxReplyLogprobs,
                           " log probabilities in a reply, not ", each, " times max_tokens"));
}

void RefuseBestOf(JsonFields& fields, uint32_t n) {
  const auto best_of = fields.Unsigned("best_of");
  if (best_of && *best_of != n) {
    fields.Fail("best_of", absl::StrCat("must equal n (", n,
                                        ") or be absent: choosing among "
                                        "more outputs is not supported, got ",
                                        *best_of));
  }
}

}  // namespace

absl::StatusOr<OpenAiRequest> ParseCompletionRequest(absl::string_view body) {
  TIDAL_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJsonObject(body));
  JsonFields fields(json);
  OpenAiRequest request;
  request.reply.api = OpenAiApi::kCompletions;
  v1::GenerateRequest call;
  RefuseUnsupported(fields, kUnsupportedInCompletions);
  ReadSharedFields(fields, call, request);
  RefuseBestOf(fields, request.reply.n);
  const auto max_tokens = fields.Unsigned("max_tokens");
  call.mutable_stopping()->set_max_tokens(max_tokens.value_or(kDefaultMaxTokens));
  call.mutable_stopping()->set_fit_max_tokens(!max_tokens.has_value());
  if (auto value = fields.Unsigned("logprobs")) {
    call.mutable_output()->set_logprobs(*value);
    request.reply.logprobs = true;
  }
  ReadLogprobTokenIds(fields, *call.mutable_output());
  request.reply.echo = fields.Bool("echo").value_or(false);
  call.mutable_output()->set_echo(request.reply.echo);
  if (auto value = fields.Bool("add_special_tokens")) call.set_add_special_tokens(*value);
  ReadStructuredOutput(fields, body, call, request.reply);
  ReadPrompts(fields, call, request);
  CheckNumGivenLogprobs(fields, request);
  TIDAL_RETURN_IF_ERROR(fields.status());
  request.reply.num_calls = request.calls.size();
  return request;
}

}  // namespace tidal
