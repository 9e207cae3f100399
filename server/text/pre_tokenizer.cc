#include "server/text/pre_tokenizer.h"

#include "server/text/byte_level.h"
#include "server/text/concat.h"

namespace tidal {
namespace {

using NextFn = absl::FunctionRef<absl::Status(std::string_view piece, bool at_start)>;

// Hands the pieces of a SplitText() on, until the first error.
absl::Status SplitAndGoOn(const PreTokenizer::Split& split, std::string_view text, bool at_start,
                          NextFn next) {
  absl::Status status;
  const absl::Status splitting =
      SplitText(split.pattern, split.behavior, split.invert, text, [&](std::string_view piece) {
        if (status.ok()) status = next(piece, at_start && piece.data() == text.data());
      });
  return splitting.ok() ? status : splitting;
}

absl::Status Apply(const PreTokenizer::Split& split, std::string_view text, bool at_start,
                   NextFn next) {
  return SplitAndGoOn(split, text, at_start, next);
}

absl::Status Apply(const PreTokenizer::PrefixSpace&, std::string_view text, bool at_start,
                   NextFn next) {
  return text[0] == ' ' ? next(text, at_start) : next(Concat(" ", text), at_start);
}

absl::Status Apply(const PreTokenizer::Metaspace& metaspace, std::string_view text, bool at_start,
                   NextFn next) {
  using Prepend = PreTokenizer::Metaspace::Prepend;
  const std::string& mark = metaspace.replacement;
  std::string marked;
  marked.reserve(text.size() + text.size() / 2);
  const bool prepend =
      metaspace.prepend == Prepend::kAlways || (metaspace.prepend == Prepend::kFirst && at_start);
  if (prepend && text[0] != ' ' && !text.starts_with(mark)) marked = mark;
  for (const char c : text) c == ' ' ? marked.append(mark) : marked.append(1, c);
  if (!metaspace.split) return next(marked, at_start);
  const PreTokenizer::Split split{Pattern::Literal(mark), SplitBehavior::kMergedWithNext};
  return SplitAndGoOn(split, marked, at_start, next);
}

absl::Status Apply(const PreTokenizer::ToByteLevel&, std::string_view text, bool at_start,
                   NextFn next) {
  return next(BytesToByteLevel(text), at_start);
}

absl::Status Apply(const PreTokenizer::FromByteLevel&, std::string_view text, bool at_start,
                   NextFn next) {
  return next(ByteLevelToBytes(text), at_start);
}

}  // namespace

absl::Status PreTokenizer::RunFrom(size_t step, std::string_view text, bool at_start,
                                   PieceFn piece) const {
  if (step == steps_.size()) {
    piece(text);
    return absl::OkStatus();
  }
  const auto next = [&](std::string_view part, bool part_at_start) {
    return RunFrom(step + 1, part, part_at_start, piece);
  };
  return std::visit([&](const auto& s) { return Apply(s, text, at_start, next); }, steps_[step]);
}

}  // namespace tidal
