// Any bytes as a tokenizer.json, and any as a text for the tokenizer they make.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "server/text/tokenizer.h"

// The first byte says how much of the input, in 1/256, is the document; the rest is the text.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t cut = input.size() * (data[0] + size_t{1}) / 256;
  const auto tokenizer = tidal::Tokenizer::FromJson(input.substr(0, cut));
  if (!tokenizer.ok()) return 0;
  const auto ids = (*tokenizer)->Encode(input.substr(cut), /*add_special_tokens=*/true);
  if (!ids.ok()) return 0;
  for (const tidal::TokenId id : *ids) {
    if (id < 0 || id >= (*tokenizer)->vocab_size()) std::abort();
  }
  (*tokenizer)->Decode(*ids, /*skip_special_tokens=*/false);
  return 0;
}
