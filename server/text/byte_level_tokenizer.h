// The one kind of tokenizer: byte-level BPE.
#ifndef TIDAL_SERVER_TEXT_BYTE_LEVEL_TOKENIZER_H_
#define TIDAL_SERVER_TEXT_BYTE_LEVEL_TOKENIZER_H_

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "server/text/added_tokens.h"
#include "server/text/bpe.h"
#include "server/text/pre_tokenizer.h"
#include "server/text/tokenizer.h"
#include "server/text/tokenizer_config.h"

namespace tidal {

class ByteLevelTokenizer : public Tokenizer {
 public:
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Make(TokenizerConfig config);

  absl::StatusOr<std::vector<TokenId>> Encode(std::string_view text,
                                              bool add_special_tokens) const override;
  std::string Decode(absl::Span<const TokenId> ids, bool skip_special_tokens) const override;
  std::string_view TokenBytes(TokenId id) const override;
  bool IsSpecial(TokenId id) const override;
  std::optional<TokenId> TokenToId(std::string_view token) const override;
  int32_t vocab_size() const override { return static_cast<int32_t>(bytes_.size()); }

 private:
  ByteLevelTokenizer(TokenizerConfig* config, AddedTokenMatcher verbatim,
                     AddedTokenMatcher normalized);
  absl::Status AddToken(const std::string& token, TokenId id, const char* field);
  absl::Status AddVocabulary(const TokenizerConfig& config);
  absl::Status AddMerges(const TokenizerConfig& config);
  void PrepareBpe(const TokenizerConfig& config);
  // Text without added tokens.
  absl::Status EncodePlain(std::string_view text, std::vector<TokenId>* ids) const;

  absl::flat_hash_map<std::string, TokenId> ids_;  // by the token as tokenizer.json writes it
  std::vector<std::string> bytes_;                 // by id; empty in gaps
  std::vector<bool> special_;                      // by id
  std::vector<TokenId> prefix_, suffix_;
  AddedTokenMatcher verbatim_, normalized_;
  PreTokenizer pre_tokenizer_;
  Bpe bpe_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_BYTE_LEVEL_TOKENIZER_H_
