// The text of a custom tool's call, out of the arguments of the function that the tool is for the
// model: {"input": "..."}, which come in pieces.
#ifndef TIDAL_SERVER_RESPONSES_CUSTOM_INPUT_H_
#define TIDAL_SERVER_RESPONSES_CUSTOM_INPUT_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"
#include "server/reply/json_text.h"

namespace tidal {

// Arguments that are no such object give, at their end, their own text: what the model wrote is
// better than nothing. Not thread-safe.
class CustomInput {
 public:
  // What has become clear of the text; may be empty. Whole characters come out where whole ones go
  // in.
  std::string Append(absl::string_view arguments);
  // The rest. Nothing is appended after it.
  std::string Finish();

 private:
  enum class State { kBefore, kText, kAfter, kOther };

  // Takes `c` as the next of the beginning, up to the quote that opens the text.
  void MatchBeginning(char c);

  State state_ = State::kBefore;
  size_t matched_ = 0;  // of the beginning, white space aside
  std::string whole_;   // all that was appended, unless it is the text
  JsonStringDecoder decoder_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_RESPONSES_CUSTOM_INPUT_H_
