#include "server/text/incremental_detokenizer.h"

namespace tidal {

std::string IncrementalDetokenizer::Append(TokenId id) {
  if (skip_special_tokens_ && tokenizer_->IsSpecial(id)) return "";
  const auto token = tokenizer_->TokenText(id);
  return token.has_value() ? decoding_.Append(*token) : "";
}

std::string IncrementalDetokenizer::Flush() { return decoding_.Finish(); }

}  // namespace tidal
