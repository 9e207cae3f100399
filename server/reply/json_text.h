// Strings of JSON, written and read as they come.
#ifndef TIDAL_SERVER_REPLY_JSON_TEXT_H_
#define TIDAL_SERVER_REPLY_JSON_TEXT_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "server/reply/json_scanner.h"

namespace tidal {

// Appends a byte of UTF-8 as it stands inside a string of JSON.
void AppendJsonEscaped(char c, std::string* json);
std::string JsonString(std::string_view text);  // with its quotes

// A UTF-16 code unit: halves of pairs may come one by one.
void AppendJsonCodeUnit(uint32_t unit, std::string* json);

// What a string says, from behind its opening quote. Forgiving: an unknown escape is the character
// itself, half a pair is U+FFFD. Not thread-safe.
class JsonStringDecoder {
 public:
  // kMore, or kEnd at the closing quote.
  ScanResult Feed(char c, std::string* text);

 private:
  void Flush(std::string* text);  // a half that got no other half

  bool escaped_ = false;
  int hex_digits_ = 0;
  uint32_t unit_ = 0, high_ = 0;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_REPLY_JSON_TEXT_H_
