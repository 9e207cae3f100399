#include "server/observe/trace_context.h"

#include <algorithm>
#include <set>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/base/check.h"

namespace tidal {
namespace {

// Of a traceparent: version "-" trace-id "-" parent-id "-" flags.
constexpr size_t kTraceIdAt = 3, kTraceIdSize = 32;
constexpr size_t kSpanIdAt = 36, kSpanIdSize = 16;
constexpr size_t kFlagsAt = 53, kFlagsSize = 2;
constexpr size_t kTraceParentSize = 55;

constexpr size_t kMaxStateMembers = 32;
constexpr size_t kMaxStateKey = 256, kMaxStateValue = 256;

bool IsHex(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f'); });
}

bool IsZero(absl::string_view text) { return text.find_first_not_of('0') == text.npos; }

bool IsTraceParent(absl::string_view text) {
  if (text.size() < kTraceParentSize || !IsHex(text.substr(0, 2))) return false;
  const absl::string_view version = text.substr(0, 2);
  if (version == "ff") return false;
  // Later versions may append fields, each behind a dash.
  if (text.size() > kTraceParentSize && (version == "00" || text[kTraceParentSize] != '-')) {
    return false;
  }
  if (text[kTraceIdAt - 1] != '-' || text[kSpanIdAt - 1] != '-' || text[kFlagsAt - 1] != '-') {
    return false;
  }
  const absl::string_view trace_id = text.substr(kTraceIdAt, kTraceIdSize);
  const absl::string_view span_id = text.substr(kSpanIdAt, kSpanIdSize);
  return IsHex(trace_id) && !IsZero(trace_id) && IsHex(span_id) && !IsZero(span_id) &&
         IsHex(text.substr(kFlagsAt, kFlagsSize));
}

bool IsStateKey(absl::string_view key) {
  if (key.empty() || key.size() > kMaxStateKey) return false;
  // Either "system" or "tenant@system", each of which begins with a letter; a tenant may begin with
  // a digit.
  const std::vector<absl::string_view> parts = absl::StrSplit(key, '@');
  if (parts.size() > 2 || parts.back().empty() || parts.front().empty()) return false;
  if (parts.size() == 2 && (parts.front().size() > 241 || parts.back().size() > 14)) return false;
  const auto is_key_char = [](char c) {
    return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '_' || c == '-' || c == '*' ||
           c == '/';
  };
  for (const absl::string_view part : parts) {
    if (!std::all_of(part.begin(), part.end(), is_key_char)) return false;
  }
  if (!absl::ascii_islower(parts.back().front())) return false;
  return absl::ascii_islower(key.front()) ||
         (parts.size() == 2 && absl::ascii_isdigit(key.front()));
}

bool IsStateValue(absl::string_view value) {
  if (value.empty() || value.size() > kMaxStateValue) return false;
  return std::all_of(value.begin(), value.end(),
                     [](char c) { return c >= 0x20 && c <= 0x7e && c != ',' && c != '='; });
}

bool IsTraceState(absl::string_view text) {
  std::set<absl::string_view> keys;
  for (absl::string_view member : absl::StrSplit(text, ',')) {
    member = absl::StripAsciiWhitespace(member);
    if (member.empty()) continue;
    const size_t equals = member.find('=');
    if (equals == member.npos || !IsStateKey(member.substr(0, equals)) ||
        !IsStateValue(member.substr(equals + 1)) || !keys.insert(member.substr(0, equals)).second ||
        keys.size() > kMaxStateMembers) {
      return false;
    }
  }
  return true;
}

}  // namespace

TraceContext ParseTraceContext(absl::string_view trace_parent, absl::string_view trace_state) {
  trace_parent = absl::StripAsciiWhitespace(trace_parent);
  trace_state = absl::StripAsciiWhitespace(trace_state);
  TraceContext context;
  if (!IsTraceParent(trace_parent)) return context;
  context.trace_id = std::string(trace_parent.substr(kTraceIdAt, kTraceIdSize));
  context.span_id = std::string(trace_parent.substr(kSpanIdAt, kSpanIdSize));
  const char flags = trace_parent[kFlagsAt + 1];  // the lowest bit says "sampled"
  const int digit = absl::ascii_isdigit(flags) ? flags - '0' : flags - 'a' + 10;
  context.sampled = (digit & 1) != 0;
  if (IsTraceState(trace_state)) context.state = std::string(trace_state);
  return context;
}

std::string FormatTraceParent(const TraceContext& context) {
  TIDAL_CHECK(context.valid());
  return absl::StrCat("00-", context.trace_id, "-", context.span_id,
                      context.sampled ? "-01" : "-00");
}

}  // namespace tidal
