// What happens to a text before it is cut into pieces.
#ifndef TIDAL_SERVER_TEXT_NORMALIZER_H_
#define TIDAL_SERVER_TEXT_NORMALIZER_H_

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "server/text/pattern.h"
#include "server/text/unicode_normalization.h"

namespace tidal {

// Steps one after the other. Thread-safe: constant once built.
class Normalizer {
 public:
  struct Lowercase {};
  struct Strip {  // white space at the ends
    bool left, right;
  };
  struct Prepend {  // to any text but an empty one
    std::string text;
  };
  struct Replace {
    Pattern pattern;
    std::string content;
  };
  using Step = std::variant<NormalForm, Lowercase, Strip, Prepend, Replace>;

  void Add(Step step) { steps_.push_back(std::move(step)); }
  bool empty() const { return steps_.empty(); }
  // Does it nothing but prepend and replace spaces, as SentencePiece's vocabularies need it?
  bool only_marks_spaces() const;

  // `text` is valid UTF-8. Errors of Pattern::ForEachSpan.
  absl::StatusOr<std::string> Normalize(std::string_view text) const;

 private:
  std::vector<Step> steps_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_NORMALIZER_H_
