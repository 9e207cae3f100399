// Unicode character classes for regular expressions, brought up to the Unicode version that
// Hugging Face's tokenizers use (16, in Oniguruma), which is newer than that of Debian 12's PCRE2.
#ifndef TIDAL_SERVER_TEXT_UNICODE_CLASSES_H_
#define TIDAL_SERVER_TEXT_UNICODE_CLASSES_H_

#include <string_view>

namespace tidal {

struct UnicodeClass {
  std::string_view name;   // as in \p{name}
  std::string_view pcre2;  // PCRE2's own escape for it
  std::string_view later;  // ranges to add, as inside [ ]; may be empty
};

// The members of \w in Rust's regular expressions, as inside [ ]: letters, letter numbers, marks,
// and the circled and squared letters, which make the Alphabetic property; digits, connectors,
// joiners.
inline constexpr std::string_view kWordCharacters =
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}_\\x{203f}\\x{2040}\\x{2054}\\x{fe33}\\x{fe34}\\x{fe4d}-\\x{fe4f}"
    "\\x{ff3f}\\x{200c}\\x{200d}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}"
    "\\x{1f170}-\\x{1f189}";

// Null for a class that is not in the table.
const UnicodeClass* FindUnicodeClass(std::string_view name);

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_UNICODE_CLASSES_H_
