#include "server/text/bpe_tokenizer.h"

#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/types/span.h"
#include "engine/base/status_macros.h"
#include "server/text/byte_level.h"
#include "server/text/concat.h"
#include "server/text/utf8.h"

namespace tidal {
namespace {

// Tokens that are found in the normalized text are normalized themselves.
absl::Status SetTexts(TokenizerConfig* config) {
  for (AddedToken& token : config->added_tokens) {
    token.text = token.content;
    if (!token.normalized) continue;
    TIDAL_ASSIGN_OR_RETURN(token.text, config->normalizer.Normalize(token.content));
  }
  return absl::OkStatus();
}

absl::StatusOr<AddedTokenMatcher> MakeMatcher(const TokenizerConfig& config, bool normalized) {
  std::vector<AddedToken> tokens;
  for (const AddedToken& token : config.added_tokens) {
    if (token.normalized == normalized) tokens.push_back(token);
  }
  return AddedTokenMatcher::Make(std::move(tokens));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> BpeTokenizer::Make(TokenizerConfig config) {
  TIDAL_RETURN_IF_ERROR(SetTexts(&config));
  TIDAL_ASSIGN_OR_RETURN(Bpe bpe, Bpe::Make(config.model));
  TIDAL_ASSIGN_OR_RETURN(AddedTokenMatcher verbatim, MakeMatcher(config, false));
  TIDAL_ASSIGN_OR_RETURN(AddedTokenMatcher normalized, MakeMatcher(config, true));
  std::unique_ptr<BpeTokenizer> tokenizer(
      new BpeTokenizer(&config, std::move(bpe), std::move(verbatim), std::move(normalized)));
  TIDAL_RETURN_IF_ERROR(tokenizer->AddVocabulary(config));
  tokenizer->AddForms();
  return tokenizer;
}

BpeTokenizer::BpeTokenizer(TokenizerConfig* config, Bpe bpe, AddedTokenMatcher verbatim,
                           AddedTokenMatcher normalized)
    : prefix_(std::move(config->prefix)),
      suffix_(std::move(config->suffix)),
      verbatim_(std::move(verbatim)),
      normalized_(std::move(normalized)),
      normalizer_(std::move(config->normalizer)),
      pre_tokenizer_(std::move(config->pre_tokenizer)),
      bpe_(std::move(bpe)),
      decoder_(std::move(config->decoder)) {}

absl::Status BpeTokenizer::AddToken(const std::string& content, TokenId id, const char* field) {
  const auto [it, added] = ids_.try_emplace(content, id);
  if (!added && it->second == id) return absl::OkStatus();  // in the vocabulary as well
  if (!added) {
    return absl::InvalidArgumentError(
        Concat(field, ": must give \"", content, "\" its id ", it->second, ", got ", id));
  }
  if (tokens_.size() <= id) tokens_.resize(id + 1);
  if (tokens_[id].exists) {
    return absl::InvalidArgumentError(Concat(field, ": must give each token an id of its own, ",
                                             "got ", id, " for \"", content, "\" again"));
  }
  tokens_[id].exists = true;
  tokens_[id].text = decoder_.takes_bytes() ? ByteLevelToBytes(content) : content;
  return absl::OkStatus();
}

absl::Status BpeTokenizer::AddVocabulary(const TokenizerConfig& config) {
  for (const auto& [token, id] : config.model.vocab) {
    TIDAL_RETURN_IF_ERROR(AddToken(token, id, "model.vocab"));
  }
  absl::flat_hash_set<std::string> special;
  for (const AddedToken& token : config.added_tokens) {
    TIDAL_RETURN_IF_ERROR(AddToken(token.content, token.id, "added_tokens"));
    if (!token.special) continue;
    special.insert(token.content);
    special_texts_.push_back(token.content);
    may_become_special_ |= token.normalized && !normalizer_.only_marks_spaces();
  }
  if (tokens_.empty()) {
    return absl::InvalidArgumentError("model.vocab: must have a token, got none");
  }
  for (const AddedToken& token : config.added_tokens) {
    // The library knows a special token by its text, which need not be its normalized text.
    tokens_[token.id].special = special.contains(token.text);
    if (token.text == token.content) continue;
    tokens_[token.id].text = decoder_.takes_bytes() ? ByteLevelToBytes(token.text) : token.text;
  }
  for (const std::vector<TokenId>* around : {&prefix_, &suffix_}) {
    for (const TokenId id : *around) {
      if (id < vocab_size() && tokens_[id].exists) continue;
      return absl::InvalidArgumentError(
          Concat("post_processor: must add ids of the vocabulary, got ", id));
    }
  }
  return absl::OkStatus();
}

void BpeTokenizer::AddForms() {
  for (const auto& [written, id] : ids_) tokens_[id].written = written;
  for (Token& token : tokens_) {
    if (!token.exists) continue;
    std::string bytes = decoder_.TokenBytes(token.text);
    if (bytes != token.text) token.bytes = std::move(bytes);
  }
}

absl::Status BpeTokenizer::EncodePieces(std::string_view text, bool at_start,
                                        std::vector<TokenId>* ids) const {
  return pre_tokenizer_.Run(text, at_start,
                            [&](std::string_view piece) { bpe_.Encode(piece, ids); });
}

absl::Status BpeTokenizer::CheckPlain(std::string_view text, absl::Span<const TokenId> ids) const {
  absl::flat_hash_set<TokenId> special;
  for (const TokenId id : ids) {
    if (IsSpecial(id)) special.insert(id);
  }
  for (const TokenId id : special) {
    // The unknown token, which is special, may stand for anything but its own text.
    if (text.find(tokens_[id].text) == text.npos) continue;
    return absl::InvalidArgumentError(
        Concat("text: must not have \"", tokens_[id].text,
               "\", which this model's tokenizer cannot keep from being a special token"));
  }
  return absl::OkStatus();
}

absl::Status BpeTokenizer::EncodeNormalized(std::string_view text, bool at_start,
                                            const StandIns& stand_ins,
                                            std::vector<TokenId>* ids) const {
  return normalized_.Split(text, [&](std::string_view part, const AddedToken* token) {
    if (token != nullptr) {
      ids->push_back(token->id);
      return absl::OkStatus();
    }
    const bool part_at_start = at_start && part.data() == text.data();
    if (stand_ins.empty()) return EncodePieces(part, part_at_start, ids);
    const std::string restored = stand_ins.Restore(part);
    const size_t before = ids->size();
    TIDAL_RETURN_IF_ERROR(EncodePieces(restored, part_at_start, ids));
    return CheckPlain(restored, absl::MakeConstSpan(*ids).subspan(before));
  });
}

absl::Status BpeTokenizer::EncodePlain(std::string_view text, bool at_start,
                                       const StandIns& stand_ins, std::vector<TokenId>* ids) const {
  if (normalizer_.empty()) return EncodeNormalized(text, at_start, stand_ins, ids);
  if (!stand_ins.empty() && normalized_.empty()) {
    // Nothing is looked for behind the normalizer, which may as well see the text itself.
    TIDAL_ASSIGN_OR_RETURN(const std::string normalized,
                           normalizer_.Normalize(stand_ins.Restore(text)));
    return EncodeNormalized(normalized, at_start, stand_ins, ids);
  }
  TIDAL_ASSIGN_OR_RETURN(const std::string normalized, normalizer_.Normalize(text));
  return EncodeNormalized(normalized, at_start, stand_ins, ids);
}

absl::Status BpeTokenizer::EncodeText(std::string_view text, const StandIns& stand_ins,
                                      std::vector<TokenId>* ids) const {
  if (const auto offset = FindInvalidUtf8(text); offset.has_value()) {
    return absl::InvalidArgumentError(
        Concat("text: must be valid UTF-8, got an invalid byte at offset ", *offset));
  }
  return verbatim_.Split(text, [&](std::string_view part, const AddedToken* token) {
    if (token == nullptr) return EncodePlain(part, part.data() == text.data(), stand_ins, ids);
    ids->push_back(token->id);
    return absl::OkStatus();
  });
}

absl::StatusOr<std::vector<TokenId>> BpeTokenizer::Encode(std::string_view text,
                                                          bool add_special_tokens) const {
  return EncodeChat(text, StandIns(), add_special_tokens);
}

absl::StatusOr<std::vector<TokenId>> BpeTokenizer::EncodeChat(std::string_view text,
                                                              const StandIns& stand_ins,
                                                              bool add_special_tokens) const {
  std::vector<TokenId> ids;
  if (add_special_tokens) ids = prefix_;
  TIDAL_RETURN_IF_ERROR(EncodeText(text, stand_ins, &ids));
  if (add_special_tokens) ids.insert(ids.end(), suffix_.begin(), suffix_.end());
  return ids;
}

absl::StatusOr<SpecialTokenTexts> BpeTokenizer::special_token_texts() const {
  if (!may_become_special_) return SpecialTokenTexts::Make(special_texts_);
  return absl::UnimplementedError(
      "special tokens are found in normalized text, which other text may become");
}

std::optional<std::string_view> BpeTokenizer::TokenText(TokenId id) const {
  if (id < 0 || id >= vocab_size() || !tokens_[id].exists) return std::nullopt;
  return tokens_[id].text;
}

std::string_view BpeTokenizer::WrittenToken(TokenId id) const {
  if (id < 0 || id >= vocab_size()) return {};
  return tokens_[id].written;
}

std::string_view BpeTokenizer::TokenBytes(TokenId id) const {
  if (id < 0 || id >= vocab_size()) return {};
  return tokens_[id].bytes.empty() ? tokens_[id].text : tokens_[id].bytes;
}

bool BpeTokenizer::IsSpecial(TokenId id) const {
  return id >= 0 && id < vocab_size() && tokens_[id].special;
}

std::optional<TokenId> BpeTokenizer::TokenToId(std::string_view token) const {
  const auto it = ids_.find(absl::string_view(token.data(), token.size()));
  return it == ids_.end() ? std::nullopt : std::optional<TokenId>(it->second);
}

}  // namespace tidal
