#include "server/text/added_tokens.h"

#include <algorithm>
#include <utility>

#include "server/text/utf8.h"

namespace tidal {
namespace {

// The Alphabetic property as classes: letters, letter numbers, marks, and the circled and squared
// letters; with digits, connectors and joiners it is what Rust's regular expressions mean by \w.
constexpr std::string_view kWordPattern =
    "[\\p{L}\\p{M}\\p{Nd}\\p{Nl}_\\x{203f}\\x{2040}\\x{2054}\\x{fe33}\\x{fe34}\\x{fe4d}-\\x{fe4f}"
    "\\x{ff3f}\\x{200c}\\x{200d}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}"
    "\\x{1f170}-\\x{1f189}]";

// Where the code point before `end` begins. `text` is valid UTF-8 and `end` > 0.
size_t PreviousCodePoint(std::string_view text, size_t end) {
  size_t begin = end - 1;
  while (begin > 0 && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
  return begin;
}

size_t SkipSpaceBackward(std::string_view text, size_t end, size_t limit) {
  while (end > limit) {
    const size_t begin = PreviousCodePoint(text, end);
    if (begin < limit || !IsWhiteSpace(ReadUtf8(text.substr(begin)).code_point)) break;
    end = begin;
  }
  return end;
}

size_t SkipSpaceForward(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    const Utf8Unit unit = ReadUtf8(text.substr(begin));
    if (!IsWhiteSpace(unit.code_point)) break;
    begin += unit.length;
  }
  return begin;
}

}  // namespace

absl::StatusOr<AddedTokenMatcher> AddedTokenMatcher::Make(std::vector<AddedToken> tokens) {
  auto word = SplitRegex::Compile(kWordPattern);
  if (!word.ok()) return word.status();
  return AddedTokenMatcher(std::move(tokens), *std::move(word));
}

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens, SplitRegex word)
    : tokens_(std::move(tokens)), word_(std::move(word)), token_at_{-1} {
  for (size_t i = 0; i < tokens_.size(); ++i) {
    if (tokens_[i].content.empty()) continue;
    int32_t node = 0;
    for (const char c : tokens_[i].content) {
      const uint64_t key = static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(c);
      const auto [it, added] =
          transitions_.try_emplace(key, static_cast<int32_t>(token_at_.size()));
      if (added) token_at_.push_back(-1);
      node = it->second;
    }
    token_at_[node] = static_cast<int32_t>(i);
    first_bytes_.set(static_cast<uint8_t>(tokens_[i].content[0]));
  }
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
  for (size_t at = 0; at < text.size();) {
    const AddedToken* token =
        first_bytes_[static_cast<uint8_t>(text[at])] ? LongestPrefix(text.substr(at)) : nullptr;
    if (token == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + token->content.size();
    at = end;
    if (token->single_word && !IsWholeWord(text, begin, end)) continue;
    if (token->lstrip) begin = SkipSpaceBackward(text, begin, done);
    if (token->rstrip) end = SkipSpaceForward(text, end);
    begin = std::max(begin, done);  // a token that starts in white space already taken
    end = std::max(end, begin);
    if (begin > done) {
      if (absl::Status status = part(text.substr(done, begin - done), nullptr); !status.ok()) {
        return status;
      }
    }
    if (absl::Status status = part(text.substr(begin, end - begin), token); !status.ok()) {
      return status;
    }
    done = std::max(done, end);
  }
  return done < text.size() ? part(text.substr(done), nullptr) : absl::OkStatus();
}

}  // namespace tidal
