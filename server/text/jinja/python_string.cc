#include "server/text/jinja/python_string.h"

#include <array>
#include <charconv>
#include <cmath>

#include "absl/strings/ascii.h"
#include "server/text/jinja/unicode_case.h"
#include "server/text/utf8.h"

namespace tidal::jinja {
namespace {

size_t CodePointLength(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

size_t LastCodePoint(std::string_view text) {
  size_t begin = text.size() - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return begin;
}

// `digits` hexadecimal digits at literal[*at], which moves behind them.
bool ReadHex(std::string_view literal, size_t digits, size_t* at, char32_t* code_point) {
  if (*at + digits > literal.size()) return false;
  uint32_t value = 0;
  const char* begin = literal.data() + *at;
  const auto [end, error] = std::from_chars(begin, begin + digits, value, 16);
  if (error != std::errc() || end != begin + digits) return false;
  *at += digits;
  *code_point = value;
  return value <= 0x10FFFF && (value < 0xD800 || value > 0xDFFF);
}

void AppendHexEscape(char kind, uint32_t code_point, int digits, std::string* out) {
  constexpr char kDigits[] = "0123456789abcdef";
  out->push_back('\\');
  out->push_back(kind);
  for (int i = digits - 1; i >= 0; --i) out->push_back(kDigits[(code_point >> (4 * i)) & 15]);
}

}  // namespace

std::vector<std::string_view> CodePoints(std::string_view text) {
  std::vector<std::string_view> out;
  for (size_t at = 0; at < text.size();) {
    const size_t length = CodePointLength(text[at]);
    out.push_back(text.substr(at, length));
    at += length;
  }
  return out;
}

int64_t CodePointCount(std::string_view text) {
  int64_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return count;
}

size_t CodePointOffset(std::string_view text, int64_t index) {
  size_t at = 0;
  for (; index > 0 && at < text.size(); --index) at += CodePointLength(text[at]);
  return at;
}

bool IsPythonSpace(char32_t c) { return IsWhiteSpace(c) || (c >= 0x1C && c <= 0x1F); }

std::string_view StripLeft(std::string_view text) {
  while (!text.empty()) {
    const Utf8Unit unit = ReadUtf8(text);
    if (!IsPythonSpace(unit.code_point)) break;
    text.remove_prefix(unit.length);
  }
  return text;
}

std::string_view StripRight(std::string_view text) {
  while (!text.empty()) {
    const size_t last = LastCodePoint(text);
    if (!IsPythonSpace(ReadUtf8(text.substr(last)).code_point)) break;
    text = text.substr(0, last);
  }
  return text;
}

std::string_view StripLeft(std::string_view text, std::string_view characters) {
  while (!text.empty()) {
    const size_t length = CodePointLength(text[0]);
    if (characters.find(text.substr(0, length)) == std::string_view::npos) break;
    text.remove_prefix(length);
  }
  return text;
}

std::string_view StripRight(std::string_view text, std::string_view characters) {
  while (!text.empty()) {
    const size_t last = LastCodePoint(text);
    if (characters.find(text.substr(last)) == std::string_view::npos) break;
    text = text.substr(0, last);
  }
  return text;
}

bool Unescape(std::string_view literal, std::string* out) {
  constexpr std::string_view kNames = "abfnrtv\\'\"", kValues = "\a\b\f\n\r\t\v\\'\"";
  for (size_t at = 0; at < literal.size();) {
    const char c = literal[at++];
    if (c != '\\' || at == literal.size()) {
      out->push_back(c);
      continue;
    }
    const char kind = literal[at++];
    if (const size_t i = kNames.find(kind); i != std::string_view::npos) {
      out->push_back(kValues[i]);
    } else if (kind == 'x' || kind == 'u' || kind == 'U') {
      char32_t code_point = 0;
      if (!ReadHex(literal, kind == 'x' ? 2 : kind == 'u' ? 4 : 8, &at, &code_point)) return false;
      AppendUtf8(code_point, out);
    } else if (kind >= '0' && kind <= '7') {
      char32_t code_point = kind - '0';
      for (int i = 0; i < 2 && at < literal.size() && literal[at] >= '0' && literal[at] <= '7';
           ++i) {
        code_point = code_point * 8 + (literal[at++] - '0');
      }
      AppendUtf8(code_point, out);
    } else if (kind == 'N') {
      return false;  // names of characters are not known here
    } else if (kind != '\n') {
      out->push_back('\\');
      out->push_back(kind);
    }
  }
  return true;
}

std::string QuoteString(std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
  std::string out(1, quote);
  for (const std::string_view c : CodePoints(text)) {
    const char32_t code_point = ReadUtf8(c).code_point;
    if (code_point == static_cast<char32_t>(quote) || code_point == '\\') {
      out.push_back('\\');
      out.append(c);
    } else if (code_point == '\n') {
      out.append("\\n");
    } else if (code_point == '\r') {
      out.append("\\r");
    } else if (code_point == '\t') {
      out.append("\\t");
    } else if (IsPrintable(code_point)) {
      out.append(c);
    } else if (code_point <= 0xFF) {
      AppendHexEscape('x', code_point, 2, &out);
    } else if (code_point <= 0xFFFF) {
      AppendHexEscape('u', code_point, 4, &out);
    } else {
      AppendHexEscape('U', code_point, 8, &out);
    }
  }
  out.push_back(quote);
  return out;
}

std::string FormatFloat(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
  std::array<char, 32> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number,
                                 std::chars_format::scientific)
                       .ptr;
  // d.ddde[+-]dd: exponents from -4 to 15 are written out.
  const std::string_view text(buffer.data(), end - buffer.data());
  const size_t e = text.find('e');
  int exponent = 0;
  const char* exponent_text = text.data() + e + (text[e + 1] == '+' ? 2 : 1);
  std::from_chars(exponent_text, end, exponent);
  if (exponent < -4 || exponent >= 16) return std::string(text);
  std::string digits;
  for (const char c : text.substr(0, e)) {
    if (absl::ascii_isdigit(c)) digits.push_back(c);
  }
  std::string out = text[0] == '-' ? "-" : "";
  if (exponent < 0) {
    return out + "0." + std::string(-exponent - 1, '0') + digits;
  }
  const size_t whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) return out + digits + std::string(whole - digits.size(), '0') + ".0";
  return out + digits.substr(0, whole) + "." + digits.substr(whole);
}

std::string ReplaceAll(std::string_view text, std::string_view from, std::string_view to,
                       int64_t count) {
  std::string out;
  size_t at = 0;
  while (count != 0) {
    const size_t next = text.find(from, at);
    if (next == std::string_view::npos) break;
    out.append(text.substr(at, next - at)).append(to);
    at = next + from.size();
    --count;
  }
  out.append(text.substr(at));
  return out;
}

}  // namespace tidal::jinja
