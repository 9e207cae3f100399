#include "server/openai/openai_reply.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/generation/request_limits.h"
#include "server/openai/reply_json.h"

namespace tidal {

std::string ReplyId(OpenAiApi api, absl::string_view request_id) {
  return absl::StrCat(api == OpenAiApi::kChat ? "chatcmpl-" : "cmpl-", request_id);
}

std::string SseEvent(absl::string_view json) { return absl::StrCat("data: ", json, "\n\n"); }

ReplyState::ReplyState(ReplyOptions reply_options, std::string reply_id, int64_t created_seconds)
    : options(std::move(reply_options)),
      id(std::move(reply_id)),
      created(created_seconds),
      prompt_token_ids(options.num_calls),
      prompt_logprobs(options.num_calls),
      finished(options.num_calls * options.n) {}

absl::Status ReplyState::Accept(size_t call, const v1::GenerateResponse& event) {
  const auto known = [this](uint32_t index) {
    return index < options.n ? absl::OkStatus()
                             : absl::InternalError(absl::StrCat("the service answered with output ",
                                                                index, " of ", options.n));
  };
  switch (event.event_case()) {
    case v1::GenerateResponse::kPrompt:
      model = event.prompt().model();
      prompt_token_ids[call].assign(event.prompt().token_ids().begin(),
                                    event.prompt().token_ids().end());
      usage.set_prompt_tokens(usage.prompt_tokens() + event.prompt().prompt_tokens());
      return TakePromptLogprobs(call, event.prompt());
    case v1::GenerateResponse::kDelta:
      streamed_tokens += event.delta().num_tokens();
      return known(event.delta().index());
    case v1::GenerateResponse::kFinish:
      TIDAL_RETURN_IF_ERROR(known(event.finish().index()));
      finished[ChoiceOf(call, event.finish().index())] = true;
      return absl::OkStatus();
    case v1::GenerateResponse::kUsage: {
      const v1::Usage& part = event.usage();
      v1::AttentionUsage& attention = *usage.mutable_attention();
      usage.set_completion_tokens(usage.completion_tokens() + part.completion_tokens());
      usage.set_cached_tokens(usage.cached_tokens() + part.cached_tokens());
      usage.set_reasoning_tokens(usage.reasoning_tokens() + part.reasoning_tokens());
      if (attention.mode() != v1::ATTENTION_MODE_TIDAL) {
        attention.set_mode(part.attention().mode());
        attention.set_budget(part.attention().budget());
      }
      attention.set_sparse_steps(attention.sparse_steps() + part.attention().sparse_steps());
      attention.set_dense_steps(attention.dense_steps() + part.attention().dense_steps());
      ++num_usages;
      return absl::OkStatus();
    }
    case v1::GenerateResponse::EVENT_NOT_SET:
      return absl::OkStatus();  // an event of a newer service
  }
  return absl::OkStatus();
}

absl::Status ReplyState::TakePromptLogprobs(size_t call, const v1::PromptInfo& prompt) {
  if (!options.prompt_logprobs && !echoes_logprobs()) return absl::OkStatus();
  if (prompt.logprobs_size() != static_cast<int64_t>(prompt.prompt_tokens())) {
    return absl::InternalError(absl::StrCat("the service gave ", prompt.logprobs_size(),
                                            " log probabilities of ", prompt.prompt_tokens(),
                                            " tokens of a prompt"));
  }
  for (const v1::TokenLogprobs& token : prompt.logprobs()) {
    num_prompt_logprobs += int64_t{options.n} * (1 + token.top_size());
  }
  if (num_prompt_logprobs > kMaxReplyLogprobs) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.prompt_logprobs ? "output.prompt_logprobs" : "output.logprobs",
                     ": must make at most ", kMaxReplyLogprobs,
                     " log probabilities of prompts, all outputs of all prompts together, got ",
                     num_prompt_logprobs, " and more"));
  }
  prompt_logprobs[call].assign(prompt.logprobs().begin(), prompt.logprobs().end());
  return absl::OkStatus();
}

absl::Status ReplyState::CheckComplete() const {
  const bool all_finished = std::find(finished.begin(), finished.end(), false) == finished.end();
  if (all_finished && num_usages == options.num_calls) return absl::OkStatus();
  return absl::InternalError("the service ended its reply early");
}

CollectedReply::CollectedReply(ReplyOptions options, std::string id, int64_t created)
    : state_(std::move(options), std::move(id), created), choices_(state_.finished.size()) {}

