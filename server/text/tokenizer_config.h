// What a tokenizer.json says, checked, in our own terms.
#ifndef TIDAL_SERVER_TEXT_TOKENIZER_CONFIG_H_
#define TIDAL_SERVER_TEXT_TOKENIZER_CONFIG_H_

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/ids.h"
#include "server/text/added_tokens.h"
#include "server/text/pre_tokenizer.h"

namespace tidal {

struct TokenizerConfig {
  // Ids are unique and below kMaxTokenId; tokens are written in the byte-level alphabet.
  std::vector<std::pair<std::string, TokenId>> vocab;
  std::vector<std::pair<std::string, std::string>> merges;  // by rank
  bool ignore_merges = false;
  std::optional<std::string> unk_token;
  std::vector<AddedToken> added_tokens;
  PreTokenizer pre_tokenizer;
  std::vector<TokenId> prefix, suffix;  // what the post-processor puts around the text
};

// Far above any vocabulary in use; keeps a wrong id from asking for gigabytes.
inline constexpr TokenId kMaxTokenId = 1 << 22;

// INVALID_ARGUMENT "field: must be ..., got ..." on anything that is wrong, or right but not
// supported: only byte-level BPE without a normalizer is.
absl::StatusOr<TokenizerConfig> ParseTokenizerConfig(std::string_view json);

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_TOKENIZER_CONFIG_H_
