// Code points that stand for others in a text.
#ifndef TIDAL_SERVER_TEXT_STAND_INS_H_
#define TIDAL_SERVER_TEXT_STAND_INS_H_

#include <string>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_map.h"

namespace tidal {

// Private-use code points of the last plane, each for one other code point. A text that has them
// where a special token begins has no such token there, and is otherwise handled like the text that
// it stands for.
class StandIns {
 public:
  static constexpr char32_t kFirst = 0x100000, kLast = 0x10FFFD;

  bool empty() const { return originals_.empty(); }
  // `original`: UTF-8 of one code point.
  void Add(char32_t stand_in, std::string original) {
    originals_.emplace(stand_in, std::move(original));
  }
  // `text`, valid UTF-8, with the originals.
  std::string Restore(std::string_view text) const;

 private:
  absl::flat_hash_map<char32_t, std::string> originals_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_STAND_INS_H_
