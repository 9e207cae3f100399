// Characters whose upper or title case is more than one character, or not the same in both.
#ifndef TIDAL_SERVER_TEXT_JINJA_SPECIAL_CASING_H_
#define TIDAL_SERVER_TEXT_JINJA_SPECIAL_CASING_H_

#include <cstddef>

namespace tidal::jinja {

struct SpecialCasing {
  char32_t code_point;
  const char* upper;
  const char* title;
};

extern const SpecialCasing kSpecialCasing[];  // ascending
extern const size_t kSpecialCasingCount;

}  // namespace tidal::jinja

#endif  // TIDAL_SERVER_TEXT_JINJA_SPECIAL_CASING_H_
