#include "server/text/pre_tokenizer.h"

#include <string>

#include "server/text/concat.h"

namespace tidal {

absl::Status PreTokenizer::Run(size_t step, std::string_view text, PieceFn piece) const {
  if (step == steps_.size()) {
    piece(text);
    return absl::OkStatus();
  }
  const std::optional<SplitRegex>& regex = steps_[step].regex;
  if (!regex.has_value()) {
    if (text[0] == ' ') return Run(step + 1, text, piece);
    const std::string prefixed = Concat(" ", text);
    return Run(step + 1, prefixed, piece);
  }
  if (step + 1 == steps_.size()) return regex->Split(text, piece);
  absl::Status status;
  const absl::Status split = regex->Split(text, [&](std::string_view part) {
    if (status.ok()) status = Run(step + 1, part, piece);
  });
  return split.ok() ? status : split;
}

}  // namespace tidal
