#include "server/openai/reply_json.h"

#include <algorithm>
#include <cmath>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace tidal {
namespace {

// JSON has no infinities; vLLM's value for "impossible".
constexpr double kMinLogprob = -9999.0;

double FiniteLogprob(float logprob) {
  return std::isfinite(logprob) ? std::max<double>(logprob, kMinLogprob) : kMinLogprob;
}

std::string NameOf(const v1::Logprob& token, TokenNames names) {
  return names == TokenNames::kIds ? absl::StrCat("token_id:", token.token_id()) : token.token();
}

Json ChatToken(const v1::Logprob& token, TokenNames names) {
  Json bytes = Json::array();
  for (const char byte : token.bytes()) bytes.push_back(static_cast<unsigned char>(byte));
  return {{"token", NameOf(token, names)},
          {"logprob", FiniteLogprob(token.logprob())},
          {"bytes", std::move(bytes)}};
}

}  // namespace

std::string DumpJson(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json UsageJson(const v1::Usage& usage) {
  Json json = {{"prompt_tokens", usage.prompt_tokens()},
               {"completion_tokens", usage.completion_tokens()},
               {"total_tokens", usage.prompt_tokens() + usage.completion_tokens()},
               {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens()}}}};
  if (usage.reasoning_tokens() > 0) {
    json["completion_tokens_details"] = {{"reasoning_tokens", usage.reasoning_tokens()}};
  }
  json["attention"] = AttentionJson(usage.attention());
  return json;
}

Json AttentionJson(const v1::AttentionUsage& attention) {
  return {{"mode", attention.mode() == v1::ATTENTION_MODE_TIDAL ? "tidal" : "full"},
          {"budget", attention.budget()},
          {"sparse_steps", attention.sparse_steps()},
          {"dense_steps", attention.dense_steps()}};
}

Json FinishReasonJson(v1::FinishReason reason, const ReplyOptions& options) {
  if (reason == v1::FINISH_REASON_TOOL_CALLS) {
    if (options.named_tool) return "stop";
    return options.function_calls ? "function_call" : "tool_calls";
  }
  return reason == v1::FINISH_REASON_LENGTH ? "length" : "stop";
}

void AddReasoning(const std::string& reasoning, Json* message) {
  if (reasoning.empty()) return;
  (*message)["reasoning"] = reasoning;
  (*message)["reasoning_content"] = reasoning;
}

void AppendPiece(const v1::ToolCallDelta& piece, v1::ToolCallDelta* call) {
  call->mutable_id()->append(piece.id());
  call->mutable_name()->append(piece.name());
  call->mutable_arguments()->append(piece.arguments());
}

Json ToolCallJson(const v1::ToolCallDelta& call) {
  return {{"id", call.id()},
          {"type", "function"},
          {"function", {{"name", call.name()}, {"arguments", call.arguments()}}}};
}

Json FunctionCallJson(const v1::ToolCallDelta& call) {
  Json json = {{"arguments", call.arguments()}};
  if (!call.name().empty()) json["name"] = call.name();
  return json;
}

Json ToolCallDeltaJson(const v1::ToolCallDelta& call) {
  Json json = {{"index", call.index()}};
  if (call.id().empty()) {
    json["function"] = {{"arguments", call.arguments()}};
  } else {
    json.update(ToolCallJson(call));
  }
  return json;
}

Json StopReasonJson(const v1::OutputFinish& finish) {
  if (!finish.stop_string().empty()) return finish.stop_string();
  if (finish.has_stop_token_id()) return finish.stop_token_id();
  return nullptr;
}

