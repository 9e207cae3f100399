#include <optional>
#include <utility>

#include "engine/base/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/openai/openai_reply.h"
#include "server/openai/reply_json.h"

namespace tidal {

StreamedReply::StreamedReply(ReplyOptions options, std::string id, int64_t created)
    : state_(std::move(options), std::move(id), created),
      text_offset_(state_.finished.size()),
      sent_prompt_ids_(state_.finished.size()),
      sent_prompt_logprobs_(state_.finished.size()),
      last_delta_(state_.finished.size()) {}

absl::Status StreamedReply::OnEvent(size_t call, const v1::GenerateResponse& event,
                                    std::string* out) {
  TIDAL_RETURN_IF_ERROR(state_.Accept(call, event));
  switch (event.event_case()) {
    case v1::GenerateResponse::kPrompt:
      if (state_.options.api == OpenAiApi::kChat) AppendRoles(call, out);
      break;
    case v1::GenerateResponse::kDelta: {
      const size_t choice = state_.ChoiceOf(call, event.delta().index());
      if (event.delta().last()) {
        last_delta_[choice] = event.delta();
      } else {
        AppendOutput(choice, &event.delta(), nullptr, out);
      }
      break;
    }
    case v1::GenerateResponse::kFinish: {
      const size_t choice = state_.ChoiceOf(call, event.finish().index());
      const std::optional<v1::OutputDelta> last = std::exchange(last_delta_[choice], std::nullopt);
      AppendOutput(choice, last.has_value() ? &*last : nullptr, &event.finish(), out);
      break;
    }
    default:
      break;
  }
  return absl::OkStatus();
}

// The first chunk of a chat choice names the role, as OpenAI's does; the next has the echo.
void StreamedReply::AppendRoles(size_t call, std::string* out) const {
  for (uint32_t index = 0; index < state_.options.n; ++index) {
    AppendChunk({{"index", state_.ChoiceOf(call, index)},
                 {"delta", {{"role", "assistant"}, {"content", ""}}},
                 {"logprobs", nullptr},
                 {"finish_reason", nullptr}},
                out);
    if (state_.options.echo_text.empty()) continue;
    AppendChunk({{"index", state_.ChoiceOf(call, index)},
                 {"delta", {{"content", state_.options.echo_text}}},
                 {"logprobs", nullptr},
                 {"finish_reason", nullptr}},
                out);
  }
}

bool StreamedReply::Says(const v1::OutputDelta& delta) const {
  return !delta.text().empty() || delta.token_ids_size() > 0 || delta.logprobs_size() > 0 ||
         delta.tool_calls_size() > 0 ||
         (state_.options.include_reasoning && !delta.reasoning().empty());
}

Json StreamedReply::ChatDelta(const v1::OutputDelta& delta) const {
  Json json = Json::object();
  if (state_.options.include_reasoning) AddReasoning(delta.reasoning(), &json);
  v1::ToolCallDelta function_call;  // all of the first one's pieces
  for (const v1::ToolCallDelta& call : delta.tool_calls()) {
    if (!state_.options.function_calls) json["tool_calls"].push_back(ToolCallDeltaJson(call));
    if (call.index() == 0) AppendPiece(call, &function_call);
  }
  const bool has_call = !function_call.name().empty() || !function_call.arguments().empty();
  if (state_.options.function_calls && has_call) {
    json["function_call"] = FunctionCallJson(function_call);
  }
  if (!delta.text().empty() || json.empty()) json["content"] = delta.text();
  return json;
}

void StreamedReply::AppendOutput(size_t choice, const v1::OutputDelta* delta,
                                 const v1::OutputFinish* finish, std::string* out) {
  const bool chat = state_.options.api == OpenAiApi::kChat;
  if (finish == nullptr && !Says(*delta)) return;
  Json json = {{"index", choice}};
  if (!chat) {
    json["text"] = delta == nullptr ? "" : delta->text();
  } else {
    json["delta"] = delta == nullptr ? Json::object() : ChatDelta(*delta);
  }
  json["logprobs"] = Logprobs(choice, delta);
  json["finish_reason"] =
      finish == nullptr ? Json(nullptr) : FinishReasonJson(finish->reason(), state_.options);
  if (finish != nullptr) json["stop_reason"] = StopReasonJson(*finish);
  if (state_.options.return_token_ids && delta != nullptr) json["token_ids"] = delta->token_ids();
  AddPromptTokenIds(choice, &json);
  AppendChunk(std::move(json), out);
}

Json StreamedReply::Logprobs(size_t choice, const v1::OutputDelta* delta) {
  if (!state_.options.logprobs) return nullptr;
  std::vector<v1::TokenLogprobs> tokens;
  std::vector<size_t> offsets;
  if (delta != nullptr) {
    tokens.assign(delta->logprobs().begin(), delta->logprobs().end());
    offsets = TextOffsets(*delta, &text_offset_[choice]);
  }
  const TokenNames names = state_.options.token_names.value_or(TokenNames::kTexts);
  if (state_.options.echo && !sent_prompt_logprobs_[choice]) {
    sent_prompt_logprobs_[choice] = true;
    return EchoedLogprobsJson(state_.prompt_logprobs[choice / state_.options.n], tokens, offsets,
                              text_offset_[choice], names);
  }
  if (tokens.empty()) return nullptr;
  return state_.options.api == OpenAiApi::kChat
             ? ChatLogprobsJson(tokens, names, state_.options.top_has_sampled)
             : CompletionLogprobsJson(tokens, offsets, names);
}

void StreamedReply::AddPromptTokenIds(size_t choice, Json* out) {
  const bool wanted =
      state_.options.return_token_ids && state_.options.api == OpenAiApi::kCompletions;
  if (!wanted || sent_prompt_ids_[choice]) return;
  sent_prompt_ids_[choice] = true;
  (*out)["prompt_token_ids"] = state_.prompt_token_ids[choice / state_.options.n];
}

// An empty `choice` makes the chunk without choices that carries the final usage.
void StreamedReply::AppendChunk(Json choice, std::string* out) const {
  const bool chat = state_.options.api == OpenAiApi::kChat;
  const bool last = choice.is_null();
  const bool role = chat && !last && choice["delta"].contains("role");
  Json json = {{"id", state_.id},
               {"object", chat ? "chat.completion.chunk" : "text_completion"},
               {"created", state_.created},
               {"model", state_.model},
               {"choices", Json::array()}};
  if (state_.options.service_tier) json["service_tier"] = "default";
  if (!last) json["choices"].push_back(std::move(choice));
  if (last) {
    json["usage"] = UsageJson(state_.usage);
  } else if (state_.options.continuous_usage_stats) {
    const uint32_t prompt_tokens = state_.usage.prompt_tokens();
    json["usage"] = {{"prompt_tokens", prompt_tokens},
                     {"completion_tokens", state_.streamed_tokens},
                     {"total_tokens", prompt_tokens + state_.streamed_tokens}};
  } else if (state_.options.include_usage) {
    json["usage"] = nullptr;
  }
  if (role && state_.options.return_token_ids)
    json["prompt_token_ids"] = state_.prompt_token_ids[0];
  out->append(SseEvent(DumpJson(json)));
}

absl::Status StreamedReply::Finish(std::string* out) {
  TIDAL_RETURN_IF_ERROR(state_.CheckComplete());
  if (state_.options.include_usage) AppendChunk(nullptr, out);
  out->append(SseEvent("[DONE]"));
  return absl::OkStatus();
}

ApiError StreamedReply::ErrorOf(const absl::Status& status) const {
  return ToApiError(status, state_.options);
}

void StreamedReply::Fail(const ApiError& error, std::string* out) {
  out->append(SseEvent(RenderError(error)));
}

}  // namespace tidal
