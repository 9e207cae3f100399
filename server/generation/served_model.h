// The model as requests see it: names, text, limits, defaults.
#ifndef TIDAL_SERVER_GENERATION_SERVED_MODEL_H_
#define TIDAL_SERVER_GENERATION_SERVED_MODEL_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/ids.h"
#include "engine/engine.h"
#include "engine/step.h"
#include "server/generation/reply_formats.h"
#include "server/grammar/grammar_compiler.h"
#include "server/text/chat_template.h"
#include "server/text/special_token_texts.h"
#include "server/text/tokenizer.h"

namespace tidal {

// What a request that leaves a field out gets: the model's generation_config.json, where it says.
struct GenerationDefaults {
  float temperature = 1.0f;
  int32_t top_k = 0;
  float top_p = 1.0f;
  float min_p = 0.0f;
  float repetition_penalty = 1.0f;
  std::optional<int32_t> max_tokens;  // nothing = what is left of the model's length
};

// Constant, and so thread-safe, once the server runs.
struct ServedModel {
  std::vector<std::string> names;  // at least one; the first is the one replies carry
  std::string version;             // of the server
  int64_t created_unix_seconds = 0;
  std::unique_ptr<Tokenizer> tokenizer;
  size_t longest_token_bytes = 0;               // of the tokenizer's vocabulary
  std::unique_ptr<ChatTemplate> chat_template;  // null: the model has none
  ReplyFormats reply_formats;                   // of chats
  std::unique_ptr<GrammarCompiler> grammars;    // what outputs have to be
  std::string tokenizer_info;                   // ReadTokenizerInfo()'s; empty: it is not told
  // What the text of chats must not become; null: as with Hugging Face, it may.
  std::unique_ptr<const SpecialTokenTexts> escaped_tokens;
  EngineInfo info{};
  std::vector<TokenId> eos_token_ids;
  GenerationDefaults defaults;
  AttentionMode default_attention_mode = AttentionMode::kFull;
  int32_t default_token_budget = 0;  // 1 .. info.max_token_budget
};

// ServedModel::longest_token_bytes.
inline size_t LongestTokenBytes(const Tokenizer& tokenizer) {
  size_t longest = 0;
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    longest = std::max(longest, tokenizer.TokenBytes(id).size());
  }
  return longest;
}

}  // namespace tidal

#endif  // TIDAL_SERVER_GENERATION_SERVED_MODEL_H_
