#include "server/generation/token_filter_request.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "server/generation/field_error.h"
#include "server/generation/request_limits.h"

namespace tidal {
namespace {

absl::StatusOr<std::vector<uint32_t>> ParseAllowed(const v1::Sampling& sampling,
                                                   const ServedModel& model) {
  const auto& ids = sampling.allowed_token_ids();
  const int32_t vocab_size = model.info.vocab_size;
  if (ids.size() > vocab_size) {
    return InvalidField("sampling.allowed_token_ids",
                        absl::StrCat("have at most ", vocab_size, " ids"), ids.size());
  }
  for (int i = 0; i < ids.size(); ++i) {
    if (ids[i] < static_cast<uint32_t>(vocab_size)) continue;
    return InvalidField(absl::StrCat("sampling.allowed_token_ids[", i, "]"),
                        absl::StrCat("be below ", vocab_size), ids[i]);
  }
  return MaskOf(std::vector<TokenId>(ids.begin(), ids.end()), vocab_size);
}

bool EndsWith(const std::vector<TokenId>& tokens, const std::vector<TokenId>& end) {
  return tokens.size() >= end.size() && std::equal(end.rbegin(), end.rend(), tokens.rbegin());
}

// As at the begin of a text, and as after a space: most tokenizers write a word in these two ways.
absl::Status AddBadWord(const std::string& field, const std::string& word, const ServedModel& model,
                        std::vector<std::vector<TokenId>>* out) {
  if (word.empty() || word.size() > kMaxBadWordBytes) {
    return InvalidField(field, absl::StrCat("have 1 to ", kMaxBadWordBytes, " bytes"), word.size());
  }
  const std::string bare = word.substr(std::min(word.find_first_not_of(' '), word.size()));
  std::vector<TokenId> shorter;
  for (const char* space : {"", " "}) {
    auto tokens = model.tokenizer->Encode(space + bare, /*add_special_tokens=*/false);
    if (!tokens.ok()) {
      return absl::Status(tokens.status().code(),
                          absl::StrCat(field, ": ", tokens.status().message()));
    }
    if (tokens->empty() || (!shorter.empty() && EndsWith(*tokens, shorter))) continue;
    shorter = *tokens;
    out->push_back(*std::move(tokens));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<const TokenFilter>> ParseTokenFilter(const v1::Sampling& sampling,
                                                                    const ServedModel& model) {
  if (sampling.allowed_token_ids().empty() && sampling.bad_words().empty()) {
    return std::shared_ptr<const TokenFilter>();
  }
  auto filter = std::make_shared<TokenFilter>();
  filter->vocab_size = model.info.vocab_size;
  if (!sampling.allowed_token_ids().empty()) {
    TIDAL_ASSIGN_OR_RETURN(filter->allowed, ParseAllowed(sampling, model));
  }
  if (sampling.bad_words_size() > kMaxBadWords) {
    return InvalidField("sampling.bad_words", absl::StrCat("have at most ", kMaxBadWords, " texts"),
                        sampling.bad_words_size());
  }
  for (int i = 0; i < sampling.bad_words_size(); ++i) {
    TIDAL_RETURN_IF_ERROR(AddBadWord(absl::StrCat("sampling.bad_words[", i, "]"),
                                     sampling.bad_words(i), model, &filter->bad_words));
  }
  return std::shared_ptr<const TokenFilter>(std::move(filter));
}

}  // namespace tidal
