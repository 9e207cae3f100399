// Upper, lower and title case of single characters, and their properties.
#ifndef TIDAL_SERVER_TEXT_JINJA_UNICODE_CASE_H_
#define TIDAL_SERVER_TEXT_JINJA_UNICODE_CASE_H_

namespace tidal::jinja {

bool IsUpper(char32_t code_point);
bool IsLower(char32_t code_point);
bool IsAlpha(char32_t code_point);
bool IsDecimal(char32_t code_point);
bool IsPrintable(char32_t code_point);  // what repr() shows as it is

}  // namespace tidal::jinja

#endif  // TIDAL_SERVER_TEXT_JINJA_UNICODE_CASE_H_
