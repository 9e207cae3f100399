// Cuts a text into the pieces that byte-pair encoding never merges across.
#ifndef TIDAL_SERVER_TEXT_PRE_TOKENIZER_H_
#define TIDAL_SERVER_TEXT_PRE_TOKENIZER_H_

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "server/text/pattern.h"

namespace tidal {

// Steps one after the other, each within the pieces of the one before. Thread-safe: constant once
// built.
class PreTokenizer {
 public:
  struct Split {
    Pattern pattern;
    SplitBehavior behavior = SplitBehavior::kIsolated;
    bool invert = false;
  };
  // A space before every piece that does not start with one.
  struct PrefixSpace {};
  // Spaces become `replacement`, one code point, which begins a piece when `split`. It also comes
  // before a piece that does not start with one: always, never, or where the text begins.
  struct Metaspace {
    enum class Prepend { kAlways, kNever, kFirst };
    std::string replacement;
    Prepend prepend = Prepend::kAlways;
    bool split = true;
  };
  // From bytes to characters of the byte-level alphabet, and back. Needed only around steps that
  // see the alphabet; the pieces themselves are bytes.
  struct ToByteLevel {};
  struct FromByteLevel {};
  using Step = std::variant<Split, PrefixSpace, Metaspace, ToByteLevel, FromByteLevel>;
  using PieceFn = absl::FunctionRef<void(std::string_view)>;

  void Add(Step step) { steps_.push_back(std::move(step)); }

  // `part` is valid UTF-8, not empty, and a whole text or, unless `at_start`, a later part of one.
  // A piece is valid during the call only. Errors of Pattern::ForEachSpan.
  absl::Status Run(std::string_view part, bool at_start, PieceFn piece) const {
    return RunFrom(0, part, at_start, piece);
  }

 private:
  absl::Status RunFrom(size_t step, std::string_view text, bool at_start, PieceFn piece) const;

  std::vector<Step> steps_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_PRE_TOKENIZER_H_
