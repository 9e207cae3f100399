// Classes of ASCII bytes, whatever the locale. Pure functions.
#ifndef TIDAL_SERVER_REPLY_CHARACTERS_H_
#define TIDAL_SERVER_REPLY_CHARACTERS_H_

#include <cstddef>
#include <string_view>

namespace tidal {

inline bool IsJsonSpace(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }
inline bool IsAsciiDigit(char c) { return c >= '0' && c <= '9'; }
inline bool IsAsciiAlnum(char c) {
  return IsAsciiDigit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// 0 to 15; -1 for what is none.
inline int HexDigit(char c) {
  if (IsAsciiDigit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Names of tools are OpenAI's [A-Za-z0-9_-], those of other servers have more; whatever else, there
// is nothing in them that any family's syntax is made of.
inline constexpr size_t kMaxName = 256;
inline bool IsNameByte(char c) {
  return static_cast<unsigned char>(c) > ' ' && c != 0x7F &&
         std::string_view("<>{}[]()\"'`,;=|").find(c) == std::string_view::npos;
}

inline std::string_view TrimSpace(std::string_view text) {
  while (!text.empty() && IsJsonSpace(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsJsonSpace(text.back())) text.remove_suffix(1);
  return text;
}

}  // namespace tidal

#endif  // TIDAL_SERVER_REPLY_CHARACTERS_H_
