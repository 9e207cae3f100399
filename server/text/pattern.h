// What a Split or Replace of tokenizer.json looks for, and how a text is cut where it is found.
#ifndef TIDAL_SERVER_TEXT_PATTERN_H_
#define TIDAL_SERVER_TEXT_PATTERN_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/text/split_regex.h"

namespace tidal {

// A text to find as it is, or a regular expression. Thread-safe: constant once made.
class Pattern {
 public:
  static Pattern Literal(std::string text);  // not empty
  // Errors of SplitRegex::Compile.
  static absl::StatusOr<Pattern> Regex(std::string_view pattern);

  // Calls `span` with every match and with what lies between them, in order: together they are
  // `text`, which must be valid UTF-8. Only a match may be empty. RESOURCE_EXHAUSTED when the
  // pattern backtracks without end on this text.
  absl::Status ForEachSpan(std::string_view text,
                           absl::FunctionRef<void(std::string_view span, bool match)> span) const;

  // `text` with every match replaced by `content`. Errors of ForEachSpan.
  absl::StatusOr<std::string> ReplaceAll(std::string_view text, std::string_view content) const;

  // The text of a literal, empty for a regular expression.
  const std::string& literal() const { return literal_; }

 private:
  absl::Status ForEachMatch(std::string_view text,
                            absl::FunctionRef<void(size_t begin, size_t end)> match) const;

  std::string literal_;
  std::optional<SplitRegex> regex_;
};

// What becomes of a match when a text is cut at it.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

// Calls `piece` with the pieces of `text`, in order, none empty. `invert`: what lies between the
// matches counts as the matches. Errors of Pattern::ForEachSpan.
absl::Status SplitText(const Pattern& pattern, SplitBehavior behavior, bool invert,
                       std::string_view text, absl::FunctionRef<void(std::string_view)> piece);

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_PATTERN_H_
