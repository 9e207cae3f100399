#include "server/openai/left_out.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace tidal {
namespace {

constexpr size_t kMaxNamed = 16;
constexpr size_t kMaxNameBytes = 48;

}  // namespace

void LeftOut::Add(absl::string_view field, absl::string_view what) {
  if (++count_ > kMaxNamed) return;
  std::string name(what.substr(0, kMaxNameBytes));
  // It goes into a header.
  std::replace_if(
      name.begin(), name.end(),
      [](char c) { return !absl::ascii_isalnum(c) && c != '_' && c != '-' && c != '.'; }, '?');
  first_.push_back(absl::StrCat(field, " (", name, ")"));
}

std::string LeftOut::Header() const {
  std::string header = absl::StrJoin(first_, ", ");
  if (count_ > first_.size()) absl::StrAppend(&header, " and ", count_ - first_.size(), " more");
  return header;
}

}  // namespace tidal
