#include "server/text/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace tidal {

StopMatcher::StopMatcher(std::vector<std::string> stops, bool include_in_output)
    : stops_(std::move(stops)), include_in_output_(include_in_output) {
  // An empty string is everywhere; it stops nothing.
  std::erase_if(stops_, [](const std::string& stop) { return stop.empty(); });
}

StopMatcher::Result StopMatcher::Append(std::string_view text) {
  if (stops_.empty()) return {std::string(text), std::nullopt};
  // Nothing in what was held back is a whole stop string, so a match ends in the new text.
  held_.append(text);
  size_t found_at = 0;
  const std::string* found = nullptr;
  for (const std::string& stop : stops_) {
    const size_t at = held_.find(stop);
    if (at == std::string::npos) continue;
    if (found == nullptr || at + stop.size() < found_at + found->size()) {
      found_at = at;
      found = &stop;
    }
  }
  if (found != nullptr) {
    held_.resize(found_at + (include_in_output_ ? found->size() : 0));
    return {std::exchange(held_, std::string()), *found};
  }
  size_t hold = held_.size();  // the earliest place where an unfinished stop string may begin
  for (const std::string& stop : stops_) {
    const size_t longest = std::min(stop.size() - 1, held_.size());
    for (size_t length = longest; length > 0; --length) {
      const size_t at = held_.size() - length;
      if (std::string_view(held_).substr(at) == std::string_view(stop).substr(0, length)) {
        hold = std::min(hold, at);
        break;
      }
    }
  }
  Result result{held_.substr(0, hold), std::nullopt};
  held_.erase(0, hold);
  return result;
}

std::string StopMatcher::Flush() { return std::exchange(held_, std::string()); }

}  // namespace tidal
