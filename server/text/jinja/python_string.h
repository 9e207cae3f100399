// Strings as Python treats them: by code points, with its notions of space, case and escapes.
// Every argument is valid UTF-8.
#ifndef TIDAL_SERVER_TEXT_JINJA_PYTHON_STRING_H_
#define TIDAL_SERVER_TEXT_JINJA_PYTHON_STRING_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tidal::jinja {

std::vector<std::string_view> CodePoints(std::string_view text);
int64_t CodePointCount(std::string_view text);
// Of the code point at `index` (or of the end): its offset in bytes.
size_t CodePointOffset(std::string_view text, int64_t index);

bool IsPythonSpace(char32_t code_point);
std::string_view StripLeft(std::string_view text);
std::string_view StripRight(std::string_view text);
// Of any of the code points in `characters`.
std::string_view StripLeft(std::string_view text, std::string_view characters);
std::string_view StripRight(std::string_view text, std::string_view characters);

// The inside of a string literal without its escapes; false when an escape is malformed.
bool Unescape(std::string_view literal, std::string* out);
// repr(): in quotes, with escapes.
std::string QuoteString(std::string_view text);
// repr() of a float: the shortest digits that give it back.
std::string FormatFloat(double number);

std::string ToUpper(std::string_view text);
std::string ToLower(std::string_view text);
std::string CaseFold(std::string_view text);
std::string Capitalize(
    std::string_view text);  // the first character in title case, others in lower
// str.title(): a word is a run of cased characters.
std::string TitleCase(std::string_view text);
std::string SwapCase(std::string_view text);

// str.isalpha() and its like, by name; false for an empty text.
bool HasProperty(std::string_view text, std::string_view method);

// All of these for non-empty `from`; count < 0: all.
std::string ReplaceAll(std::string_view text, std::string_view from, std::string_view to,
                       int64_t count);

}  // namespace tidal::jinja

#endif  // TIDAL_SERVER_TEXT_JINJA_PYTHON_STRING_H_
