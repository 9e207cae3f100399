#include "server/text/jinja/unicode_case.h"

#include <locale.h>
#include <wctype.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/base/check.h"
#include "server/text/jinja/python_string.h"
#include "server/text/jinja/special_casing.h"
#include "server/text/split_regex.h"
#include "server/text/utf8.h"

namespace tidal::jinja {
namespace {

// glibc's tables of simple case; its C.UTF-8 is always there.
locale_t CaseLocale() {
  static const locale_t locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  TIDAL_CHECK(locale != nullptr);
  return locale;
}

bool Matches(const SplitRegex& regex, char32_t code_point) {
  std::string text;
  AppendUtf8(code_point, &text);
  return regex.Matches(text);
}

const SplitRegex* CompileClass(std::string_view pattern) {
  auto regex = SplitRegex::Compile(pattern);
  TIDAL_CHECK(regex.ok());
  return new SplitRegex(*std::move(regex));
}

const SpecialCasing* FindSpecial(char32_t code_point) {
  const auto end = kSpecialCasing + kSpecialCasingCount;
  const auto it =
      std::lower_bound(kSpecialCasing, end, code_point,
                       [](const SpecialCasing& entry, char32_t c) { return entry.code_point < c; });
  return it != end && it->code_point == code_point ? it : nullptr;
}

void AppendUpper(char32_t c, std::string* out) {
  if (const SpecialCasing* special = FindSpecial(c)) {
    out->append(special->upper);
  } else {
    AppendUtf8(towupper_l(c, CaseLocale()), out);
  }
}

void AppendTitle(char32_t c, std::string* out) {
  if (const SpecialCasing* special = FindSpecial(c)) {
    out->append(special->title);
  } else {
    AppendUtf8(towupper_l(c, CaseLocale()), out);
  }
}

bool IsCased(char32_t c) { return IsUpper(c) || IsLower(c) || towupper_l(c, CaseLocale()) != c; }

// A sigma is final when a letter comes before it and none after it.
bool IsFinalSigma(const std::vector<std::string_view>& text, size_t at) {
  const auto cased = [&](size_t i) { return IsCased(ReadUtf8(text[i]).code_point); };
  static const SplitRegex* const ignorable =
      CompileClass("[\\p{M}\\p{Lm}'.:^`\\x{ad}\\x{2019}\\x{200b}-\\x{200f}]");
  size_t i = at;
  while (i > 0 && ignorable->Matches(text[i - 1])) --i;
  if (i == 0 || !cased(i - 1)) return false;
  i = at + 1;
  while (i < text.size() && ignorable->Matches(text[i])) ++i;
  return i == text.size() || !cased(i);
}

void AppendLower(const std::vector<std::string_view>& text, size_t at, std::string* out) {
  constexpr char32_t kSigma = 0x3A3, kFinalSigma = 0x3C2, kDottedI = 0x130;
  const char32_t c = ReadUtf8(text[at]).code_point;
  if (c == kDottedI) {
    out->append("i\xCC\x87");
  } else if (c == kSigma && IsFinalSigma(text, at)) {
    AppendUtf8(kFinalSigma, out);
  } else {
    AppendUtf8(towlower_l(c, CaseLocale()), out);
  }
}

bool AllOf(std::string_view text, bool (*property)(char32_t)) {
  const auto points = CodePoints(text);
  return !points.empty() && std::all_of(points.begin(), points.end(), [&](std::string_view c) {
    return property(ReadUtf8(c).code_point);
  });
}

bool IsNumeric(char32_t c) {
  static const SplitRegex* const regex = CompileClass("\\p{N}");
  return Matches(*regex, c);
}

bool IsDigit(char32_t c) {  // decimal digits, and superscripts and circled ones
  static const SplitRegex* const regex = CompileClass(
      "[\\p{Nd}\\x{b2}\\x{b3}\\x{b9}\\x{1369}-\\x{1371}\\x{19da}\\x{2070}\\x{2074}-\\x{2079}"
      "\\x{2080}-\\x{2089}\\x{2460}-\\x{2468}\\x{2474}-\\x{247c}\\x{2488}-\\x{2490}\\x{24ea}"
      "\\x{24f5}-\\x{24fd}\\x{24ff}\\x{2776}-\\x{277e}\\x{2780}-\\x{2788}\\x{278a}-\\x{2792}"
      "\\x{10a40}-\\x{10a43}\\x{10e60}-\\x{10e68}\\x{11052}-\\x{1105a}\\x{1f100}-\\x{1f10a}]");
  return Matches(*regex, c);
}

bool IsAlnum(char32_t c) { return IsAlpha(c) || IsNumeric(c); }
bool IsAscii(char32_t c) { return c < 0x80; }

// Some cased characters, none of the other case.
bool AllCased(std::string_view text, bool (*wanted)(char32_t), bool (*other)(char32_t)) {
  bool any = false;
  for (const std::string_view c : CodePoints(text)) {
    const char32_t code_point = ReadUtf8(c).code_point;
    if (other(code_point)) return false;
    any = any || wanted(code_point);
  }
  return any;
}

}  // namespace

bool IsUpper(char32_t c) { return iswupper_l(c, CaseLocale()); }

bool IsLower(char32_t c) { return iswlower_l(c, CaseLocale()) && !IsUpper(c); }

bool IsAlpha(char32_t c) {
  static const SplitRegex* const regex = CompileClass("\\p{L}");
  return Matches(*regex, c);
}

bool IsDecimal(char32_t c) {
  static const SplitRegex* const regex = CompileClass("\\p{Nd}");
  return Matches(*regex, c);
}

bool IsPrintable(char32_t c) {
  if (c >= 0x20 && c < 0x7F) return true;
  static const SplitRegex* const regex = CompileClass("[\\p{L}\\p{M}\\p{N}\\p{P}\\p{S}]");
  return Matches(*regex, c);
}

std::string ToUpper(std::string_view text) {
  std::string out;
  for (const std::string_view c : CodePoints(text)) AppendUpper(ReadUtf8(c).code_point, &out);
  return out;
}

std::string ToLower(std::string_view text) {
  std::string out;
  const auto points = CodePoints(text);
  for (size_t i = 0; i < points.size(); ++i) AppendLower(points, i, &out);
  return out;
}

// What two texts that differ in case only have in common.
std::string CaseFold(std::string_view text) {
  return ReplaceAll(ToLower(ToUpper(text)), "\xCF\x82", "\xCF\x83", -1);  // every sigma alike
}

std::string Capitalize(std::string_view text) {
  std::string out;
  const auto points = CodePoints(text);
  for (size_t i = 0; i < points.size(); ++i) {
    i == 0 ? AppendTitle(ReadUtf8(points[i]).code_point, &out) : AppendLower(points, i, &out);
  }
  return out;
}

std::string TitleCase(std::string_view text) {
  std::string out;
  const auto points = CodePoints(text);
  bool in_word = false;
  for (size_t i = 0; i < points.size(); ++i) {
    const char32_t c = ReadUtf8(points[i]).code_point;
    in_word ? AppendLower(points, i, &out) : AppendTitle(c, &out);
    in_word = IsCased(c);
  }
  return out;
}

std::string SwapCase(std::string_view text) {
  std::string out;
  const auto points = CodePoints(text);
  for (size_t i = 0; i < points.size(); ++i) {
    const char32_t c = ReadUtf8(points[i]).code_point;
    IsUpper(c) ? AppendLower(points, i, &out) : AppendUpper(c, &out);
  }
  return out;
}

bool HasProperty(std::string_view text, std::string_view method) {
  if (method == "isascii") return text.empty() || AllOf(text, IsAscii);
  if (method == "isalpha") return AllOf(text, IsAlpha);
  if (method == "isalnum") return AllOf(text, IsAlnum);
  if (method == "isdecimal") return AllOf(text, IsDecimal);
  if (method == "isdigit") return AllOf(text, IsDigit);
  if (method == "isnumeric") return AllOf(text, IsNumeric);
  if (method == "isspace") return AllOf(text, IsPythonSpace);
  if (method == "isprintable") return text.empty() || AllOf(text, IsPrintable);
  if (method == "isupper") return AllCased(text, IsUpper, IsLower);
  if (method == "islower") return AllCased(text, IsLower, IsUpper);
  if (method != "istitle") return false;
  bool in_word = false, any = false;
  for (const std::string_view c : CodePoints(text)) {
    const char32_t code_point = ReadUtf8(c).code_point;
    if (in_word ? IsUpper(code_point) : IsLower(code_point)) return false;
    in_word = IsCased(code_point);
    any = any || in_word;
  }
  return any;
}

}  // namespace tidal::jinja
