#include "server/text/jinja/lexer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "server/text/concat.h"
#include "server/text/jinja/python_string.h"
#include "server/text/utf8.h"

namespace tidal::jinja {
namespace {

// \r\n and \r become \n, and one newline at the end goes.
std::string NormalizeNewlines(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      text.push_back('\n');
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      text.push_back(source[i]);
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

bool IsNameByte(char c) {
  return absl::ascii_isalnum(c) || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(NormalizeNewlines(source)), in_(source_) {}

  absl::StatusOr<std::vector<Token>> Run() {
    while (at_ < in_.size() && status_.ok()) LexText();
    if (!status_.ok()) return status_;
    Add(Token::kEnd, "", at_);
    return std::move(tokens_);
  }

 private:
  void Fail(size_t offset, std::string_view message) {
    if (status_.ok()) {
      status_ = absl::InvalidArgumentError(Concat(DescribePosition(PositionAt(offset)), message));
    }
  }
  bool At(std::string_view text) const { return in_.substr(at_).starts_with(text); }

  // Offsets are asked for in ascending order, nearly always.
  Position PositionAt(size_t offset) {
    if (offset < counted_) {
      counted_ = 0;
      line_ = 1;
      line_start_ = 0;
    }
    for (; counted_ < offset; ++counted_) {
      if (in_[counted_] == '\n') {
        ++line_;
        line_start_ = counted_ + 1;
      }
    }
    return {line_, static_cast<int>(offset - line_start_) + 1};
  }
  void Add(Token::Kind kind, std::string text, size_t offset) {
    tokens_.push_back({kind, std::move(text), PositionAt(offset)});
  }

  // The text up to the next tag, and the tag itself.
  void LexText() {
    const size_t begin = at_;
    size_t tag = begin;
    while (true) {
      tag = in_.find('{', tag);
      if (tag == std::string_view::npos || tag + 1 >= in_.size()) {
        Add(Token::kText, std::string(in_.substr(begin)), begin);
        at_ = in_.size();
        return;
      }
      if (in_[tag + 1] == '{' || in_[tag + 1] == '%' || in_[tag + 1] == '#') break;
      ++tag;
    }
    const char type = in_[tag + 1];
    const char sign = tag + 2 < in_.size() ? in_[tag + 2] : ' ';
    std::string_view text = in_.substr(begin, tag - begin);
    if (sign == '-') {
      text = StripRight(text);
    } else if (sign != '+' && type != '{') {
      const size_t line = text.rfind('\n') + 1;  // npos + 1 is 0
      if ((line > 0 || line_starting_) && StripRight(text.substr(line)).empty()) {
        text = text.substr(0, line);
      }
    }
    if (!text.empty()) Add(Token::kText, std::string(text), begin);
    at_ = tag + (sign == '-' || sign == '+' ? 3 : 2);
    if (type == '#') {
      SkipComment(tag);
    } else if (type == '%' && LexRaw(tag)) {
      return;
    } else {
      LexTag(tag, type == '{');
    }
  }

  void SkipComment(size_t tag) {
    const size_t end = in_.find("#}", at_);
    if (end == std::string_view::npos) return Fail(tag, "missing end of comment tag");
    const char sign = end > at_ ? in_[end - 1] : ' ';
    at_ = end + 2;
    EndBlock(sign);
  }

  // After %} or #}: `sign` stands before it.
  void EndBlock(char sign) {
    if (sign == '-') {
      SkipSpace();
    } else if (sign != '+' && At("\n")) {
      ++at_;
    }
    line_starting_ = at_ > 0 && in_[at_ - 1] == '\n';
  }

  void SkipSpace() { at_ = in_.size() - StripLeft(in_.substr(at_)).size(); }

  // {% raw %} ... {% endraw %}: true when there was one; at_ is behind "{%" and its sign.
  bool LexRaw(size_t tag) {
    const size_t after_begin = at_;
    SkipSpace();
    char sign = ' ';
    const auto end_of_tag = [&] {
      SkipSpace();
      sign = At("-%}") ? '-' : At("+%}") ? '+' : ' ';
      if (sign != ' ') ++at_;
      if (!At("%}")) return false;
      at_ += 2;
      return true;
    };
    if (!At("raw") || (at_ + 3 < in_.size() && IsNameByte(in_[at_ + 3])) ||
        (at_ += 3, !end_of_tag())) {
      at_ = after_begin;
      return false;
    }
    if (sign == '-') SkipSpace();  // no newline is trimmed here
    const size_t begin = at_;
    for (size_t next = in_.find("{%", at_); next != std::string_view::npos;
         next = in_.find("{%", next + 1)) {
      at_ = next + 2;
      const char before = at_ < in_.size() ? in_[at_] : ' ';
      if (before == '-' || before == '+') ++at_;
      SkipSpace();
      if (!At("endraw")) continue;
      at_ += 6;
      if (!end_of_tag()) continue;
      std::string_view text = in_.substr(begin, next - begin);
      if (before == '-') {
        text = StripRight(text);
      } else if (before != '+') {
        const size_t line = text.rfind('\n') + 1;
        if ((line > 0 || in_[begin - 1] == '\n') && StripRight(text.substr(line)).empty()) {
          text = text.substr(0, line);
        }
      }
      if (!text.empty()) Add(Token::kText, std::string(text), begin);
      EndBlock(sign);
      return true;
    }
    Fail(tag, "missing end of raw directive");
    return true;
  }

  void LexTag(size_t tag, bool output) {
    Add(output ? Token::kOutputBegin : Token::kBlockBegin, "", tag);
    const std::string_view close = output ? "}}" : "%}";
    std::string brackets;  // the closing ones still to come
    while (status_.ok()) {
      SkipSpace();
      if (at_ >= in_.size()) return Fail(tag, "this tag is never closed");
      if (brackets.empty()) {
        const char sign = in_[at_] == '-' || (in_[at_] == '+' && !output) ? in_[at_] : ' ';
        const size_t signs = sign == ' ' ? 0 : 1;
        if (in_.substr(at_ + signs).starts_with(close)) {
          Add(output ? Token::kOutputEnd : Token::kBlockEnd, "", at_);
          at_ += signs + 2;
          if (output) {
            if (sign == '-') SkipSpace();
            line_starting_ = in_[at_ - 1] == '\n';
          } else {
            EndBlock(sign);
          }
          return;
        }
      }
      LexToken(&brackets);
    }
  }

  void LexToken(std::string* brackets) {
    const char c = in_[at_];
    if (absl::ascii_isdigit(c)) return LexNumber();
    if (IsNameByte(c)) {
      const size_t begin = at_;
      while (at_ < in_.size() && IsNameByte(in_[at_])) ++at_;
      return Add(Token::kName, std::string(in_.substr(begin, at_ - begin)), begin);
    }
    if (c == '"' || c == '\'') return LexString();
    for (const std::string_view op : {"//", "**", "==", "!=", ">=", "<="}) {
      if (At(op)) return AddOperator(2);
    }
    if (std::string_view("+-/*%~[](){}<>=.:|,;").find(c) == std::string_view::npos) {
      return Fail(at_, Concat("unexpected character '", std::string(1, c), "'"));
    }
    if (c == '(') brackets->push_back(')');
    if (c == '[') brackets->push_back(']');
    if (c == '{') brackets->push_back('}');
    if (c == ')' || c == ']' || c == '}') {
      if (brackets->empty()) return Fail(at_, Concat("unexpected '", std::string(1, c), "'"));
      if (brackets->back() != c) {
        return Fail(at_, Concat("unexpected '", std::string(1, c), "', expected '",
                                std::string(1, brackets->back()), "'"));
      }
      brackets->pop_back();
    }
    AddOperator(1);
  }

  void AddOperator(size_t length) {
    Add(Token::kOperator, std::string(in_.substr(at_, length)), at_);
    at_ += length;
  }

  size_t SkipDigits(size_t at) const {
    while (at < in_.size() &&
           (absl::ascii_isdigit(in_[at]) ||
            (in_[at] == '_' && at + 1 < in_.size() && absl::ascii_isdigit(in_[at + 1])))) {
      ++at;
    }
    return at;
  }

  void LexNumber() {
    const size_t begin = at_;
    if (in_[at_] == '0' && at_ + 2 < in_.size() &&
        std::string_view("xXoObB").find(in_[at_ + 1]) != std::string_view::npos) {
      at_ += 2;
      while (at_ < in_.size() && (absl::ascii_isxdigit(in_[at_]) || in_[at_] == '_')) ++at_;
      return Add(Token::kInteger, std::string(in_.substr(begin, at_ - begin)), begin);
    }
    at_ = SkipDigits(at_);
    bool floating = false;
    // After a dot digits are one subscript: a.0.1 has no number 0.1.
    const bool subscript = begin > 0 && in_[begin - 1] == '.';
    if (!subscript && At(".") && at_ + 1 < in_.size() && absl::ascii_isdigit(in_[at_ + 1])) {
      at_ = SkipDigits(at_ + 1);
      floating = true;
    }
    if (!subscript && (At("e") || At("E"))) {
      size_t exponent = at_ + 1;
      if (exponent < in_.size() && (in_[exponent] == '+' || in_[exponent] == '-')) ++exponent;
      if (exponent < in_.size() && absl::ascii_isdigit(in_[exponent])) {
        at_ = SkipDigits(exponent);
        floating = true;
      }
    }
    std::string text(in_.substr(begin, at_ - begin));
    std::erase(text, '_');
    Add(floating ? Token::kFloat : Token::kInteger, std::move(text), begin);
  }

  void LexString() {
    const size_t begin = at_;
    const char quote = in_[at_++];
    while (at_ < in_.size() && in_[at_] != quote) at_ += in_[at_] == '\\' ? 2 : 1;
    if (at_ >= in_.size()) return Fail(begin, "this string is never closed");
    std::string text;
    if (!Unescape(in_.substr(begin + 1, at_ - begin - 1), &text)) {
      return Fail(begin, "a string with an escape that is not one");
    }
    ++at_;
    Add(Token::kString, std::move(text), begin);
  }

  const std::string source_;
  const std::string_view in_;
  size_t at_ = 0;
  bool line_starting_ = true;
  size_t counted_ = 0, line_start_ = 0;
  int line_ = 1;
  std::vector<Token> tokens_;
  absl::Status status_;
};

}  // namespace

std::string DescribePosition(Position at) {
  return Concat("line ", at.line, ", column ", at.column, ": ");
}

absl::StatusOr<std::vector<Token>> Tokenize(std::string_view source) { return Lexer(source).Run(); }

}  // namespace tidal::jinja
