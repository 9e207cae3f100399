#include "server/text/incremental_detokenizer.h"

#include "server/text/utf8.h"

namespace tidal {

std::string IncrementalDetokenizer::Append(TokenId id) {
  if (skip_special_tokens_ && tokenizer_->IsSpecial(id)) return "";
  pending_.append(tokenizer_->TokenBytes(id));
  std::string text;
  const size_t consumed = AppendLossyUtf8(pending_, /*keep_incomplete=*/true, &text);
  pending_.erase(0, consumed);
  return text;
}

std::string IncrementalDetokenizer::Flush() {
  std::string text;
  AppendLossyUtf8(pending_, /*keep_incomplete=*/false, &text);
  pending_.clear();
  return text;
}

}  // namespace tidal
