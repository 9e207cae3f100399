// What a tokenizer.json says, checked, in our own terms.
#ifndef TIDAL_SERVER_TEXT_TOKENIZER_CONFIG_H_
#define TIDAL_SERVER_TEXT_TOKENIZER_CONFIG_H_

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/ids.h"
#include "server/text/added_tokens.h"
#include "server/text/bpe.h"
#include "server/text/decoder.h"
#include "server/text/normalizer.h"
#include "server/text/pre_tokenizer.h"

namespace tidal {

struct TokenizerConfig {
  BpeConfig model;
  std::vector<AddedToken> added_tokens;  // contents are unique and not empty
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  Decoder decoder;
  std::vector<TokenId> prefix, suffix;  // what the post-processor puts around the text
};

// Far above any vocabulary in use; keeps a wrong id from asking for gigabytes.
inline constexpr TokenId kMaxTokenId = 1 << 22;

// INVALID_ARGUMENT "field: must be ..., got ..." on anything that is wrong, or right but not
// supported. Truncation and padding are for batches of training examples, and left out.
absl::StatusOr<TokenizerConfig> ParseTokenizerConfig(std::string_view json);

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_TOKENIZER_CONFIG_H_
