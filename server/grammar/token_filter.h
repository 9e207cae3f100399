// Lists of tokens that may come or may not: a client's allowed tokens and bad words.
#ifndef TIDAL_SERVER_GRAMMAR_TOKEN_FILTER_H_
#define TIDAL_SERVER_GRAMMAR_TOKEN_FILTER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "engine/base/ids.h"
#include "scheduler/token_constraint.h"

namespace tidal {

// Of one request; constant, and so shared by its outputs.
struct TokenFilter {
  int32_t vocab_size = 0;                       // of the logits
  std::vector<uint32_t> allowed;                // a mask as TokenConstraint's; empty: all
  std::vector<std::vector<TokenId>> bad_words;  // the last of each never follows those before it
};

// The mask of `ids`, which are below `vocab_size`.
std::vector<uint32_t> MaskOf(absl::Span<const TokenId> ids, int32_t vocab_size);

// Clears the bits of `tokens`, unless none would be left. Says whether the mask is narrower now.
bool ClearTokens(absl::Span<uint32_t> mask, std::vector<TokenId> tokens);

// For one output. Each rule narrows what those before it leave, and where it would leave nothing it
// does not count for that token: what `structure` (null: none) asks for, the allowed tokens, the
// bad words, and without a structure that none of `stop_tokens` is among the first `min_tokens`.
std::shared_ptr<TokenConstraint> MakeFilterConstraint(std::shared_ptr<const TokenFilter> filter,
                                                      std::shared_ptr<TokenConstraint> structure,
                                                      std::vector<TokenId> stop_tokens,
                                                      int32_t min_tokens);

}  // namespace tidal

#endif  // TIDAL_SERVER_GRAMMAR_TOKEN_FILTER_H_
