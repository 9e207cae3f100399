#include "server/text/added_tokens.h"

#include <utility>

#include "engine/base/status_macros.h"
#include "server/text/concat.h"
#include "server/text/unicode_classes.h"
#include "server/text/utf8.h"

namespace tidal {

absl::StatusOr<AddedTokenMatcher> AddedTokenMatcher::Make(std::vector<AddedToken> tokens) {
  TIDAL_ASSIGN_OR_RETURN(SplitRegex word, SplitRegex::Compile(Concat("[", kWordCharacters, "]")));
  AddedTokenMatcher matcher(std::move(tokens), std::move(word));
  for (size_t i = 0; i < matcher.tokens_.size(); ++i) {
    const std::string& text = matcher.tokens_[i].text;
    int32_t* token = text.empty() ? nullptr : matcher.Insert(text);
    if (token == nullptr || *token >= 0) {
      return absl::InvalidArgumentError(Concat("added_tokens: must be different texts, not empty, ",
                                               "once they are normalized, got \"", text, "\""));
    }
    *token = static_cast<int32_t>(i);
  }
  return matcher;
}

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens, SplitRegex word)
    : tokens_(std::move(tokens)), word_(std::move(word)), token_at_{-1} {}

int32_t* AddedTokenMatcher::Insert(std::string_view text) {
  first_bytes_.set(static_cast<uint8_t>(text[0]));
  int32_t node = 0;
  for (const char c : text) {
    const uint64_t key = static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(c);
    const auto [it, added] = transitions_.try_emplace(key, static_cast<int32_t>(token_at_.size()));
    if (added) token_at_.push_back(-1);
    node = it->second;
  }
  return &token_at_[node];
}

const AddedToken* AddedTokenMatcher::LongestPrefix(std::string_view text) const {
  const AddedToken* longest = nullptr;
  int32_t node = 0;
  for (const char c : text) {
    const auto it = transitions_.find(static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(c));
    if (it == transitions_.end()) break;
    node = it->second;
    if (token_at_[node] >= 0) longest = &tokens_[token_at_[node]];
  }
  return longest;
}

bool AddedTokenMatcher::IsWordCharacter(std::string_view code_point) const {
  return word_.Matches(code_point);
}

bool AddedTokenMatcher::IsWholeWord(std::string_view text, size_t begin, size_t end) const {
  if (begin > 0) {
    const size_t before = PreviousCodePoint(text, begin);
    if (IsWordCharacter(text.substr(before, begin - before))) return false;
  }
  return end == text.size() ||
         !IsWordCharacter(text.substr(end, ReadUtf8(text.substr(end)).length));
}

absl::Status AddedTokenMatcher::Split(
    std::string_view text,
    absl::FunctionRef<absl::Status(std::string_view, const AddedToken*)> part) const {
  size_t done = 0;  // everything before is given out
  // The last stretch of white space that a token took on its right: tokens of white space may ask
  // for its end over and over.
  size_t space_begin = 0, space_end = 0;
  for (size_t at = 0; at < text.size();) {
    const AddedToken* token =
        first_bytes_[static_cast<uint8_t>(text[at])] ? LongestPrefix(text.substr(at)) : nullptr;
    if (token == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + token->text.size();
    at = end;
    if (token->single_word && !IsWholeWord(text, begin, end)) continue;
    if (token->lstrip) begin = SkipSpaceBackward(text, begin, done);
    if (token->rstrip) {
      if (end < space_begin || end > space_end) {
        space_begin = end;
        space_end = SkipSpaceForward(text, end);
      }
      end = space_end;
    }
    if (begin > done) TIDAL_RETURN_IF_ERROR(part(text.substr(done, begin - done), nullptr));
    TIDAL_RETURN_IF_ERROR(part(text.substr(begin, end - begin), token));
    // Possibly less than before: a token of white space gives back the rest of what a token before
    // it took on its right. So does the library.
    done = end;
  }
  return done < text.size() ? part(text.substr(done), nullptr) : absl::OkStatus();
}

}  // namespace tidal
