// Tokens that are found in the text as they are written, before it is cut into pieces.
#ifndef TIDAL_SERVER_TEXT_ADDED_TOKENS_H_
#define TIDAL_SERVER_TEXT_ADDED_TOKENS_H_

#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "engine/base/ids.h"
#include "server/text/split_regex.h"

namespace tidal {

struct AddedToken {
  TokenId id = 0;
  std::string content;
  std::string text;          // what to find: the content, normalized where that is asked for
  bool single_word = false;  // only where no word character is beside it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space after it
  bool normalized = false;   // found after the others, in what they left, normalized
  bool special = false;      // left out when decoding without special tokens
};

// Finds tokens in a text: leftmost first, of those the longest. Thread-safe: constant once made.
class AddedTokenMatcher {
 public:
  // INVALID_ARGUMENT when two texts are equal, or one is empty.
  static absl::StatusOr<AddedTokenMatcher> Make(std::vector<AddedToken> tokens);

  // Calls `part` with the stretches between tokens and with the tokens (null token: a stretch), in
  // order. A stretch is never empty.
  absl::Status Split(
      std::string_view text,
      absl::FunctionRef<absl::Status(std::string_view, const AddedToken*)> part) const;

  bool empty() const { return tokens_.empty(); }
  // Whatever is beside it.
  bool BeginsWithToken(std::string_view text) const {
    return !text.empty() && first_bytes_[static_cast<uint8_t>(text[0])] &&
           LongestPrefix(text) != nullptr;
  }

 private:
  AddedTokenMatcher(std::vector<AddedToken> tokens, SplitRegex word);
  // Where the trie keeps the index of the token with this text, -1 when it is new.
  int32_t* Insert(std::string_view text);
  // The longest token that `text` starts with; null when none.
  const AddedToken* LongestPrefix(std::string_view text) const;
  bool IsWholeWord(std::string_view text, size_t begin, size_t end) const;
  bool IsWordCharacter(std::string_view code_point) const;

  std::vector<AddedToken> tokens_;
  SplitRegex word_;                                     // matches a word character
  absl::flat_hash_map<uint64_t, int32_t> transitions_;  // trie: node << 8 | byte to node; root 0
  std::vector<int32_t> token_at_;                       // of a node: index in tokens_, or -1
  std::bitset<256> first_bytes_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_ADDED_TOKENS_H_
