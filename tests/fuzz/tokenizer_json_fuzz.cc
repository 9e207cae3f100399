// Any bytes as a tokenizer.json, and any as a text for the tokenizer they make.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "server/text/incremental_detokenizer.h"
#include "server/text/tokenizer.h"
#include "server/text/utf8.h"

namespace {

using Ids = std::vector<tidal::TokenId>;

constexpr size_t kMaxText = 1 << 10;     // bytes
constexpr int kMaxTokens = 1 << 12;      // a vocabulary of more is not decoded token by token
constexpr size_t kMaxDecoded = 1 << 12;  // tokens

void Require(bool condition) {
  if (!condition) std::abort();
}

// The text, whole and token by token, is valid and the same.
void Decode(const tidal::Tokenizer& tokenizer, const Ids& ids, bool skip_special_tokens) {
  tidal::IncrementalDetokenizer detokenizer(&tokenizer, skip_special_tokens);
  std::string text;
  for (const tidal::TokenId id : ids) {
    const std::string part = detokenizer.Append(id);
    Require(!tidal::FindInvalidUtf8(part).has_value());
    text += part;
  }
  text += detokenizer.Flush();
  Require(!tidal::FindInvalidUtf8(text).has_value());
  Require(text == tokenizer.Decode(ids, skip_special_tokens));
}

}  // namespace

// The first byte says how much of the input, in 1/256, is the document; the rest is the text.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t cut = input.size() * (data[0] + size_t{1}) / 256;
  const auto tokenizer = tidal::Tokenizer::FromJson(input.substr(0, cut));
  if (!tokenizer.ok()) return 0;
  // What is not UTF-8 is refused; made valid, it is encoded.
  const std::string_view raw = input.substr(cut, kMaxText);
  std::string text;
  tidal::AppendLossyUtf8(raw, /*keep_incomplete=*/false, &text);
  const auto raw_ids = (*tokenizer)->Encode(raw, /*add_special_tokens=*/true);
  const auto ids = (*tokenizer)->Encode(text, /*add_special_tokens=*/true);
  if (text == raw) Require(raw_ids.ok() == ids.ok());
  if (!ids.ok()) return 0;
  for (const tidal::TokenId id : *ids) {
    Require(id >= 0 && id < (*tokenizer)->vocab_size());
  }
  Ids some(ids->begin(), ids->begin() + std::min(ids->size(), kMaxDecoded));
  for (int id = 0; id < std::min(kMaxTokens, (*tokenizer)->vocab_size()); ++id) {
    if ((*tokenizer)->TokenText(id).has_value()) some.push_back(id);
  }
  Decode(**tokenizer, some, /*skip_special_tokens=*/false);
  Decode(**tokenizer, some, /*skip_special_tokens=*/true);
  return 0;
}
