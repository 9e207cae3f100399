// The parts of a tokenizer.json, each read by a file of its own. All errors are INVALID_ARGUMENT
// and name the field.
#ifndef TIDAL_SERVER_TEXT_TOKENIZER_PARTS_H_
#define TIDAL_SERVER_TEXT_TOKENIZER_PARTS_H_

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/text/json_field.h"
#include "server/text/tokenizer_config.h"

namespace tidal {

inline constexpr size_t kMaxSteps = 16;         // of a part, in all its Sequences
inline constexpr size_t kMaxTokenBytes = 4096;  // of one token

absl::StatusOr<BpeConfig> ParseModel(const JsonField& model);
absl::StatusOr<std::vector<AddedToken>> ParseAddedTokens(const JsonField& tokens);
absl::StatusOr<Normalizer> ParseNormalizer(const JsonField& normalizer);
// *byte_level: whether the model sees the byte-level alphabet.
absl::StatusOr<PreTokenizer> ParsePreTokenizer(const JsonField& pre_tokenizer, bool has_normalizer,
                                               bool* byte_level);
absl::StatusOr<Decoder> ParseDecoder(const JsonField& decoder);
// Sets config->prefix and config->suffix.
absl::Status ParsePostProcessor(const JsonField& processor, TokenizerConfig* config);

// The steps of a part: itself, none when it is null, or those of a Sequence under the member
// `list`, in which there may be more Sequences.
absl::StatusOr<std::vector<JsonField>> ParseSteps(const JsonField& part, std::string_view list);

// {"String": "..."} or {"Regex": "..."}.
absl::StatusOr<Pattern> ParsePattern(const JsonField& pattern);

// A string of exactly one code point.
absl::StatusOr<std::string> ParseCharacter(const JsonField& field);

// A Metaspace, which is a pre-tokenizer and a decoder.
absl::StatusOr<PreTokenizer::Metaspace> ParseMetaspace(const JsonField& metaspace);

// The pattern and content of a Replace. `growth` is by how much the steps so far may lengthen a
// text, at most; it is kept within bounds.
absl::StatusOr<std::pair<Pattern, std::string>> ParseReplace(const JsonField& replace,
                                                             size_t* growth);

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_TOKENIZER_PARTS_H_
