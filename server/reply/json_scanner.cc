#include "server/reply/json_scanner.h"

#include <cstdint>

#include "server/reply/characters.h"

namespace tidal {
namespace {

// No number or word of JSON that means something is longer.
constexpr size_t kMaxScalar = 256;

bool IsScalarByte(char c) {
  return IsAsciiAlnum(c) || c == '+' || c == '-' || c == '.' || c == '_';
}

bool MayBecomeScalar(std::string_view text) {
  for (const std::string_view word : {"true", "false", "null"}) {
    if (word.starts_with(text)) return true;
  }
  if (text.front() != '-' && !IsAsciiDigit(text.front())) return false;
  return text.find_first_not_of("0123456789+-.eE") == std::string_view::npos;
}

}  // namespace

bool IsJsonNumber(std::string_view text) {
  size_t at = 0;
  const auto digits = [&] {
    const size_t begin = at;
    while (at < text.size() && IsAsciiDigit(text[at])) ++at;
    return at > begin;
  };
  if (text.starts_with('-')) ++at;
  const bool zero = at < text.size() && text[at] == '0';
  const size_t begin = at;
  if (!digits() || (zero && at - begin > 1)) return false;
  if (at < text.size() && text[at] == '.') {
    ++at;
    if (!digits()) return false;
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
    if (!digits()) return false;
  }
  return at == text.size();
}

ScanResult JsonScanner::Feed(char c) {
  if (in_string_) return InString(c);
  if (!scalar_.empty()) {
    if (IsScalarByte(c)) {
      if (scalar_.size() < kMaxScalar) {
        scalar_ += c;
      } else {
        valid_ = false;
      }
      valid_ = valid_ && MayBecomeScalar(scalar_);
      return ScanResult::kMore;
    }
    EndScalar();
    if (open_.empty()) return ScanResult::kEndBefore;
  }
  return Outside(c);
}

bool JsonScanner::Finish() {
  if (!scalar_.empty()) EndScalar();
  return valid_ && !in_string_ && open_.empty() && expect_ == Expect::kNothing;
}

ScanResult JsonScanner::InString(char c) {
  if (hex_digits_ > 0) {
    --hex_digits_;
    if (HexDigit(c) < 0) {
      valid_ = false;
      hex_digits_ = 0;
      escaped_ = false;
    } else {
      return ScanResult::kMore;
    }
  } else if (escaped_) {
    escaped_ = false;
    if (c == 'u') {
      hex_digits_ = 4;
    } else if (std::string_view("\"\\/bfnrt").find(c) == std::string_view::npos) {
      valid_ = false;
    }
    return ScanResult::kMore;
  }
  if (c == '\\') {
    escaped_ = true;
  } else if (c == '"') {
    in_string_ = false;
    if (is_key_) {
      expect_ = Expect::kColon;
    } else {
      EndValue();
      if (open_.empty()) return ScanResult::kEnd;
    }
  } else if (static_cast<uint8_t>(c) < 0x20) {
    valid_ = false;
  }
  return ScanResult::kMore;
}

ScanResult JsonScanner::Outside(char c) {
  if (IsJsonSpace(c)) return ScanResult::kMore;
  if (first_ == 0) {
    first_ = c;
  } else if (open_.empty()) {
    valid_ = false;
    return ScanResult::kBroken;
  }
  switch (c) {
    case '"':
      is_key_ = expect_ == Expect::kKey || expect_ == Expect::kKeyOrEnd;
      if (!is_key_) BeginValue();
      in_string_ = true;
      return ScanResult::kMore;
    case '{':
    case '[':
      if (open_.size() >= kMaxDepth) return ScanResult::kBroken;
      BeginValue();
      open_ += c;
      expect_ = c == '{' ? Expect::kKeyOrEnd : Expect::kValueOrEnd;
      return ScanResult::kMore;
    case '}':
      return Close('{');
    case ']':
      return Close('[');
    case ',':
      valid_ = valid_ && expect_ == Expect::kCommaOrEnd;
      if (open_.empty()) return ScanResult::kBroken;
      expect_ = open_.back() == '{' ? Expect::kKey : Expect::kValue;
      return ScanResult::kMore;
    case ':':
      valid_ = valid_ && expect_ == Expect::kColon;
      if (open_.empty()) return ScanResult::kBroken;
      expect_ = Expect::kValue;
      return ScanResult::kMore;
    default:
      BeginValue();
      if (!IsScalarByte(c)) {
        valid_ = false;
        EndValue();
        return open_.empty() ? ScanResult::kBroken : ScanResult::kMore;
      }
      scalar_ = c;
      valid_ = valid_ && MayBecomeScalar(scalar_);
      return ScanResult::kMore;
  }
}

void JsonScanner::BeginValue() {
  valid_ = valid_ && (expect_ == Expect::kValue || expect_ == Expect::kValueOrEnd);
}

void JsonScanner::EndValue() { expect_ = open_.empty() ? Expect::kNothing : Expect::kCommaOrEnd; }

void JsonScanner::EndScalar() {
  valid_ = valid_ &&
           (scalar_ == "true" || scalar_ == "false" || scalar_ == "null" || IsJsonNumber(scalar_));
  scalar_.clear();
  EndValue();
}

ScanResult JsonScanner::Close(char open) {
  if (open_.empty() || open_.back() != open) {
    valid_ = false;
    return ScanResult::kBroken;
  }
  const Expect empty = open == '{' ? Expect::kKeyOrEnd : Expect::kValueOrEnd;
  valid_ = valid_ && (expect_ == empty || expect_ == Expect::kCommaOrEnd);
  open_.pop_back();
  EndValue();
  return open_.empty() ? ScanResult::kEnd : ScanResult::kMore;
}

}  // namespace tidal
