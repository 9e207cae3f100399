// Finds stop strings in streamed text and holds back what might become one.
#ifndef TIDAL_SERVER_TEXT_STOP_MATCHER_H_
#define TIDAL_SERVER_TEXT_STOP_MATCHER_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tidal {

// Not thread-safe.
class StopMatcher {
 public:
  // include_in_output: the stop string that matched is part of the text.
  StopMatcher(std::vector<std::string> stops, bool include_in_output);

  struct Result {
    std::string text;                 // may be sent now
    std::optional<std::string> stop;  // set when this stop string was completed; nothing follows
  };
  // The stop string that is completed first wins; of several completed by the same character the
  // one listed first. The outcome does not depend on where the text is cut into pieces.
  Result Append(std::string_view text);
  // What was held back, when no more text comes.
  std::string Flush();

 private:
  std::vector<std::string> stops_;
  bool include_in_output_;
  std::string held_;  // a suffix of the text that is a prefix of a stop string
};

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_STOP_MATCHER_H_
