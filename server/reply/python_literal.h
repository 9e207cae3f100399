// A literal of Python to JSON as it comes.
#ifndef TIDAL_SERVER_REPLY_PYTHON_LITERAL_H_
#define TIDAL_SERVER_REPLY_PYTHON_LITERAL_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "server/reply/json_scanner.h"

namespace tidal {

// Strings (also of three quotes), numbers, True, False, None (and JSON's words for them), lists,
// tuples, dicts. Anything else, an expression or a name, is broken. Strings and brackets go on as
// they come; a number or word is held to its end, up to 64 bytes. Not thread-safe.
class PythonLiteral {
 public:
  // kMore, kEndBefore (`c` is not part of it) or kBroken. What there is to say goes to `json`.
  ScanResult Feed(char c, std::string* json);

 private:
  enum class Expect { kValue, kValueOrEnd, kKey, kKeyOrEnd, kColon, kCommaOrEnd, kNothing };
  enum class Quote { kNone, kFirst, kSecond, kInside };

  ScanResult InString(char c, std::string* json);
  ScanResult Escape(char c, std::string* json);
  ScanResult CodePoint(std::string* json);
  ScanResult Outside(char c, std::string* json);
  ScanResult Close(char c, std::string* json);
  bool BeginValue(std::string* json);
  void EndValue();
  bool EndWord(std::string* json);

  Expect expect_ = Expect::kValue;
  std::string open_;
  bool comma_ = false;  // one to write before the next element
  std::string word_;
  Quote quoting_ = Quote::kNone;
  char quote_ = 0;
  bool long_string_ = false, is_key_ = false;
  int quotes_ = 0;  // that may end a long string
  // The escape at hand: its letter, its digits, how many more it may have.
  bool escaped_ = false;
  int base_ = 0, digits_left_ = 0;
  uint32_t code_ = 0;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_REPLY_PYTHON_LITERAL_H_
