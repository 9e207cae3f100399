// Work on strings that filters and methods share.
#include <algorithm>

#include "server/text/jinja/builtins.h"
#include "server/text/jinja/python_string.h"

namespace tidal::jinja {
namespace {

// Bytes of the line end that `text` starts with; 0 when none.
size_t LineEnd(std::string_view text) {
  if (text.starts_with("\r\n")) return 2;
  if (std::string_view("\n\r\v\f\x1c\x1d\x1e").find(text[0]) != std::string_view::npos) return 1;
  if (text.starts_with("\xC2\x85")) return 2;                                           // U+0085
  return text.starts_with("\xE2\x80\xA8") || text.starts_with("\xE2\x80\xA9") ? 3 : 0;  // U+2028/9
}

}  // namespace

std::vector<std::string_view> SplitLines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = LineEnd(text.substr(at));
    if (end == 0) {
      ++at;
      continue;
    }
    lines.push_back(text.substr(begin, at - begin + (keep_ends ? end : 0)));
    at += end;
    begin = at;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

Value ReplaceText(Runtime* rt, const std::string& text, const std::string& from,
                  const std::string& to, int64_t count) {
  int64_t matches = from.empty() ? CodePointCount(text) + 1 : 0;
  for (size_t at = from.empty() ? std::string::npos : text.find(from); at != std::string::npos;
       at = text.find(from, at + from.size())) {
    ++matches;
  }
  if (count >= 0) matches = std::min(matches, count);
  int64_t added = 0;
  if (__builtin_mul_overflow(matches, static_cast<int64_t>(to.size()), &added) ||
      !rt->Fits(added)) {
    return rt->Exhausted("a text that is too long");
  }
  if (!from.empty()) return rt->MakeString(ReplaceAll(text, from, to, matches));
  std::string out;  // before every character, and at the end
  int64_t done = 0;
  for (const std::string_view c : CodePoints(text)) {
    if (done++ < matches) out += to;
    out += c;
  }
  if (done < matches) out += to;
  return rt->MakeString(std::move(out));
}

Value PadText(Runtime* rt, const std::string& text, int64_t width, const std::string& fill,
              char where) {
  const int64_t missing = width - CodePointCount(text);
  if (missing <= 0) return Value(text);
  if (!rt->Fits(missing)) return rt->Exhausted("a text that is too long");
  // Python gives the odd one to the left when the width is odd.
  const int64_t left = where == '<'   ? 0
                       : where == '>' ? missing
                                      : missing / 2 + (missing & width & 1);
  std::string out;
  for (int64_t i = 0; i < left; ++i) out += fill;
  out += text;
  for (int64_t i = left; i < missing; ++i) out += fill;
  return rt->MakeString(std::move(out));
}

}  // namespace tidal::jinja
