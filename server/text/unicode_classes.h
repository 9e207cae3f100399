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

// Null for a class that is not in the table.
const UnicodeClass* FindUnicodeClass(std::string_view name);

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_UNICODE_CLASSES_H_
