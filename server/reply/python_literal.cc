#include "server/reply/python_literal.h"

#include <algorithm>

#include "server/reply/characters.h"
#include "server/reply/json_text.h"
#include "server/text/utf8.h"

namespace tidal {
namespace {

constexpr size_t kMaxWord = 64;

bool IsWordByte(char c) { return IsAsciiAlnum(c) || c == '_' || c == '.' || c == '+' || c == '-'; }

// Empty when it is none. Python also writes 1_000, 1. and .5.
std::string NumberToJson(std::string text) {
  text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
  if (text.starts_with('+')) text.erase(0, 1);
  const size_t point = text.find('.');
  if (point != std::string::npos) {
    const bool before = point > 0 && IsAsciiDigit(text[point - 1]);
    const bool behind = point + 1 < text.size() && IsAsciiDigit(text[point + 1]);
    if (!before && !behind) return {};
    if (!behind) text.insert(point + 1, 1, '0');
    if (!before) text.insert(point, 1, '0');
  }
  return IsJsonNumber(text) ? text : std::string();
}

std::string WordToJson(const std::string& word) {
  if (word == "True" || word == "true") return "true";
  if (word == "False" || word == "false") return "false";
  if (word == "None" || word == "null") return "null";
  return NumberToJson(word);
}

}  // namespace

ScanResult PythonLiteral::Feed(char c, std::string* json) {
  if (quoting_ != Quote::kNone) {
    const ScanResult result = InString(c, json);
    if (result != ScanResult::kEndBefore) return result;
    if (expect_ == Expect::kNothing) return result;  // else it goes on within brackets
  }
  if (!word_.empty()) {
    if (IsWordByte(c)) {
      word_ += c;
      return word_.size() > kMaxWord ? ScanResult::kBroken : ScanResult::kMore;
    }
    if (!EndWord(json)) return ScanResult::kBroken;
  }
  if (expect_ == Expect::kNothing) return ScanResult::kEndBefore;
  return Outside(c, json);
}

ScanResult PythonLiteral::InString(char c, std::string* json) {
  if (quoting_ == Quote::kFirst) {  // right behind the opening quote
    if (c == quote_) {
      quoting_ = Quote::kSecond;
      return ScanResult::kMore;
    }
    quoting_ = Quote::kInside;
  } else if (quoting_ == Quote::kSecond) {
    if (c == quote_) {
      long_string_ = true;
      quoting_ = Quote::kInside;
      return ScanResult::kMore;
    }
    *json += '"';
    EndValue();
    return ScanResult::kEndBefore;
  }
  if (digits_left_ > 0) {
    const int digit = HexDigit(c);
    if (digit >= 0 && digit < base_) {
      code_ = code_ * base_ + digit;
      return --digits_left_ == 0 ? CodePoint(json) : ScanResult::kMore;
    }
    if (base_ == 16) return ScanResult::kBroken;  // these have all their digits
    digits_left_ = 0;
    CodePoint(json);
  }
  if (escaped_) return Escape(c, json);
  if (c == '\\') {
    for (; quotes_ > 0; --quotes_) AppendJsonEscaped(quote_, json);
    escaped_ = true;
    return ScanResult::kMore;
  }
  if (c == quote_) {
    if (long_string_ && ++quotes_ < 3) return ScanResult::kMore;
    quotes_ = 0;
    *json += '"';
    EndValue();
    quoting_ = Quote::kNone;
    return ScanResult::kMore;
  }
  for (; quotes_ > 0; --quotes_) AppendJsonEscaped(quote_, json);
  AppendJsonEscaped(c, json);
  return ScanResult::kMore;
}

ScanResult PythonLiteral::Escape(char c, std::string* json) {
  escaped_ = false;
  code_ = 0;
  switch (c) {
    case 'x':
    case 'u':
    case 'U':
      base_ = 16;
      digits_left_ = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      return ScanResult::kMore;
    case '\n':  // the line goes on
      return ScanResult::kMore;
    default:
      break;
  }
  if (c >= '0' && c <= '7') {
    base_ = 8;
    code_ = static_cast<uint32_t>(c - '0');
    digits_left_ = 2;
    return ScanResult::kMore;
  }
  constexpr std::string_view kLetters = "abfnrtv\\'\"", kMeant = "\a\b\f\n\r\t\v\\'\"";
  const size_t at = kLetters.find(c);
  if (at == std::string_view::npos) {  // an unknown one is what it looks like
    AppendJsonEscaped('\\', json);
    AppendJsonEscaped(c, json);
  } else {
    AppendJsonEscaped(kMeant[at], json);
  }
  return ScanResult::kMore;
}

ScanResult PythonLiteral::CodePoint(std::string* json) {
  if (code_ > 0x10FFFF) return ScanResult::kBroken;
  if (code_ < 0x80) {
    AppendJsonEscaped(static_cast<char>(code_), json);
  } else if (code_ >= 0xD800 && code_ < 0xE000) {
    AppendJsonCodeUnit(code_, json);
  } else {
    AppendUtf8(code_, json);
  }
  return ScanResult::kMore;
}

ScanResult PythonLiteral::Outside(char c, std::string* json) {
  if (IsJsonSpace(c)) return ScanResult::kMore;
  switch (c) {
    case '"':
    case '\'':
      if (!BeginValue(json)) return ScanResult::kBroken;
      *json += '"';
      quote_ = c;
      quoting_ = Quote::kFirst;
      long_string_ = false;
      quotes_ = 0;
      return ScanResult::kMore;
    case '[':
    case '(':
    case '{':
      if (open_.size() >= JsonScanner::kMaxDepth || !BeginValue(json) || is_key_) {
        return ScanResult::kBroken;
      }
      open_ += c;
      *json += c == '{' ? '{' : '[';
      expect_ = c == '{' ? Expect::kKeyOrEnd : Expect::kValueOrEnd;
      return ScanResult::kMore;
    case ']':
    case ')':
    case '}':
      return Close(c, json);
    case ',':
      if (expect_ != Expect::kCommaOrEnd) return ScanResult::kBroken;
      comma_ = true;
      expect_ = open_.back() == '{' ? Expect::kKeyOrEnd : Expect::kValueOrEnd;
      return ScanResult::kMore;
    case ':':
      if (expect_ != Expect::kColon) return ScanResult::kBroken;
      *json += ": ";
      expect_ = Expect::kValue;
      return ScanResult::kMore;
    default:
      if (!IsWordByte(c) || !BeginValue(json)) return ScanResult::kBroken;
      word_ = c;
      return ScanResult::kMore;
  }
}

ScanResult PythonLiteral::Close(char c, std::string* json) {
  const char open = c == ']' ? '[' : c == ')' ? '(' : '{';
  if (open_.empty() || open_.back() != open) return ScanResult::kBroken;
  const Expect empty = open == '{' ? Expect::kKeyOrEnd : Expect::kValueOrEnd;
  if (expect_ != empty && expect_ != Expect::kCommaOrEnd) return ScanResult::kBroken;
  comma_ = false;  // it may have stood behind the last element
  open_.pop_back();
  *json += c == '}' ? '}' : ']';
  is_key_ = false;
  EndValue();
  return ScanResult::kMore;
}

bool PythonLiteral::BeginValue(std::string* json) {
  is_key_ = expect_ == Expect::kKey || expect_ == Expect::kKeyOrEnd;
  if (!is_key_ && expect_ != Expect::kValue && expect_ != Expect::kValueOrEnd) return false;
  if (comma_) *json += ", ";
  comma_ = false;
  return true;
}

void PythonLiteral::EndValue() {
  quoting_ = Quote::kNone;
  if (is_key_) {
    expect_ = Expect::kColon;
  } else {
    expect_ = open_.empty() ? Expect::kNothing : Expect::kCommaOrEnd;
  }
  is_key_ = false;
}

bool PythonLiteral::EndWord(std::string* json) {
  const std::string value = WordToJson(word_);
  if (value.empty()) return false;
  word_.clear();
  *json += is_key_ ? '"' + value + '"' : value;
  EndValue();
  return true;
}

}  // namespace tidal
