// Finds markers in text that comes byte by byte.
#ifndef TIDAL_SERVER_REPLY_MARKER_MATCHER_H_
#define TIDAL_SERVER_REPLY_MARKER_MATCHER_H_

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tidal {

// The markers that are special tokens of the model's tokenizer. Text that only spells one is text,
// so a model can speak of its markers without making a call.
using SpecialMarkers = std::vector<std::string>;

inline bool HasMarker(const std::vector<std::string>& markers, std::string_view marker) {
  return std::find(markers.begin(), markers.end(), marker) != markers.end();
}

// Holds the end of the text as long as it may become a marker, so less than a marker's length:
//
//   matcher.Push(c);
//   while (matcher.state() == kNone) Use(matcher.Pop());
//   if (matcher.state() == kWhole) ...
//
// Not thread-safe.
class MarkerMatcher {
 public:
  enum State {
    kEmpty,
    kPartial,  // what is held begins a marker
    kWhole,    // what is held is one
    kNone,     // the first byte held belongs to none: Pop() it and look again
  };

  MarkerMatcher() = default;
  // Empty markers and special ones are left out.
  MarkerMatcher(const std::vector<std::string>& markers, const SpecialMarkers& special) {
    for (const std::string& marker : markers) {
      if (!marker.empty() && !HasMarker(special, marker)) markers_.push_back(marker);
    }
  }

  void Push(char c) { held_ += c; }

  // `active`: which markers count now.
  template <typename Active>
  State state(Active active) const {
    if (held_.empty()) return kEmpty;
    State state = kNone;
    for (const std::string& marker : markers_) {
      if (!marker.starts_with(held_) || !active(marker)) continue;
      if (marker.size() == held_.size()) return kWhole;
      state = kPartial;
    }
    return state;
  }
  State state() const {
    return state([](std::string_view) { return true; });
  }

  char Pop() {
    const char c = held_.front();
    held_.erase(0, 1);
    return c;
  }
  std::string Take() { return std::exchange(held_, {}); }
  const std::string& held() const { return held_; }

 private:
  std::vector<std::string> markers_;
  std::string held_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_REPLY_MARKER_MATCHER_H_
