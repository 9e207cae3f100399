// What a text must not have to have no special token.
#ifndef TIDAL_SERVER_TEXT_SPECIAL_TOKEN_TEXTS_H_
#define TIDAL_SERVER_TEXT_SPECIAL_TOKEN_TEXTS_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "server/text/added_tokens.h"

namespace tidal {

// The texts of a model's special tokens. Thread-safe: constant once made.
class SpecialTokenTexts {
 public:
  static absl::StatusOr<SpecialTokenTexts> Make(const std::vector<std::string>& texts);

  // Offsets of the code points of `text`, valid UTF-8, to escape; in order.
  std::vector<size_t> FindIn(std::string_view text) const;
  // Is `text` a part of a special token?
  bool HavePart(std::string_view text) const;

 private:
  SpecialTokenTexts(std::vector<std::string> texts, AddedTokenMatcher matcher);

  std::vector<std::string> texts_;
  AddedTokenMatcher matcher_;
  // Beginnings and ends of the texts, shorter than they are.
  absl::flat_hash_set<std::string> beginnings_, ends_;
  size_t longest_ = 0;  // bytes
};

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_SPECIAL_TOKEN_TEXTS_H_
