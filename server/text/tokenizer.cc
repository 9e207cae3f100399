#include "server/text/tokenizer.h"

#include <utility>

#include "engine/json/text_file.h"
#include "server/text/bpe_tokenizer.h"
#include "server/text/concat.h"
#include "server/text/incremental_detokenizer.h"
#include "server/text/tokenizer_config.h"

namespace tidal {

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::string& folder) {
  const std::string path = folder + "/tokenizer.json";
  const auto json = ReadTextFile(path);
  if (!json.ok()) return json.status();
  auto tokenizer = FromJson(*json);
  if (tokenizer.ok()) return tokenizer;
  return absl::Status(tokenizer.status().code(), Concat(path, ": ", tokenizer.status().message()));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromJson(std::string_view json) {
  auto config = ParseTokenizerConfig(json);
  if (!config.ok()) return config.status();
  return BpeTokenizer::Make(*std::move(config));
}

std::string Tokenizer::Decode(absl::Span<const TokenId> ids, bool skip_special_tokens) const {
  IncrementalDetokenizer detokenizer(this, skip_special_tokens);
  std::string text;
  for (const TokenId id : ids) text += detokenizer.Append(id);
  return text + detokenizer.Flush();
}

}  // namespace tidal
