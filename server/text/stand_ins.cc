#include "server/text/stand_ins.h"

#include "server/text/utf8.h"

namespace tidal {

std::string StandIns::Restore(std::string_view text) const {
  constexpr char kLeadByte = '\xF4';  // of the last plane, in UTF-8
  std::string restored;
  restored.reserve(text.size());
  size_t done = 0;
  for (size_t at = text.find(kLeadByte); at != text.npos; at = text.find(kLeadByte, at + 1)) {
    const Utf8Unit unit = ReadUtf8(text.substr(at));
    const auto found = originals_.find(unit.code_point);
    if (unit.kind != Utf8Unit::kCodePoint || found == originals_.end()) continue;
    restored.append(text.substr(done, at - done)).append(found->second);
    done = at + unit.length;
  }
  return restored.append(text.substr(done));
}

}  // namespace tidal
