// Token ids to text as they come, never emitting half a code point.
#ifndef TIDAL_SERVER_TEXT_INCREMENTAL_DETOKENIZER_H_
#define TIDAL_SERVER_TEXT_INCREMENTAL_DETOKENIZER_H_

#include <string>

#include "server/text/decoder.h"
#include "server/text/tokenizer.h"

namespace tidal {

// The concatenation of everything returned equals Tokenizer::Decode of all the tokens.
// Not thread-safe. `tokenizer` outlives it.
class IncrementalDetokenizer {
 public:
  IncrementalDetokenizer(const Tokenizer* tokenizer, bool skip_special_tokens)
      : tokenizer_(tokenizer),
        skip_special_tokens_(skip_special_tokens),
        decoding_(tokenizer->decoder()) {}

  // The text this token completes; may be empty.
  std::string Append(TokenId id);
  // What is left when no more tokens come: U+FFFD for an incomplete code point.
  std::string Flush();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_tokens_;
  Decoding decoding_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_INCREMENTAL_DETOKENIZER_H_