size_t CodePoints(absl::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

Json CompletionLogprobsJson(const std::vector<v1::TokenLogprobs>& tokens,
                            const std::vector<size_t>& text_offsets, TokenNames names) {
  Json texts = Json::array();
  Json logprobs = Json::array();
  Json top_logprobs = Json::array();
  for (const v1::TokenLogprobs& token : tokens) {
    texts.push_back(NameOf(token.token(), names));
    logprobs.push_back(FiniteLogprob(token.token().logprob()));
    // As in vLLM, the token itself comes first; then the others, best first.
    Json top = {{NameOf(token.token(), names), FiniteLogprob(token.token().logprob())}};
    for (const v1::Logprob& other : token.top()) {
      const double logprob = FiniteLogprob(other.logprob());
      Json& value = top.emplace(NameOf(other, names), logprob).first.value();
      value = std::max(value.get<double>(), logprob);  // of two tokens with one text
    }
    top_logprobs.push_back(std::move(top));
  }
  return {{"text_offset", text_offsets},
          {"token_logprobs", std::move(logprobs)},
          {"tokens", std::move(texts)},
          {"top_logprobs", std::move(top_logprobs)}};
}

Json EchoedLogprobsJson(const std::vector<v1::TokenLogprobs>& prompt,
                        const std::vector<v1::TokenLogprobs>& tokens,
                        const std::vector<size_t>& text_offsets, size_t text_end,
                        TokenNames names) {
  if (prompt.empty()) return CompletionLogprobsJson(tokens, text_offsets, names);
  std::vector<v1::TokenLogprobs> all = prompt;
  all.insert(all.end(), tokens.begin(), tokens.end());
  std::vector<size_t> offsets(prompt.size());
  // A token that is not in the text, as it may be of a special one, starts where the next does.
  size_t end = text_offsets.empty() ? text_end : text_offsets.front();
  for (size_t i = prompt.size(); i-- > 0;) {
    end -= std::min(end, CodePoints(prompt[i].token().token()));
    offsets[i] = end;
  }
  offsets.insert(offsets.end(), text_offsets.begin(), text_offsets.end());
  Json json = CompletionLogprobsJson(all, offsets, names);
  json["token_logprobs"][0] = nullptr;
  json["top_logprobs"][0] = nullptr;
  return json;
}

Json ChatLogprobsJson(const std::vector<v1::TokenLogprobs>& tokens, TokenNames names,
                      bool top_has_sampled) {
  Json content = Json::array();
  for (const v1::TokenLogprobs& token : tokens) {
    Json entry = ChatToken(token.token(), names);
    Json top = Json::array();
    const bool listed = absl::c_any_of(token.top(), [&](const v1::Logprob& other) {
      return other.token_id() == token.token().token_id();
    });
    if (top_has_sampled && !listed) top.push_back(entry);
    for (const v1::Logprob& other : token.top()) top.push_back(ChatToken(other, names));
    entry["top_logprobs"] = std::move(top);
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

Json PromptLogprobsJson(const std::vector<v1::TokenLogprobs>& prompt) {
  Json tokens = Json::array();
  for (const v1::TokenLogprobs& token : prompt) {
    if (tokens.empty()) {
      tokens.push_back(nullptr);
      continue;
    }
    Json entry = Json::object();
    const auto add = [&](const v1::Logprob& one) {
      entry[absl::StrCat(one.token_id())] = {{"logprob", FiniteLogprob(one.logprob())},
                                             {"rank", one.rank()},
                                             {"decoded_token", one.token()}};
    };
    add(token.token());
    for (const v1::Logprob& other : token.top()) add(other);
    tokens.push_back(std::move(entry));
  }
  return tokens;
}

std::vector<size_t> TextOffsets(const v1::OutputDelta& delta, size_t* offset) {
  size_t token_code_points = 0;
  for (const v1::TokenLogprobs& token : delta.logprobs()) {
    token_code_points += CodePoints(token.token().token());
  }
  const size_t text_code_points = CodePoints(delta.text());
  size_t position = *offset;
  if (text_code_points > token_code_points) position += text_code_points - token_code_points;
  std::vector<size_t> offsets;
  for (const v1::TokenLogprobs& token : delta.logprobs()) {
    offsets.push_back(position);
    position += CodePoints(token.token().token());
  }
  *offset = position;
  return offsets;
}

}  // namespace tidal
