// Strings that are escaped for HTML, as the package markupsafe has them. Chat templates meet them
// by way of | safe, which then escapes what is added to the string.
#include <algorithm>
#include <utility>

#include "server/text/jinja/builtins.h"
#include "server/text/jinja/operators.h"

namespace tidal::jinja {
namespace {

Value MarkEscaped(Runtime* rt, const Value& value) {
  if (value.is_string()) return Value(value.string(), /*escaped=*/true);
  if (!value.is_sequence()) return value;
  std::vector<Value> parts;
  for (const Value& part : value.items()) parts.push_back(MarkEscaped(rt, part));
  return value.is_tuple() ? rt->MakeTuple(std::move(parts)) : rt->MakeList(std::move(parts));
}

}  // namespace

std::string EscapeHtml(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string EscapedText(Runtime* rt, const Value& value) {
  return value.is_escaped() ? value.string() : EscapeHtml(ToText(rt, value));
}

Value CallOnEscaped(Runtime* rt, const std::string& name, MethodFn method, const Value& self,
                    const Arguments& arguments) {
  Arguments escaped = arguments;
  if (name == "join" && arguments.positional.size() == 1) {
    std::vector<Value> parts = rt->Iterate(arguments.positional[0]);
    for (Value& part : parts) part = rt->MakeString(EscapedText(rt, part));
    escaped.positional[0] = rt->MakeList(std::move(parts));
  } else if (name == "replace" && arguments.positional.size() >= 2) {
    escaped.positional[1] = rt->MakeString(EscapedText(rt, arguments.positional[1]));
  }
  if (rt->failed()) return Value();
  const Value result = method(rt, self, escaped);
  return rt->failed() ? Value() : MarkEscaped(rt, result);
}

}  // namespace tidal::jinja
