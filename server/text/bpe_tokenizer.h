// The one kind of tokenizer: byte-pair encoding, with all that goes around it.
#ifndef TIDAL_SERVER_TEXT_BPE_TOKENIZER_H_
#define TIDAL_SERVER_TEXT_BPE_TOKENIZER_H_

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "server/text/added_tokens.h"
#include "server/text/bpe.h"
#include "server/text/decoder.h"
#include "server/text/normalizer.h"
#include "server/text/pre_tokenizer.h"
#include "server/text/tokenizer.h"
#include "server/text/tokenizer_config.h"

namespace tidal {

class BpeTokenizer : public Tokenizer {
 public:
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Make(TokenizerConfig config);

  absl::StatusOr<std::vector<TokenId>> Encode(std::string_view text,
                                              bool add_special_tokens) const override;
  absl::StatusOr<std::vector<TokenId>> EncodeChat(std::string_view text,
                                                  const StandIns& stand_ins,
                                                  bool add_special_tokens) const override;
  absl::StatusOr<SpecialTokenTexts> special_token_texts() const override;
  const Decoder& decoder() const override { return decoder_; }
  std::optional<std::string_view> TokenText(TokenId id) const override;
  std::string_view WrittenToken(TokenId id) const override;
  std::string_view TokenBytes(TokenId id) const override;
  bool IsSpecial(TokenId id) const override;
  std::optional<TokenId> TokenToId(std::string_view token) const override;
  int32_t vocab_size() const override { return static_cast<int32_t>(tokens_.size()); }

 private:
  struct Token {
    bool exists = false;  // ids may have gaps
    bool special = false;
    std::string_view written;  // a key of ids_
    std::string text;          // what the decoder takes
    std::string bytes;         // empty when they are `text`
  };

  BpeTokenizer(TokenizerConfig* config, Bpe bpe, AddedTokenMatcher verbatim,
               AddedTokenMatcher normalized);
  absl::Status AddToken(const std::string& content, TokenId id, const char* field);
  absl::Status AddVocabulary(const TokenizerConfig& config);
  void AddForms();  // once all tokens are there
  absl::Status EncodeText(std::string_view text, const StandIns& stand_ins,
                          std::vector<TokenId>* ids) const;
  // Text without added tokens; `at_start` as in PreTokenizer::Run().
  absl::Status EncodePlain(std::string_view text, bool at_start, const StandIns& stand_ins,
                           std::vector<TokenId>* ids) const;
  absl::Status EncodeNormalized(std::string_view text, bool at_start, const StandIns& stand_ins,
                                std::vector<TokenId>* ids) const;
  // Of `text`, normalized and without added tokens or stand-ins.
  absl::Status EncodePieces(std::string_view text, bool at_start, std::vector<TokenId>* ids) const;
  // Have the merges made a special token of `text`, whose `ids` these are? INVALID_ARGUMENT.
  absl::Status CheckPlain(std::string_view text, absl::Span<const TokenId> ids) const;

  absl::flat_hash_map<std::string, TokenId> ids_;  // by the token as tokenizer.json writes it
  std::vector<Token> tokens_;                      // by id
  std::vector<TokenId> prefix_, suffix_;
  std::vector<std::string> special_texts_;  // as tokenizer.json writes them
  bool may_become_special_ = false;         // by normalization, other text than those
  AddedTokenMatcher verbatim_, normalized_;  // found before and after normalization
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  Bpe bpe_;
  Decoder decoder_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_BPE_TOKENIZER_H_
