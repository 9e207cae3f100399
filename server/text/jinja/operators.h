// Python's operators on values. All of them report through Runtime::Fail.
#ifndef TIDAL_SERVER_TEXT_JINJA_OPERATORS_H_
#define TIDAL_SERVER_TEXT_JINJA_OPERATORS_H_

#include <optional>
#include <string>
#include <string_view>

#include "server/text/jinja/runtime.h"
#include "server/text/jinja/value.h"

namespace tidal::jinja {

std::string_view TypeName(const Value& value);  // "str", "NoneType", ...

bool Equals(Runtime* rt, const Value& a, const Value& b);
// a < b; fails when they have no order.
bool Less(Runtime* rt, const Value& a, const Value& b);
// element in container.
bool Contains(Runtime* rt, const Value& container, const Value& element);

// op: + - * / // % **
Value Arithmetic(Runtime* rt, std::string_view op, const Value& a, const Value& b);
Value Negate(Runtime* rt, const Value& value);
// format % arguments, and arguments in str.format's braces; `format` is a string.
Value FormatPercent(Runtime* rt, const Value& format, const Value& arguments);
Value FormatBraces(Runtime* rt, const Value& format, const Arguments& arguments);

// str() and repr(), appended; they stop when the runtime fails.
void AppendText(Runtime* rt, const Value& value, std::string* out);
void AppendRepr(Runtime* rt, const Value& value, std::string* out);
std::string ToText(Runtime* rt, const Value& value);

// str(), with &, <, > and quotes as HTML's entities.
std::string EscapeHtml(std::string_view text);
// The same of a value, unless it is escaped already.
std::string EscapedText(Runtime* rt, const Value& value);

// json.dumps(value, ensure_ascii=False) as transformers gives it to templates.
struct JsonStyle {
  bool ensure_ascii = false;
  std::optional<std::string> indent;  // of one level; nothing: all on one line
  std::string item_separator = ", ", key_separator = ": ";
  bool sort_keys = false;
};
void AppendJson(Runtime* rt, const Value& value, const JsonStyle& style, std::string* out);

}  // namespace tidal::jinja

#endif  // TIDAL_SERVER_TEXT_JINJA_OPERATORS_H_
