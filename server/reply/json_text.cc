#include "server/reply/json_text.h"

#include "server/reply/characters.h"
#include "server/text/utf8.h"

namespace tidal {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

bool IsHigh(uint32_t unit) { return unit >= 0xD800 && unit < 0xDC00; }
bool IsLow(uint32_t unit) { return unit >= 0xDC00 && unit < 0xE000; }

}  // namespace

void AppendJsonCodeUnit(uint32_t unit, std::string* json) {
  constexpr char kDigits[] = "0123456789abcdef";
  *json += "\\u";
  for (int shift = 12; shift >= 0; shift -= 4) *json += kDigits[(unit >> shift) & 0xF];
}

void AppendJsonEscaped(char c, std::string* json) {
  switch (c) {
    case '"':
    case '\\':
      *json += '\\';
      *json += c;
      return;
    case '\n':
      *json += "\\n";
      return;
    case '\r':
      *json += "\\r";
      return;
    case '\t':
      *json += "\\t";
      return;
    default:
      if (static_cast<uint8_t>(c) < 0x20) {
        AppendJsonCodeUnit(static_cast<uint8_t>(c), json);
      } else {
        *json += c;
      }
  }
}

std::string JsonString(std::string_view text) {
  std::string json = "\"";
  for (const char c : text) AppendJsonEscaped(c, &json);
  return json + '"';
}

ScanResult JsonStringDecoder::Feed(char c, std::string* text) {
  if (hex_digits_ > 0) {
    const int digit = HexDigit(c);
    if (digit >= 0) {
      unit_ = unit_ << 4 | static_cast<uint32_t>(digit);
      if (--hex_digits_ > 0) return ScanResult::kMore;
      if (IsLow(unit_) && high_ != 0) {
        AppendUtf8(0x10000 + ((high_ - 0xD800) << 10) + (unit_ - 0xDC00), text);
        high_ = 0;
        return ScanResult::kMore;
      }
      Flush(text);
      if (IsHigh(unit_)) {
        high_ = unit_;
      } else {
        AppendUtf8(IsLow(unit_) ? kReplacement : unit_, text);
      }
      return ScanResult::kMore;
    }
    hex_digits_ = 0;
    AppendUtf8(kReplacement, text);
  } else if (escaped_) {
    escaped_ = false;
    if (c == 'u') {
      hex_digits_ = 4;
      unit_ = 0;
      return ScanResult::kMore;
    }
    Flush(text);
    constexpr std::string_view kLetters = "bfnrt", kMeant = "\b\f\n\r\t";
    const size_t at = kLetters.find(c);
    *text += at == std::string_view::npos ? c : kMeant[at];
    return ScanResult::kMore;
  }
  if (c == '\\') {
    escaped_ = true;
    return ScanResult::kMore;
  }
  Flush(text);
  if (c == '"') return ScanResult::kEnd;
  *text += c;
  return ScanResult::kMore;
}

void JsonStringDecoder::Flush(std::string* text) {
  if (high_ != 0) AppendUtf8(kReplacement, text);
  high_ = 0;
}

}  // namespace tidal
