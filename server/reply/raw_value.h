// A value that a model wrote as raw text between tags, to JSON as it comes.
#ifndef TIDAL_SERVER_REPLY_RAW_VALUE_H_
#define TIDAL_SERVER_REPLY_RAW_VALUE_H_

#include <string>
#include <string_view>

#include "server/reply/argument_types.h"
#include "server/reply/json_scanner.h"

namespace tidal {

// Text becomes a string, byte by byte. Where the types allow others, the value is held: until it
// can be none of them (then it is a string after all), until its end, or until it is so long that
// it goes on as what it is so far. One newline is trimmed on each side. Not thread-safe.
class RawValue {
 public:
  static constexpr size_t kMaxHeld = 4096;

  explicit RawValue(JsonTypes types) : types_(types) {}

  void Feed(char c, std::string* json);
  void Finish(std::string* json);
  // The text breaks off: what is held, in whatever form, without an end.
  void BreakOff(std::string* json);
  size_t held_bytes() const { return held_.size(); }

 private:
  enum class Form { kUndecided, kString, kLiteral };

  void Take(char c, std::string* json);
  bool MayBeLiteral();
  std::string_view AsLiteral();  // what is held, as JSON; empty when it is none of the types
  void BecomeString(std::string* json);

  JsonTypes types_;
  Form form_ = Form::kUndecided;
  bool at_start_ = true, newline_ = false;
  std::string held_;
  JsonScanner scanner_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_REPLY_RAW_VALUE_H_
