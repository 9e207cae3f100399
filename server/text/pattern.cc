#include "server/text/pattern.h"

#include <utility>

#include "engine/base/status_macros.h"

namespace tidal {
namespace {

// Spans come in; neighbours that belong together go out as one piece.
class PieceJoiner {
 public:
  PieceJoiner(SplitBehavior behavior, absl::FunctionRef<void(std::string_view)> piece)
      : behavior_(behavior), piece_(piece) {}

  void Add(std::string_view span, bool match) {
    if (behavior_ == SplitBehavior::kRemoved && match) return;
    if (held_.has_value() && Joins(match)) {
      held_ = std::string_view(held_->data(), held_->size() + span.size());
    } else {
      Flush();
      held_ = span;
    }
    match_ = match;
  }

  void Flush() {
    if (held_.has_value() && !held_->empty()) piece_(*held_);
    held_.reset();
  }

 private:
  // Whether a span continues the piece that ends with the span before it.
  bool Joins(bool match) const {
    switch (behavior_) {
      case SplitBehavior::kContiguous:
        return match == match_;
      case SplitBehavior::kMergedWithPrevious:
        return match && !match_;
      case SplitBehavior::kMergedWithNext:
        return !match && match_;
      default:
        return false;
    }
  }

  SplitBehavior behavior_;
  absl::FunctionRef<void(std::string_view)> piece_;
  std::optional<std::string_view> held_;
  bool match_ = false;  // of the last span
};

}  // namespace

Pattern Pattern::Literal(std::string text) {
  Pattern pattern;
  pattern.literal_ = std::move(text);
  return pattern;
}

absl::StatusOr<Pattern> Pattern::Regex(std::string_view text) {
  Pattern pattern;
  TIDAL_ASSIGN_OR_RETURN(pattern.regex_, SplitRegex::Compile(text));
  return pattern;
}

absl::Status Pattern::ForEachMatch(std::string_view text,
                                   absl::FunctionRef<void(size_t, size_t)> match) const {
  if (regex_.has_value()) return regex_->ForEachMatch(text, match);
  for (size_t at = text.find(literal_); at != std::string_view::npos;) {
    match(at, at + literal_.size());
    at = text.find(literal_, at + literal_.size());
  }
  return absl::OkStatus();
}

absl::Status Pattern::ForEachSpan(std::string_view text,
                                  absl::FunctionRef<void(std::string_view, bool)> span) const {
  if (text.empty()) return absl::OkStatus();
  size_t done = 0;
  TIDAL_RETURN_IF_ERROR(ForEachMatch(text, [&](size_t begin, size_t end) {
    if (begin > done) span(text.substr(done, begin - done), false);
    span(text.substr(begin, end - begin), true);
    done = end;
  }));
  if (done < text.size()) span(text.substr(done), false);
  return absl::OkStatus();
}

absl::StatusOr<std::string> Pattern::ReplaceAll(std::string_view text,
                                                std::string_view content) const {
  std::string out;
  out.reserve(text.size());
  TIDAL_RETURN_IF_ERROR(ForEachSpan(
      text, [&](std::string_view span, bool match) { out.append(match ? content : span); }));
  return out;
}

absl::Status SplitText(const Pattern& pattern, SplitBehavior behavior, bool invert,
                       std::string_view text, absl::FunctionRef<void(std::string_view)> piece) {
  PieceJoiner joiner(behavior, piece);
  TIDAL_RETURN_IF_ERROR(pattern.ForEachSpan(
      text, [&](std::string_view span, bool match) { joiner.Add(span, match != invert); }));
  joiner.Flush();
  return absl::OkStatus();
}

}  // namespace tidal
