// Cuts a text into the pieces that byte-pair encoding never merges across.
#ifndef TIDAL_SERVER_TEXT_PRE_TOKENIZER_H_
#define TIDAL_SERVER_TEXT_PRE_TOKENIZER_H_

#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "server/text/split_regex.h"

namespace tidal {

// Steps one after the other, each within the pieces of the one before. Thread-safe: constant once
// built.
class PreTokenizer {
 public:
  using PieceFn = absl::FunctionRef<void(std::string_view)>;

  void AddSplit(SplitRegex regex) { steps_.push_back({std::move(regex)}); }
  // Puts a space before every piece that does not start with one.
  void AddPrefixSpace() { steps_.push_back({std::nullopt}); }

  // `text` is valid UTF-8 and not empty. A piece is valid during the call only.
  absl::Status Split(std::string_view text, PieceFn piece) const { return Run(0, text, piece); }

 private:
  struct Step {
    std::optional<SplitRegex> regex;  // none: the prefix space
  };
  absl::Status Run(size_t step, std::string_view text, PieceFn piece) const;

  std::vector<Step> steps_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_PRE_TOKENIZER_H_
