#include "server/text/unicode_normalization.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>

#include "engine/base/check.h"
#include "server/text/utf8.h"

namespace tidal {
namespace {

struct Range {
  char32_t first, last;
};

// Code points that decompose, compose or change places with their neighbours, but were not yet in
// Unicode 9. Nothing moves across one, so the stretches between them are normalized by themselves.
constexpr Range kInert[] = {
    {0x7FD, 0x7FD},     {0x898, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},
    {0xC3C, 0xC3C},     {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x1715, 0x1715},
    {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},   {0x32FF, 0x32FF},   {0xA7F2, 0xA7F4},
    {0xA82C, 0xA82C},   {0xAB69, 0xAB69},   {0x10781, 0x10785}, {0x10787, 0x107B0},
    {0x107B2, 0x107BA}, {0x10D24, 0x10D27}, {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF},
    {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B},
    {0x1145E, 0x1145E}, {0x11839, 0x1183A}, {0x11930, 0x11930}, {0x11935, 0x11935},
    {0x11938, 0x11938}, {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0},
    {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42},
    {0x11D44, 0x11D45}, {0x11D97, 0x11D97}, {0x11F41, 0x11F42}, {0x16FF0, 0x16FF1},
    {0x1E030, 0x1E06D}, {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE},
    {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF}, {0x1F16C, 0x1F16C}, {0x1FBF0, 0x1FBF9},
};

// Capitals that came after Unicode 15, utf8proc's, and how far away their small letters are.
struct LaterCapitals {
  char32_t first, last;
  int32_t offset;
};
constexpr LaterCapitals kLaterCapitals[] = {
    {0x1C89, 0x1C89, 1},      {0xA7CB, 0xA7CB, 0x264 - 0xA7CB},
    {0xA7CC, 0xA7CC, 1},      {0xA7CE, 0xA7CE, 1},
    {0xA7D2, 0xA7D2, 1},      {0xA7D4, 0xA7D4, 1},
    {0xA7DA, 0xA7DA, 1},      {0xA7DC, 0xA7DC, 0x19B - 0xA7DC},
    {0x10D50, 0x10D65, 0x20}, {0x16EA0, 0x16EB8, 0x1B},
};
constexpr char32_t kCapitalIWithDot = 0x130;  // the only one that becomes two code points

// The entry of a sorted table of ranges with `code_point` in it; null when none has.
template <typename Entry, size_t kSize>
const Entry* FindRange(const Entry (&table)[kSize], char32_t code_point) {
  const Entry* entry =
      std::partition_point(std::begin(table), std::end(table),
                           [code_point](const Entry& e) { return e.last < code_point; });
  return entry != std::end(table) && entry->first <= code_point ? entry : nullptr;
}

// No code point below this is changed, or changes another.
char32_t FirstAffected(NormalForm form) { return form == NormalForm::kNfc ? 0x300 : 0x80; }

utf8proc_option_t Options(NormalForm form) {
  const bool composed = form == NormalForm::kNfc || form == NormalForm::kNfkc;
  const bool compatible = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  return static_cast<utf8proc_option_t>(UTF8PROC_STABLE |
                                        (composed ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) |
                                        (compatible ? UTF8PROC_COMPAT : 0));
}

void AppendNormalForm(std::string_view text, NormalForm form, std::string* out) {
  utf8proc_uint8_t* normalized = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &normalized, Options(form));
  TIDAL_CHECK(size >= 0);  // the text is valid
  out->append(reinterpret_cast<const char*>(normalized), static_cast<size_t>(size));
  std::free(normalized);
}

}  // namespace

std::string ToNormalForm(std::string_view text, NormalForm form) {
  std::string out;
  size_t done = 0;        // everything before is in `out`
  bool affected = false;  // whether normalizing changes what comes after, perhaps
  const auto flush = [&](size_t end) {
    const std::string_view stretch = text.substr(done, end - done);
    affected ? AppendNormalForm(stretch, form, &out) : void(out.append(stretch));
    affected = false;
  };
  for (size_t at = 0; at < text.size();) {
    const Utf8Unit unit = ReadUtf8(text.substr(at));
    if (unit.code_point >= FirstAffected(form)) {
      if (FindRange(kInert, unit.code_point) != nullptr) {
        flush(at);
        out.append(text.substr(at, unit.length));
        done = at + unit.length;
      } else {
        affected = true;
      }
    }
    at += unit.length;
  }
  flush(text.size());
  return out;
}

std::string ToLowercase(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Utf8Unit unit = ReadUtf8(text);
    text.remove_prefix(unit.length);
    if (unit.code_point == kCapitalIWithDot) {
      out.append("i\xCC\x87");
    } else if (const LaterCapitals* later = FindRange(kLaterCapitals, unit.code_point)) {
      AppendUtf8(unit.code_point + later->offset, &out);
    } else {
      AppendUtf8(utf8proc_tolower(static_cast<utf8proc_int32_t>(unit.code_point)), &out);
    }
  }
  return out;
}

}  // namespace tidal
