// What of a request has no effect although it asks for something, named in a header of the reply:
// a client that sends tools which only its vendor's own servers run works without them, and can see
// that it does.
#ifndef TIDAL_SERVER_OPENAI_LEFT_OUT_H_
#define TIDAL_SERVER_OPENAI_LEFT_OUT_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace tidal {

inline constexpr const char* kLeftOutHeader = "X-Tidal-Left-Out";

// Not thread-safe.
class LeftOut {
 public:
  // `field` as the client knows it ("tools[2]"), `what` of the client's making: its type.
  void Add(absl::string_view field, absl::string_view what);

  bool empty() const { return count_ == 0; }
  // "tools[2] (web_search), input[4] (web_search_call)", of bounded length: "... and 30 more".
  std::string Header() const;

 private:
  std::vector<std::string> first_;
  size_t count_ = 0;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_OPENAI_LEFT_OUT_H_
