// Where a JSON value ends, and whether it is one, in text that comes byte by byte.
#ifndef TIDAL_SERVER_REPLY_JSON_SCANNER_H_
#define TIDAL_SERVER_REPLY_JSON_SCANNER_H_

#include <string>
#include <string_view>

namespace tidal {

enum class ScanResult {
  kMore,
  kEnd,        // the value ended with this byte
  kEndBefore,  // the value ended before this byte
  kBroken,     // no value: brackets that do not match, or too many of them
};

// Goes by strings and brackets alone, so that what a model writes almost right comes through to
// whoever asked for it; valid() says whether it was all right. Memory: its depth, and a number's or
// word's length up to a bound. Not thread-safe.
class JsonScanner {
 public:
  static constexpr int kMaxDepth = 64;

  // After kEnd only space may follow; anything else is kBroken.
  ScanResult Feed(char c);
  // Whether all of it was JSON so far: false as soon as no end could make a value of it.
  bool valid() const { return valid_; }
  // The text is over. Whether it was one valid value.
  bool Finish();
  // The value's first byte; 0 before it.
  char first() const { return first_; }

 private:
  enum class Expect { kValue, kValueOrEnd, kKeyOrEnd, kKey, kColon, kCommaOrEnd, kNothing };

  ScanResult InString(char c);
  ScanResult Outside(char c);
  void BeginValue();
  void EndValue();
  void EndScalar();
  ScanResult Close(char open);

  Expect expect_ = Expect::kValue;
  std::string open_;    // the brackets that are open
  std::string scalar_;  // the number or word at hand
  bool in_string_ = false, escaped_ = false, is_key_ = false, valid_ = true;
  int hex_digits_ = 0;  // that a \u still wants
  char first_ = 0;
};

// Whether `text` is a number as JSON writes it.
bool IsJsonNumber(std::string_view text);

}  // namespace tidal

#endif  // TIDAL_SERVER_REPLY_JSON_SCANNER_H_
