// From Oniguruma's Ruby syntax to PCRE2. Whatever could mean something else there is refused.
#include <string>

#include "absl/strings/ascii.h"
#include "server/text/concat.h"
#include "server/text/split_regex.h"
#include "server/text/unicode_classes.h"

namespace tidal {
namespace {

constexpr std::string_view kSpace =
    "\\x09-\\x0d\\x20\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}"
    "\\x{3000}";
constexpr std::string_view kNotSpace =
    "\\x00-\\x08\\x0e-\\x1f\\x21-\\x84\\x86-\\x9f\\xa1-\\x{167f}\\x{1681}-\\x{1fff}"
    "\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}"
    "\\x{3001}-\\x{10ffff}";

class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  absl::StatusOr<std::string> Run() {
    while (at_ < in_.size()) {
      if (absl::Status status = Next(); !status.ok()) return status;
    }
    if (in_class_) return Refuse("a class that is not closed");
    return std::move(out_);
  }

 private:
  absl::Status Refuse(std::string_view what) const {
    return absl::InvalidArgumentError(Concat("must be a pattern whose meaning is known, got ", what,
                                             " at byte ", at_, " of \"", in_, "\""));
  }
  bool At(std::string_view text) const { return in_.substr(at_).starts_with(text); }
  void Copy(size_t count) {
    out_.append(in_.substr(at_, count));
    at_ += count;
  }
  absl::Status Replace(size_t count, std::string_view with) {
    out_.append(with);
    at_ += count;
    return absl::OkStatus();
  }

  absl::Status Next() {
    if (At("\\")) return Escape();
    if (in_class_) return InClass();
    switch (in_[at_]) {
      case '[':
        in_class_ = true;
        Copy(At("[^") ? 2 : 1);
        if (At("]")) return Refuse("an empty class");
        return absl::OkStatus();
      case '(':
        return Group();
      case '{':
        return Interval();
      case '^':  // Ruby's ^ and $ always mean lines
        return Replace(1, "(?m:^)");
      case '$':
        return Replace(1, "(?m:$)");
      default:
        Copy(1);
        return absl::OkStatus();
    }
  }

  absl::Status InClass() {
    if (At("[")) return Refuse("a class within a class");
    if (At("&&")) return Refuse("an intersection of classes");
    if (At("]")) in_class_ = false;
    Copy(1);
    return absl::OkStatus();
  }

  absl::Status Group() {
    for (const std::string_view form : {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:"}) {
      if (At(form)) {
        Copy(form.size());
        return absl::OkStatus();
      }
    }
    if (At("(?i)") && at_ == 0) {
      Copy(4);
      return absl::OkStatus();
    }
    if (At("(?") || At("(*")) return Refuse("this kind of group");
    Copy(1);
    return absl::OkStatus();
  }

  // {n}, {n,}, {n,m} and {,m}; anything else is a literal brace in both.
  absl::Status Interval() {
    size_t end = at_ + 1;
    while (end < in_.size() && (absl::ascii_isdigit(in_[end]) || in_[end] == ',')) ++end;
    if (end == in_.size() || in_[end] != '}' || end == at_ + 1) {
      return Replace(1, "\\{");
    }
    if (end + 1 < in_.size() && (in_[end + 1] == '+' || in_[end + 1] == '?')) {
      return Refuse("a lazy or possessive interval");
    }
    const bool no_minimum = in_[at_ + 1] == ',';
    if (no_minimum && end == at_ + 2) return Refuse("an interval without numbers");
    out_.append(no_minimum ? "{0" : "{");
    at_ += 1;
    Copy(end - at_ + 1);
    return absl::OkStatus();
  }

  absl::Status Escape() {
    if (at_ + 1 == in_.size()) return Refuse("a backslash at the end");
    const char c = in_[at_ + 1];
    if (c == 's') return Replace(2, Wrapped("", kSpace));
    if (c == 'S') return in_class_ ? Replace(2, kNotSpace) : Replace(2, Wrapped("^", kSpace));
    if (c == 'd' || c == 'D') return Class("Nd", c == 'D', 2);
    if (c == 'p' || c == 'P') return Property();
    if (c == 'u') return CodePoint();
    if (c == 'v') return Replace(2, "\\x0b");
    if (std::string_view("rntfaex").find(c) != std::string_view::npos ||
        (!in_class_ && (c == 'A' || c == 'z')) ||
        (absl::ascii_isascii(c) && !absl::ascii_isalnum(c))) {
      Copy(2);
      return absl::OkStatus();
    }
    return Refuse(Concat("\\", std::string(1, c)));
  }

  absl::Status CodePoint() {  // \uHHHH
    const std::string_view digits = in_.substr(at_ + 2, 4);
    bool valid = digits.size() == 4;
    for (const char d : digits) valid = valid && absl::ascii_isxdigit(d);
    if (!valid) return Refuse("\\u without four digits");
    return Replace(6, Concat("\\x{", digits, "}"));
  }

  absl::Status Property() {
    const size_t close = in_.find('}', at_);
    if (at_ + 2 >= in_.size() || in_[at_ + 2] != '{' || close == std::string_view::npos) {
      return Refuse("\\p without a name in braces");
    }
    std::string_view name = in_.substr(at_ + 3, close - at_ - 3);
    bool negated = in_[at_ + 1] == 'P';
    if (name.starts_with('^')) {
      name.remove_prefix(1);
      negated = !negated;
    }
    return Class(name, negated, close + 1 - at_);
  }

  absl::Status Class(std::string_view name, bool negated, size_t length) {
    const UnicodeClass* known = FindUnicodeClass(name);
    if (known == nullptr) return Refuse(Concat("\\p{", name, "}"));
    if (negated && in_class_) return Refuse("a negated property within a class");
    return Replace(length, Wrapped(negated ? "^" : "", Concat(known->pcre2, known->later)));
  }

  // The members of a class, in brackets unless we are within some.
  std::string Wrapped(std::string_view negation, std::string_view members) const {
    return in_class_ ? std::string(members) : Concat("[", negation, members, "]");
  }

  std::string_view in_;
  size_t at_ = 0;
  bool in_class_ = false;
  std::string out_;
};

}  // namespace

absl::StatusOr<std::string> TranslateOniguruma(std::string_view pattern) {
  return Translator(pattern).Run();
}

}  // namespace tidal
