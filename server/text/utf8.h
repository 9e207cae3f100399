// UTF-8 as the Unicode standard defines it: no overlong forms, no surrogates, at most U+10FFFF.
#ifndef TIDAL_SERVER_TEXT_UTF8_H_
#define TIDAL_SERVER_TEXT_UTF8_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace tidal {

struct Utf8Unit {
  enum Kind { kCodePoint, kInvalid, kIncomplete };
  Kind kind;
  // Bytes: of the code point; of the ill-formed part that one U+FFFD replaces; or all that is left,
  // which more bytes may still complete.
  size_t length;
  char32_t code_point;  // kCodePoint only
};

// What `bytes` starts with. `bytes` is not empty.
Utf8Unit ReadUtf8(std::string_view bytes);

// The offset of the first byte that is not part of a code point; nothing when all are.
std::optional<size_t> FindInvalidUtf8(std::string_view text);

void AppendUtf8(char32_t code_point, std::string* out);

// Appends `bytes` to `out` with every ill-formed part as one U+FFFD (the same parts as Rust's
// from_utf8_lossy). Returns how many bytes were consumed: all, or all but an incomplete code point
// at the end when `keep_incomplete`.
size_t AppendLossyUtf8(std::string_view bytes, bool keep_incomplete, std::string* out);

// The White_Space property of Unicode: what Oniguruma and Rust mean by \s.
bool IsWhiteSpace(char32_t code_point);

// Where the code point before `end` begins. `text` is valid UTF-8 and `end` > 0.
size_t PreviousCodePoint(std::string_view text, size_t end);

// The end of the white space at `begin`, and the beginning, not before `limit`, of that which ends
// at `end`. `text` is valid UTF-8, the offsets are between its code points.
size_t SkipSpaceForward(std::string_view text, size_t begin);
size_t SkipSpaceBackward(std::string_view text, size_t end, size_t limit);

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_UTF8_H_
