// What clients that tokenize themselves are told of a model's tokenizer.
#ifndef TIDAL_SERVER_TEXT_TOKENIZER_INFO_H_
#define TIDAL_SERVER_TEXT_TOKENIZER_INFO_H_

#include <string>

#include "absl/status/statusor.h"

namespace tidal {

// The folder's tokenizer_config.json as one line of JSON, in vLLM's form: tokens are their texts,
// tokenizer_class is always there, and chat_template is the default one, with `replacement` (see
// ChatTemplate::Load()) in its place. Errors name the file.
absl::StatusOr<std::string> ReadTokenizerInfo(const std::string& folder,
                                              const std::string& replacement = "");

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_TOKENIZER_INFO_H_
