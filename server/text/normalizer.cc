#include "server/text/normalizer.h"

#include <algorithm>

#include "engine/base/status_macros.h"
#include "server/text/concat.h"
#include "server/text/utf8.h"

namespace tidal {
namespace {

absl::StatusOr<std::string> Apply(NormalForm form, std::string_view text) {
  return ToNormalForm(text, form);
}

absl::StatusOr<std::string> Apply(const Normalizer::Lowercase&, std::string_view text) {
  return ToLowercase(text);
}

absl::StatusOr<std::string> Apply(const Normalizer::Strip& strip, std::string_view text) {
  const size_t begin = strip.left ? SkipSpaceForward(text, 0) : 0;
  const size_t end = strip.right ? SkipSpaceBackward(text, text.size(), begin) : text.size();
  return std::string(text.substr(begin, end - begin));
}

absl::StatusOr<std::string> Apply(const Normalizer::Prepend& prepend, std::string_view text) {
  return text.empty() ? std::string() : Concat(prepend.text, text);
}

absl::StatusOr<std::string> Apply(const Normalizer::Replace& replace, std::string_view text) {
  return replace.pattern.ReplaceAll(text, replace.content);
}

}  // namespace

bool Normalizer::only_marks_spaces() const {
  return std::all_of(steps_.begin(), steps_.end(), [](const Step& step) {
    const Replace* const replace = std::get_if<Replace>(&step);
    return std::holds_alternative<Prepend>(step) ||
           (replace != nullptr && replace->pattern.literal() == " ");
  });
}

absl::StatusOr<std::string> Normalizer::Normalize(std::string_view text) const {
  std::string normalized(text);
  for (const Step& step : steps_) {
    TIDAL_ASSIGN_OR_RETURN(normalized,
                           std::visit([&](const auto& s) { return Apply(s, normalized); }, step));
  }
  return normalized;
}

}  // namespace tidal
