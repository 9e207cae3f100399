#include "server/text/special_token_texts.h"

#include <algorithm>
#include <utility>

#include "engine/base/status_macros.h"
#include "server/text/utf8.h"

namespace tidal {

absl::StatusOr<SpecialTokenTexts> SpecialTokenTexts::Make(const std::vector<std::string>& texts) {
  std::vector<AddedToken> tokens;
  for (const std::string& text : texts) {
    AddedToken token;
    token.content = token.text = text;
    tokens.push_back(std::move(token));
  }
  TIDAL_ASSIGN_OR_RETURN(AddedTokenMatcher matcher, AddedTokenMatcher::Make(std::move(tokens)));
  return SpecialTokenTexts(texts, std::move(matcher));
}

SpecialTokenTexts::SpecialTokenTexts(std::vector<std::string> texts, AddedTokenMatcher matcher)
    : texts_(std::move(texts)), matcher_(std::move(matcher)) {
  for (const std::string& text : texts_) {
    longest_ = std::max(longest_, text.size());
    for (size_t length = 1; length < text.size(); ++length) {
      beginnings_.insert(text.substr(0, length));
      ends_.insert(text.substr(text.size() - length));
    }
  }
}

std::vector<size_t> SpecialTokenTexts::FindIn(std::string_view text) const {
  std::vector<size_t> offsets;
  const size_t begin = SkipSpaceForward(text, 0);
  const size_t end = SkipSpaceBackward(text, text.size(), begin);
  const std::string_view inner = text.substr(begin, end - begin);
  for (size_t length = 1; length <= std::min(longest_, inner.size()); ++length) {
    const std::string_view first = inner.substr(0, length);
    const std::string_view last = inner.substr(inner.size() - length);
    if (ends_.contains(absl::string_view(first.data(), first.size()))) offsets.push_back(begin);
    if (beginnings_.contains(absl::string_view(last.data(), last.size()))) {
      offsets.push_back(end - length);
    }
  }
  for (size_t at = 0; at < text.size(); ++at) {
    if (matcher_.BeginsWithToken(text.substr(at))) offsets.push_back(at);
  }
  std::sort(offsets.begin(), offsets.end());
  offsets.erase(std::unique(offsets.begin(), offsets.end()), offsets.end());
  return offsets;
}

bool SpecialTokenTexts::HavePart(std::string_view text) const {
  return std::any_of(texts_.begin(), texts_.end(),
                     [text](const std::string& token) { return token.find(text) != token.npos; });
}

}  // namespace tidal
