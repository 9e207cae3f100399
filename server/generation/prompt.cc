#include "server/generation/prompt.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "server/generation/chat_prompt.h"
#include "server/generation/field_error.h"

namespace tidal {
namespace {

constexpr int32_t kAsManyAsFit = -1;  // GenerateRequest.truncate_prompt_tokens

// Is nothing to be said, so that the prompt may fill the model's length?
bool IsPromptAlone(const v1::GenerateRequest& request) {
  return request.stopping().has_max_tokens() && request.stopping().max_tokens() == 0;
}

// One token must be left for the output.
int64_t MostTokens(const v1::GenerateRequest& request, const ServedModel& model) {
  return model.info.max_model_len - (IsPromptAlone(request) ? 0 : 1);
}

absl::Status CheckPromptLength(int64_t tokens, int64_t limit) {
  if (tokens == 0) return InvalidField("prompt", "have at least 1 token", tokens);
  if (tokens <= limit) return absl::OkStatus();
  return InvalidField("prompt", absl::StrCat("have at most ", limit, " tokens"), tokens);
}

// A lower bound of a text's tokens.
int64_t FewestTokens(const std::string& text, const ServedModel& model) {
  // Normalization (NFC) makes a text at most three times shorter.
  const size_t bytes_of_a_token = 3 * std::max<size_t>(1, model.longest_token_bytes);
  return static_cast<int64_t>(text.size() / bytes_of_a_token);
}

// Refuses a text that cannot fit without tokenizing it, also where it would be cut: ten megabytes
// take seconds.
absl::Status CheckTextLength(const std::string& text, int64_t limit, const ServedModel& model) {
  const int64_t fewest = FewestTokens(text, model);
  if (fewest <= limit) return absl::OkStatus();
  return InvalidField("prompt", absl::StrCat("have at most ", limit, " tokens"),
                      absl::StrCat("at least ", fewest));
}

absl::StatusOr<std::vector<TokenId>> EncodeChat(const v1::Chat& chat, int64_t limit,
                                                const ServedModel& model, std::string* text) {
  TIDAL_ASSIGN_OR_RETURN(ChatPrompt prompt,
                         RenderChat(chat, model.chat_template.get(), model.escaped_tokens.get()));
  if (prompt.text.empty()) return InvalidField("prompt", "have at least 1 token", "an empty text");
  const bool escaped = !prompt.stand_ins.empty();  // stand-ins are longer than what they stand for
  TIDAL_RETURN_IF_ERROR(
      CheckTextLength(escaped ? prompt.stand_ins.Restore(prompt.text) : prompt.text, limit, model));
  auto tokens =
      model.tokenizer->EncodeChat(prompt.text, prompt.stand_ins, /*add_special_tokens=*/false);
  if (!tokens.ok()) return Within("chat: ", tokens.status());
  *text = std::move(prompt.text);
  return tokens;
}

absl::StatusOr<std::vector<TokenId>> EncodeText(const std::string& text, bool add_special_tokens,
                                                int64_t limit, const ServedModel& model) {
  if (text.empty()) return InvalidField("prompt", "have at least 1 token", "an empty text");
  TIDAL_RETURN_IF_ERROR(CheckTextLength(text, limit, model));
  auto tokens = model.tokenizer->Encode(text, add_special_tokens);
  if (!tokens.ok()) return Within("text: ", tokens.status());
  return tokens;
}

// Of a request that has truncate_prompt_tokens: how many of the prompt's tokens are taken.
absl::StatusOr<int64_t> NumTokensToKeep(const v1::GenerateRequest& request, int64_t limit) {
  const int32_t wanted = request.truncate_prompt_tokens();
  if (wanted == kAsManyAsFit) {
    const v1::Stopping& stopping = request.stopping();
    const bool is_fixed = stopping.has_max_tokens() && !stopping.fit_max_tokens();
    const int64_t output = is_fixed ? std::max<int64_t>(stopping.max_tokens(), 1) : 1;
    return std::max<int64_t>(limit + 1 - output, 1);
  }
  if (wanted >= 1 && wanted <= limit) return wanted;
  return InvalidField("truncate_prompt_tokens", absl::StrCat("be -1 or in [1, ", limit, "]"),
                      wanted);
}

// All of the prompt's tokens.
absl::StatusOr<Prompt> Encode(const v1::GenerateRequest& request, int64_t limit,
                              const ServedModel& model) {
  Prompt prompt;
  switch (request.prompt_case()) {
    case v1::GenerateRequest::kTokenIds:
      prompt.tokens.assign(request.token_ids().ids().begin(), request.token_ids().ids().end());
      break;
    case v1::GenerateRequest::kText: {
      prompt.text = request.text();
      const bool special = !request.has_add_special_tokens() || request.add_special_tokens();
      TIDAL_ASSIGN_OR_RETURN(prompt.tokens, EncodeText(prompt.text, special, limit, model));
      break;
    }
    case v1::GenerateRequest::kChat: {
      TIDAL_ASSIGN_OR_RETURN(prompt.tokens, EncodeChat(request.chat(), limit, model, &prompt.text));
      break;
    }
    case v1::GenerateRequest::PROMPT_NOT_SET:
      return InvalidField("prompt", "be one of text, token_ids and chat", "nothing");
  }
  return prompt;
}

}  // namespace

absl::StatusOr<Prompt> ParsePrompt(const v1::GenerateRequest& request, const ServedModel& model) {
  const int64_t limit = MostTokens(request, model);
  int64_t kept = 0;  // 0: all
  if (request.has_truncate_prompt_tokens()) {
    TIDAL_ASSIGN_OR_RETURN(kept, NumTokensToKeep(request, limit));
  } else if (request.has_token_ids()) {
    TIDAL_RETURN_IF_ERROR(CheckPromptLength(request.token_ids().ids_size(), limit));
  }
  for (int i = 0; i < request.token_ids().ids_size(); ++i) {
    TIDAL_RETURN_IF_ERROR(CheckTokenId("token_ids.ids", i, request.token_ids().ids(i), model));
  }
  TIDAL_ASSIGN_OR_RETURN(Prompt prompt, Encode(request, limit, model));
  std::vector<TokenId>& tokens = prompt.tokens;
  if (kept > 0 && static_cast<int64_t>(tokens.size()) > kept) {
    if (request.truncate_prompt_end()) {
      tokens.erase(tokens.begin() + kept, tokens.end());
    } else {
      tokens.erase(tokens.begin(), tokens.end() - kept);
    }
    prompt.truncated = true;
  }
  TIDAL_RETURN_IF_ERROR(CheckPromptLength(static_cast<int64_t>(tokens.size()), limit));
  return prompt;
}

int64_t FewestPromptTokens(const v1::GenerateRequest& request, const ServedModel& model) {
  if (request.has_truncate_prompt_tokens()) return 0;
  switch (request.prompt_case()) {
    case v1::GenerateRequest::kTokenIds:
      return request.token_ids().ids_size();
    case v1::GenerateRequest::kText:
      return FewestTokens(request.text(), model);
    default:  // a chat's template may drop turns
      return 0;
  }
}

absl::Status CheckTokenId(absl::string_view field, int index, uint32_t id,
                          const ServedModel& model) {
  if (id < static_cast<uint32_t>(model.info.vocab_size)) return absl::OkStatus();
  return InvalidField(absl::StrCat(field, "[", index, "]"),
                      absl::StrCat("be below ", model.info.vocab_size), id);
}

}  // namespace tidal
