// Text to token ids and back, as the model's tokenizer.json says.
#ifndef TIDAL_SERVER_TEXT_TOKENIZER_H_
#define TIDAL_SERVER_TEXT_TOKENIZER_H_

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/base/ids.h"
#include "server/text/decoder.h"
#include "server/text/special_token_texts.h"
#include "server/text/stand_ins.h"

namespace tidal {

// Thread-safe: constant after Load().
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Reads `folder`/tokenizer.json. NOT_FOUND, or INVALID_ARGUMENT naming the file, the field and
  // the value it does not support.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::string& folder);
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromJson(std::string_view json);

  // Special tokens written out in the text become those tokens, as in Hugging Face's library.
  // add_special_tokens: run the post-processor (BOS). INVALID_ARGUMENT on invalid UTF-8,
  // RESOURCE_EXHAUSTED when a pattern of the tokenizer.json backtracks without end on this text.
  virtual absl::StatusOr<std::vector<TokenId>> Encode(std::string_view text,
                                                      bool add_special_tokens) const = 0;

  // The same of a text with stand-ins (special_token_escape.h): no special token is found at one,
  // and what is no token is the text that they stand for.
  // INVALID_ARGUMENT also where the vocabulary's own merges make a special token of plain text.
  virtual absl::StatusOr<std::vector<TokenId>> EncodeChat(std::string_view text,
                                                          const StandIns& stand_ins,
                                                          bool add_special_tokens) const = 0;
  // What EscapeSpecialTokens() looks for. UNIMPLEMENTED where it could not: a special token is
  // found in normalized text, and other text may become it.
  virtual absl::StatusOr<SpecialTokenTexts> special_token_texts() const = 0;

  // Valid UTF-8: incomplete sequences come out as U+FFFD. Ids outside the vocabulary give nothing.
  std::string Decode(absl::Span<const TokenId> ids, bool skip_special_tokens) const;
  virtual const Decoder& decoder() const = 0;
  // What decoder() takes for one token; nothing for an id outside the vocabulary.
  virtual std::optional<std::string_view> TokenText(TokenId id) const = 0;

  // The token as tokenizer.json writes it: "Ġis" where the vocabulary is byte-level, "▁is" where it
  // is SentencePiece's. Empty for an id outside the vocabulary.
  virtual std::string_view WrittenToken(TokenId id) const = 0;

  // What one token adds to a text, a part of a code point perhaps; empty for an id outside the
  // vocabulary.
  virtual std::string_view TokenBytes(TokenId id) const = 0;
  virtual bool IsSpecial(TokenId id) const = 0;
  virtual std::optional<TokenId> TokenToId(std::string_view token) const = 0;
  virtual int32_t vocab_size() const = 0;  // added tokens included
};

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_TOKENIZER_H_