absl::Status CollectedReply::OnEvent(size_t call, const v1::GenerateResponse& event,
                                     std::string* /*out*/) {
  TIDAL_RETURN_IF_ERROR(state_.Accept(call, event));
  if (event.has_delta()) {
    const v1::OutputDelta& delta = event.delta();
    Choice& choice = choices_[state_.ChoiceOf(call, delta.index())];
    choice.text += delta.text();
    choice.reasoning += delta.reasoning();
    for (const v1::ToolCallDelta& piece : delta.tool_calls()) {
      if (piece.index() >= choice.tool_calls.size()) choice.tool_calls.resize(piece.index() + 1);
      AppendPiece(piece, &choice.tool_calls[piece.index()]);
    }
    choice.token_ids.insert(choice.token_ids.end(), delta.token_ids().begin(),
                            delta.token_ids().end());
    if (state_.options.logprobs) {
      const std::vector<size_t> offsets = TextOffsets(delta, &choice.text_offset);
      choice.logprob_offsets.insert(choice.logprob_offsets.end(), offsets.begin(), offsets.end());
      choice.logprobs.insert(choice.logprobs.end(), delta.logprobs().begin(),
                             delta.logprobs().end());
    }
  } else if (event.has_finish()) {
    choices_[state_.ChoiceOf(call, event.finish().index())].finish = event.finish();
  }
  return absl::OkStatus();
}

Json CollectedReply::RenderChoice(size_t index) const {
  const Choice& choice = choices_[index];
  Json json = {{"index", index}};
  const bool chat = state_.options.api == OpenAiApi::kChat;
  Json logprobs = nullptr;
  if (state_.options.logprobs) {
    const TokenNames names = state_.options.token_names.value_or(TokenNames::kTexts);
    if (chat) {
      logprobs = ChatLogprobsJson(choice.logprobs, names, state_.options.top_has_sampled);
    } else if (state_.options.echo) {
      logprobs =
          EchoedLogprobsJson(state_.prompt_logprobs[index / state_.options.n], choice.logprobs,
                             choice.logprob_offsets, CodePoints(choice.text), names);
    } else {
      logprobs = CompletionLogprobsJson(choice.logprobs, choice.logprob_offsets, names);
    }
  }
  if (chat) {
    Json& message = json["message"];
    const std::string content = state_.options.echo_text + choice.text;
    message = {
        {"role", "assistant"}, {"content", content}, {"refusal", nullptr}, {"reasoning", nullptr}};
    if (content.empty() && !choice.tool_calls.empty()) message["content"] = nullptr;
    if (state_.options.include_reasoning) AddReasoning(choice.reasoning, &message);
    for (const v1::ToolCallDelta& call : choice.tool_calls) {
      if (state_.options.function_calls) {
        message["function_call"] = FunctionCallJson(call);
        break;  // it was asked for one at most
      }
      message["tool_calls"].push_back(ToolCallJson(call));
    }
  } else {
    json["text"] = choice.text;
  }
  json["logprobs"] = std::move(logprobs);
  json["finish_reason"] = FinishReasonJson(choice.finish.reason(), state_.options);
  json["stop_reason"] = StopReasonJson(choice.finish);
  json["token_ids"] = state_.options.return_token_ids ? Json(choice.token_ids) : Json(nullptr);
  if (state_.prompt_by_choice()) AddPrompt(index / state_.options.n, &json);
  return json;
}

void CollectedReply::AddPrompt(size_t call, Json* json) const {
  (*json)["prompt_logprobs"] = nullptr;
  (*json)["prompt_token_ids"] = nullptr;
  if (state_.options.prompt_logprobs) {
    (*json)["prompt_logprobs"] = PromptLogprobsJson(state_.prompt_logprobs[call]);
  }
  if (state_.options.return_token_ids) {
    (*json)["prompt_token_ids"] = state_.prompt_token_ids[call];
  }
}

absl::Status CollectedReply::Finish(std::string* out) {
  TIDAL_RETURN_IF_ERROR(state_.CheckComplete());
  const bool chat = state_.options.api == OpenAiApi::kChat;
  Json choices = Json::array();
  for (size_t i = 0; i < choices_.size(); ++i) choices.push_back(RenderChoice(i));
  Json json = {{"id", state_.id},
               {"object", chat ? "chat.completion" : "text_completion"},
               {"created", state_.created},
               {"model", state_.model},
               {"choices", std::move(choices)},
               {"usage", UsageJson(state_.usage)}};
  if (!state_.prompt_by_choice()) AddPrompt(0, &json);
  if (state_.options.service_tier) json["service_tier"] = "default";
  out->append(DumpJson(json));
  return absl::OkStatus();
}

ApiError CollectedReply::ErrorOf(const absl::Status& status) const {
  return ToApiError(status, state_.options);
}

void CollectedReply::Fail(const ApiError& /*error*/, std::string* /*out*/) {}

}  // namespace tidal
