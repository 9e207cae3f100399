#include "server/generation/token_queries.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "server/generation/chat_prompt.h"
#include "server/generation/generation_request.h"
#include "server/text/incremental_detokenizer.h"
#include "server/text/stand_ins.h"

namespace tidal {
namespace {

absl::Status TooMany(absl::string_view field, int64_t limit, absl::string_view unit, int64_t got) {
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": must have at most ", limit, " ", unit, ", got ", got));
}

absl::StatusOr<std::vector<TokenId>> Encode(const char* field, const ChatPrompt& prompt,
                                            bool add_special_tokens, const ServedModel& model) {
  const int64_t limit = LimitsOfTokenQueries(model.info.max_model_len).text_bytes;
  const auto size = static_cast<int64_t>(prompt.text.size());
  if (size > limit) return TooMany(field, limit, "bytes of text", size);
  return model.tokenizer->EncodeChat(prompt.text, prompt.stand_ins, add_special_tokens);
}

absl::StatusOr<std::vector<TokenId>> EncodePrompt(const v1::TokenizeRequest& request,
                                                  const ServedModel& model) {
  switch (request.prompt_case()) {
    case v1::TokenizeRequest::kText:
      return Encode("text", {request.text(), StandIns()},
                    !request.has_add_special_tokens() || request.add_special_tokens(), model);
    case v1::TokenizeRequest::kChat: {
      TIDAL_ASSIGN_OR_RETURN(
          const ChatPrompt prompt,
          RenderChat(request.chat(), model.chat_template.get(), model.escaped_tokens.get()));
      return Encode("chat", prompt, request.add_special_tokens(), model);
    }
    case v1::TokenizeRequest::PROMPT_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("prompt: must be one of text and chat, got nothing");
}

}  // namespace

TokenQueryLimits LimitsOfTokenQueries(int32_t max_model_len) {
  const int64_t length = max_model_len;
  TokenQueryLimits limits;
  limits.text_bytes = std::max<int64_t>(1536 << 10, 8 * length);
  limits.token_ids = std::max<int64_t>(256 << 10, length);
  limits.reply_bytes = std::max<int64_t>(2 << 20, 8 * length);
  return limits;
}

absl::StatusOr<v1::TokenizeResponse> Tokenize(const v1::TokenizeRequest& request,
                                              const ServedModel& model) {
  TIDAL_RETURN_IF_ERROR(CheckModelName(request.model(), model));
  TIDAL_ASSIGN_OR_RETURN(const std::vector<TokenId> ids, EncodePrompt(request, model));
  v1::TokenizeResponse response;
  response.set_max_model_len(static_cast<uint32_t>(model.info.max_model_len));
  if (request.return_token_strings()) {
    const int64_t limit = LimitsOfTokenQueries(model.info.max_model_len).token_ids;
    const auto count = static_cast<int64_t>(ids.size());
    if (count > limit) {
      return absl::InvalidArgumentError(absl::StrCat(
          "return_token_strings: must be false for more than ", limit, " tokens, got ", count));
    }
    response.mutable_token_strings()->Reserve(static_cast<int>(ids.size()));
    for (const TokenId id : ids) {
      const std::string_view written = model.tokenizer->WrittenToken(id);
      response.add_token_strings(written.data(), written.size());
    }
  }
  response.mutable_token_ids()->Add(ids.begin(), ids.end());
  return response;
}

absl::StatusOr<v1::DetokenizeResponse> Detokenize(const v1::DetokenizeRequest& request,
                                                  const ServedModel& model) {
  TIDAL_RETURN_IF_ERROR(CheckModelName(request.model(), model));
  const TokenQueryLimits limits = LimitsOfTokenQueries(model.info.max_model_len);
  if (request.token_ids_size() > limits.token_ids) {
    return TooMany("token_ids", limits.token_ids, "ids", request.token_ids_size());
  }
  IncrementalDetokenizer detokenizer(model.tokenizer.get(), /*skip_special_tokens=*/false);
  v1::DetokenizeResponse response;
  std::string& text = *response.mutable_text();
  for (int i = 0; i < request.token_ids_size(); ++i) {
    const uint32_t id = request.token_ids(i);
    if (id >= static_cast<uint32_t>(model.info.vocab_size)) {
      return absl::InvalidArgumentError(
          absl::StrCat("token_ids[", i, "]: must be below ", model.info.vocab_size, ", got ", id));
    }
    text += detokenizer.Append(static_cast<TokenId>(id));
    if (static_cast<int64_t>(text.size()) > limits.reply_bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("token_ids: must be of at most ", limits.reply_bytes, " bytes of text"));
    }
  }
  text += detokenizer.Flush();
  return response;
}

}  // namespace tidal
