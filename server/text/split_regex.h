// The regular expressions of tokenizer.json, with the meaning Oniguruma gives them (the engine of
// Hugging Face's tokenizers), run by PCRE2's just-in-time compiler.
#ifndef TIDAL_SERVER_TEXT_SPLIT_REGEX_H_
#define TIDAL_SERVER_TEXT_SPLIT_REGEX_H_

#include <memory>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tidal {

// Thread-safe: constant once made.
class SplitRegex {
 public:
  // INVALID_ARGUMENT on a pattern that cannot be compiled, or with a construct whose meaning in
  // PCRE2 is not known to be the same.
  static absl::StatusOr<SplitRegex> Compile(std::string_view pattern);

  // Calls `match` with the offsets of every match in `text`, valid UTF-8, in order: none overlap,
  // and none is empty where the one before it ends. RESOURCE_EXHAUSTED when the pattern backtracks
  // without end on this text.
  absl::Status ForEachMatch(std::string_view text,
                            absl::FunctionRef<void(size_t begin, size_t end)> match) const;
  // Whether the pattern's first match in `text`, valid UTF-8, is the whole of it.
  bool Matches(std::string_view text) const;

 private:
  struct Code;  // owns the compiled pattern
  explicit SplitRegex(std::shared_ptr<const Code> code) : code_(std::move(code)) {}
  static absl::StatusOr<SplitRegex> CompileTranslated(const std::string& pattern);
  // The first match at or after `from`: PCRE2's return code, and the span in this thread's scratch.
  int Find(std::string_view text, size_t from, size_t* begin, size_t* end) const;

  std::shared_ptr<const Code> code_;
};

// An Oniguruma pattern as a PCRE2 pattern of the same meaning: \s without U+180E, and the classes
// \p{...} with the code points that this PCRE2's older Unicode does not know.
absl::StatusOr<std::string> TranslateOniguruma(std::string_view pattern);

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_SPLIT_REGEX_H_
