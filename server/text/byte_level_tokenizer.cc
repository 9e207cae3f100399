#include "server/text/byte_level_tokenizer.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "server/text/byte_level.h"
#include "server/text/concat.h"
#include "server/text/utf8.h"

namespace tidal {

absl::StatusOr<std::unique_ptr<Tokenizer>> ByteLevelTokenizer::Make(TokenizerConfig config) {
  std::vector<AddedToken> verbatim, normalized;
  for (const AddedToken& token : config.added_tokens) {
    (token.normalized ? normalized : verbatim).push_back(token);
  }
  auto verbatim_matcher = AddedTokenMatcher::Make(std::move(verbatim));
  if (!verbatim_matcher.ok()) return verbatim_matcher.status();
  auto normalized_matcher = AddedTokenMatcher::Make(std::move(normalized));
  if (!normalized_matcher.ok()) return normalized_matcher.status();
  std::unique_ptr<ByteLevelTokenizer> tokenizer(new ByteLevelTokenizer(
      &config, *std::move(verbatim_matcher), *std::move(normalized_matcher)));
  if (absl::Status status = tokenizer->AddVocabulary(config); !status.ok()) return status;
  if (absl::Status status = tokenizer->AddMerges(config); !status.ok()) return status;
  tokenizer->PrepareBpe(config);
  return tokenizer;
}

ByteLevelTokenizer::ByteLevelTokenizer(TokenizerConfig* config, AddedTokenMatcher verbatim,
                                       AddedTokenMatcher normalized)
    : prefix_(std::move(config->prefix)),
      suffix_(std::move(config->suffix)),
      verbatim_(std::move(verbatim)),
      normalized_(std::move(normalized)),
      pre_tokenizer_(std::move(config->pre_tokenizer)) {}

absl::Status ByteLevelTokenizer::AddToken(const std::string& token, TokenId id, const char* field) {
  const auto [it, added] = ids_.try_emplace(token, id);
  if (!added && it->second == id) return absl::OkStatus();  // in the vocabulary as well
  if (!added) {
    return absl::InvalidArgumentError(
        Concat(field, ": must give \"", token, "\" its id ", it->second, ", got ", id));
  }
  if (bytes_.size() <= id) bytes_.resize(id + 1);
  if (!bytes_[id].empty()) {
    return absl::InvalidArgumentError(Concat(field, ": must give each token an id of its own, ",
                                             "got ", id, " for \"", token, "\" again"));
  }
  bytes_[id] = ByteLevelToBytes(token);
  return absl::OkStatus();
}

absl::Status ByteLevelTokenizer::AddVocabulary(const TokenizerConfig& config) {
  for (const auto& [token, id] : config.vocab) {
    if (absl::Status status = AddToken(token, id, "model.vocab"); !status.ok()) return status;
  }
  for (const AddedToken& token : config.added_tokens) {
    if (absl::Status status = AddToken(token.content, token.id, "added_tokens"); !status.ok()) {
      return status;
    }
  }
  if (bytes_.empty()) {
    return absl::InvalidArgumentError("model.vocab: must have a token, got none");
  }
  special_.resize(bytes_.size());
  for (const AddedToken& token : config.added_tokens) {
    if (token.special) special_[token.id] = true;
  }
  for (const std::vector<TokenId>* around : {&prefix_, &suffix_}) {
    for (const TokenId id : *around) {
      if (id < vocab_size() && !bytes_[id].empty()) continue;
      return absl::InvalidArgumentError(
          Concat("post_processor.special_tokens: must have ids of the vocabulary, got ", id));
    }
  }
  return absl::OkStatus();
}

absl::Status ByteLevelTokenizer::AddMerges(const TokenizerConfig& config) {
  for (size_t rank = 0; rank < config.merges.size(); ++rank) {
    const auto& [left, right] = config.merges[rank];
    const auto a = ids_.find(left), b = ids_.find(right), whole = ids_.find(left + right);
    if (a == ids_.end() || b == ids_.end() || whole == ids_.end()) {
      return absl::InvalidArgumentError(Concat("model.merges[", rank,
                                               "]: must be two tokens of the vocabulary that make ",
                                               "a third, got \"", left, "\" and \"", right, "\""));
    }
    bpe_.AddMerge(a->second, b->second, static_cast<int32_t>(rank), whole->second);
  }
  if (!config.unk_token.has_value()) return absl::OkStatus();
  const auto unk = ids_.find(*config.unk_token);
  if (unk == ids_.end()) {
    return absl::InvalidArgumentError(Concat(
        "model.unk_token: must be a token of the vocabulary, got \"", *config.unk_token, "\""));
  }
  for (int byte = 0; byte < 256; ++byte) bpe_.SetByteToken(byte, unk->second);
  return absl::OkStatus();
}

void ByteLevelTokenizer::PrepareBpe(const TokenizerConfig& config) {
  for (int byte = 0; byte < 256; ++byte) {
    const auto it = ids_.find(ByteLevelCharacter(byte));
    if (it != ids_.end()) bpe_.SetByteToken(byte, it->second);
  }
  std::vector<std::pair<std::string_view, TokenId>> tokens;
  tokens.reserve(config.vocab.size());
  for (const auto& [token, id] : config.vocab) {
    if (IsByteLevel(token)) tokens.emplace_back(bytes_[id], id);
  }
  bpe_.Prepare(tokens, config.ignore_merges);
}

absl::Status ByteLevelTokenizer::EncodePlain(std::string_view text,
                                             std::vector<TokenId>* ids) const {
  return pre_tokenizer_.Split(text, [&](std::string_view piece) { bpe_.Encode(piece, ids); });
}

absl::StatusOr<std::vector<TokenId>> ByteLevelTokenizer::Encode(std::string_view text,
                                                                bool add_special_tokens) const {
  if (const auto offset = FindInvalidUtf8(text); offset.has_value()) {
    return absl::InvalidArgumentError(
        Concat("text: must be valid UTF-8, got an invalid byte at offset ", *offset));
  }
  std::vector<TokenId> ids;
  if (add_special_tokens) ids = prefix_;
  const absl::Status status =
      verbatim_.Split(text, [&](std::string_view part, const AddedToken* token) -> absl::Status {
        if (token == nullptr) {
          return normalized_.Split(part, [&](std::string_view rest, const AddedToken* added) {
            if (added == nullptr) return EncodePlain(rest, &ids);
            ids.push_back(added->id);
            return absl::OkStatus();
          });
        }
        ids.push_back(token->id);
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  if (add_special_tokens) ids.insert(ids.end(), suffix_.begin(), suffix_.end());
  return ids;
}

std::string ByteLevelTokenizer::Decode(absl::Span<const TokenId> ids,
                                       bool skip_special_tokens) const {
  std::string bytes;
  for (const TokenId id : ids) {
    if (!skip_special_tokens || !IsSpecial(id)) bytes.append(TokenBytes(id));
  }
  std::string text;
  text.reserve(bytes.size());
  AppendLossyUtf8(bytes, /*keep_incomplete=*/false, &text);
  return text;
}

std::string_view ByteLevelTokenizer::TokenBytes(TokenId id) const {
  return id >= 0 && id < vocab_size() ? std::string_view(bytes_[id]) : std::string_view();
}

bool ByteLevelTokenizer::IsSpecial(TokenId id) const {
  return id >= 0 && id < vocab_size() && special_[id];
}

std::optional<TokenId> ByteLevelTokenizer::TokenToId(std::string_view token) const {
  const auto it = ids_.find(absl::string_view(token.data(), token.size()));
  return it == ids_.end() ? std::nullopt : std::optional<TokenId>(it->second);
}

}  // namespace tidal
