#include "server/text/utf8.h"

#include <cstdint>
#include <cstring>

namespace tidal {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// What follows a lead byte: how many bytes, and the range of the first of them, which is what rules
// out overlong forms, surrogates and anything above U+10FFFF (Unicode, table 3-7).
struct Lead {
  int continuations;
  uint8_t first_min, first_max;
};

Lead ReadLead(uint8_t lead) {
  if (lead >= 0xC2 && lead <= 0xDF) return {1, 0x80, 0xBF};
  if (lead == 0xE0) return {2, 0xA0, 0xBF};
  if (lead == 0xED) return {2, 0x80, 0x9F};
  if (lead >= 0xE1 && lead <= 0xEF) return {2, 0x80, 0xBF};
  if (lead == 0xF0) return {3, 0x90, 0xBF};
  if (lead >= 0xF1 && lead <= 0xF3) return {3, 0x80, 0xBF};
  if (lead == 0xF4) return {3, 0x80, 0x8F};
  return {0, 0, 0};
}

size_t AsciiPrefix(std::string_view text) {
  size_t i = 0;
  while (i + 8 <= text.size()) {
    uint64_t word;
    std::memcpy(&word, text.data() + i, 8);
    if (word & 0x8080808080808080ull) break;
    i += 8;
  }
  while (i < text.size() && static_cast<uint8_t>(text[i]) < 0x80) ++i;
  return i;
}

}  // namespace

Utf8Unit ReadUtf8(std::string_view bytes) {
  const uint8_t lead = static_cast<uint8_t>(bytes[0]);
  if (lead < 0x80) return {Utf8Unit::kCodePoint, 1, lead};
  const Lead form = ReadLead(lead);
  if (form.continuations == 0) return {Utf8Unit::kInvalid, 1, 0};
  char32_t code_point = lead & (0x3F >> form.continuations);
  uint8_t min = form.first_min, max = form.first_max;
  for (int i = 1; i <= form.continuations; ++i) {
    if (i >= static_cast<int>(bytes.size())) return {Utf8Unit::kIncomplete, bytes.size(), 0};
    const uint8_t byte = static_cast<uint8_t>(bytes[i]);
    if (byte < min || byte > max) return {Utf8Unit::kInvalid, static_cast<size_t>(i), 0};
    code_point = (code_point << 6) | (byte & 0x3F);
    min = 0x80;
    max = 0xBF;
  }
  return {Utf8Unit::kCodePoint, static_cast<size_t>(form.continuations) + 1, code_point};
}

std::optional<size_t> FindInvalidUtf8(std::string_view text) {
  size_t offset = 0;
  while (true) {
    offset += AsciiPrefix(text.substr(offset));
    if (offset == text.size()) return std::nullopt;
    const Utf8Unit unit = ReadUtf8(text.substr(offset));
    if (unit.kind != Utf8Unit::kCodePoint) return offset;
    offset += unit.length;
  }
}

void AppendUtf8(char32_t code_point, std::string* out) {
  const auto append = [out](uint32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    append(code_point);
  } else if (code_point < 0x800) {
    append(0xC0 | (code_point >> 6));
    append(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    append(0xE0 | (code_point >> 12));
    append(0x80 | ((code_point >> 6) & 0x3F));
    append(0x80 | (code_point & 0x3F));
  } else {
    append(0xF0 | (code_point >> 18));
    append(0x80 | ((code_point >> 12) & 0x3F));
    append(0x80 | ((code_point >> 6) & 0x3F));
    append(0x80 | (code_point & 0x3F));
  }
}

size_t AppendLossyUtf8(std::string_view bytes, bool keep_incomplete, std::string* out) {
  size_t offset = 0;
  while (offset < bytes.size()) {
    const size_t ascii = AsciiPrefix(bytes.substr(offset));
    out->append(bytes.substr(offset, ascii));
    offset += ascii;
    if (offset == bytes.size()) break;
    const Utf8Unit unit = ReadUtf8(bytes.substr(offset));
    if (unit.kind == Utf8Unit::kIncomplete && keep_incomplete) return offset;
    out->append(unit.kind == Utf8Unit::kCodePoint ? bytes.substr(offset, unit.length)
                                                  : kReplacement);
    offset += unit.length;
  }
  return offset;
}

bool IsWhiteSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

size_t PreviousCodePoint(std::string_view text, size_t end) {
  size_t begin = end - 1;
  while (begin > 0 && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
  return begin;
}

size_t SkipSpaceBackward(std::string_view text, size_t end, size_t limit) {
  while (end > limit) {
    const size_t begin = PreviousCodePoint(text, end);
    if (begin < limit || !IsWhiteSpace(ReadUtf8(text.substr(begin)).code_point)) break;
    end = begin;
  }
  return end;
}

size_t SkipSpaceForward(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    const Utf8Unit unit = ReadUtf8(text.substr(begin));
    if (!IsWhiteSpace(unit.code_point)) break;
    begin += unit.length;
  }
  return begin;
}

}  // namespace tidal
