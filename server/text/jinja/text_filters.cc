#include <algorithm>
#include <utility>

#include "server/text/concat.h"
#include "server/text/jinja/builtins.h"
#include "server/text/jinja/operators.h"
#include "server/text/jinja/python_string.h"

namespace tidal::jinja {
namespace {

using Args = const Arguments&;

constexpr int64_t kMaxIndent = 1000;  // spaces of tojson and indent

template <std::string (*kConvert)(std::string_view)>
Value Convert(Runtime* rt, const Value& value, Args args) {
  const Parameters none(rt, "this filter", args, {});
  return rt->MakeString(kConvert(ToText(rt, value)), value.is_escaped());
}

// Not str.title(): words begin after white space and -({[<.
std::string TitleWords(std::string_view text) {
  std::string out, word;
  const auto end_word = [&] {
    const size_t first = CodePointOffset(word, 1);
    out += ToUpper(std::string_view(word).substr(0, first));
    out += ToLower(std::string_view(word).substr(first));
    word.clear();
  };
  for (const std::string_view c : CodePoints(text)) {
    const bool separator =
        StripLeft(c).empty() || std::string_view("-({[<").find(c) != std::string_view::npos;
    if (!separator) {
      word += c;
      continue;
    }
    end_word();
    out += c;
  }
  end_word();
  return out;
}

Value Title(Runtime* rt, const Value& value, Args args) {
  const Parameters none(rt, "title", args, {});
  return rt->MakeString(TitleWords(ToText(rt, value)));
}

Value Trim(Runtime* rt, const Value& value, Args args) {
  const Parameters p(rt, "trim", args, {"chars"});
  const std::string text = ToText(rt, value);
  if (!p.Has(0) || p.Get(0).is_none()) {
    return rt->MakeString(std::string(StripRight(StripLeft(text))), value.is_escaped());
  }
  const std::string characters = p.String(0, "");
  return rt->MakeString(std::string(StripRight(StripLeft(text, characters), characters)),
                        value.is_escaped());
}

Value Replace(Runtime* rt, const Value& value, Args args) {
  const Parameters p(rt, "replace", args, {"old", "new", "count"});
  p.Require(0).Require(1);
  const bool all = !p.Has(2) || p.Get(2).is_none();
  return ReplaceText(rt, ToText(rt, value), ToText(rt, p.Get(0)), ToText(rt, p.Get(1)),
                     all ? -1 : p.Int(2, -1));
}

Value Indent(Runtime* rt, const Value& value, Args args) {
  const Parameters p(rt, "indent", args, {"width", "first", "blank"});
  std::string indent;
  if (p.Get(0).is_string()) {
    indent = p.Get(0).string();
  } else {
    indent = std::string(std::clamp<int64_t>(p.Int(0, 4), 0, kMaxIndent), ' ');
  }
  if (!value.is_string()) {
    rt->FailIfUndefined(value);
    return rt->Fail(Concat("indent() needs a string, got ", TypeName(value)));
  }
  const bool blank = p.Bool(2, false);
  std::string out = p.Bool(1, false) ? indent : "";
  bool first = true;
  const std::string text = value.string() + "\n";  // so that the last line is one, even if empty
  for (const std::string_view line : SplitLines(text, /*keep_ends=*/false)) {
    if (!std::exchange(first, false)) {
      out += '\n';
      if (blank || !line.empty()) out += indent;
    }
    out += line;
    if (!rt->Fits(static_cast<int64_t>(out.size())))
      return rt->Exhausted("a text that is too long");
  }
  return rt->MakeString(std::move(out), value.is_escaped());
}

Value Center(Runtime* rt, const Value& value, Args args) {
  const Parameters p(rt, "center", args, {"width"});
  const Value centered = PadText(rt, ToText(rt, value), p.Int(0, 80), " ", '^');
  return value.is_escaped() && !rt->failed() ? Value(centered.string(), /*escaped=*/true)
                                             : centered;
}

Value Truncate(Runtime* rt, const Value& value, Args args) {
  const Parameters p(rt, "truncate", args, {"length", "killwords", "end", "leeway"});
  if (!value.is_string()) {
    rt->FailIfUndefined(value);
    return rt->Fail(Concat("truncate() needs a string, got ", TypeName(value)));
  }
  const std::string text = value.string(), end = p.String(2, "...");
  const int64_t length = p.Int(0, 255), leeway = p.Int(3, 5);
  const int64_t kept = length - CodePointCount(end);
  if (kept < 0 || leeway < 0) return rt->Fail("truncate() got a length shorter than its end");
  if (CodePointCount(text) - leeway <= length) return value;
  std::string cut = text.substr(0, CodePointOffset(text, kept));
  if (!p.Bool(1, false)) cut = cut.substr(0, cut.rfind(' '));
  return Arithmetic(rt, "+", Value(std::move(cut), value.is_escaped()),
                    p.Has(2) ? p.Get(2) : Value(end));
}

Value WordCount(Runtime* rt, const Value& value, Args args) {
  const Parameters none(rt, "wordcount", args, {});
  const std::string text = ToText(rt, value);  // its code points are views
  int64_t count = 0;
  bool in_word = false;
  for (const std::string_view c : CodePoints(text)) {
    const bool word = c == "_" || HasProperty(c, "isalnum");
    count += word && !in_word;
    in_word = word;
  }
  return Value(count);
}

Value String(Runtime* rt, const Value& value, Args args) {
  const Parameters none(rt, "string", args, {});
  return value.is_string() ? value : rt->MakeString(ToText(rt, value));
}

Value Safe(Runtime* rt, const Value& value, Args args) {
  const Parameters none(rt, "safe", args, {});
  return rt->MakeString(ToText(rt, value), /*escaped=*/true);
}

Value Escape(Runtime* rt, const Value& value, Args args) {
  const Parameters none(rt, "escape", args, {});
  return rt->MakeString(EscapedText(rt, value), /*escaped=*/true);
}

Value ForceEscape(Runtime* rt, const Value& value, Args args) {
  const Parameters none(rt, "forceescape", args, {});
  return rt->MakeString(EscapeHtml(ToText(rt, value)), /*escaped=*/true);
}

Value Format(Runtime* rt, const Value& value, Args args) {
  const Value format = value.is_string() ? value : rt->MakeString(ToText(rt, value));
  if (rt->failed()) return Value();
  if (args.named.empty()) return FormatPercent(rt, format, rt->MakeTuple(args.positional));
  Dict named;
  for (const auto& [name, argument] : args.named) named.SetName(name, argument);
  return FormatPercent(rt, format, rt->MakeDict(std::move(named)));
}

Value UrlEncode(Runtime* rt, const Value& value, Args args) {
  const Parameters none(rt, "urlencode", args, {});
  constexpr char kDigits[] = "0123456789ABCDEF";
  if (value.is_sequence() || value.is_dict()) return rt->Fail("urlencode() needs a string");
  std::string out;
  for (const char c : ToText(rt, value)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80 && (HasProperty(std::string_view(&c, 1), "isalnum") ||
                        std::string_view("_.-~/").find(c) != std::string_view::npos)) {
      out += c;
    } else {
      out += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return rt->MakeString(std::move(out));
}

// As transformers defines it: json.dumps, without Jinja's escapes for HTML.
Value ToJson(Runtime* rt, const Value& value, Args args) {
  const Parameters p(rt, "tojson", args, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = p.Bool(0, false);
  style.sort_keys = p.Bool(3, false);
  if (p.Has(1) && !p.Get(1).is_none()) {
    style.indent = p.Get(1).is_string()
                       ? p.Get(1).string()
                       : std::string(std::clamp<int64_t>(p.Int(1, 0), 0, kMaxIndent), ' ');
    style.item_separator.assign(1, ',');
  }
  if (const Value separators = p.Get(2); separators.is_sequence()) {
    const auto& items = separators.items();
    if (items.size() != 2 || !items[0].is_string() || !items[1].is_string()) {
      return rt->Fail("tojson() takes two strings as separators");
    }
    style.item_separator = items[0].string();
    style.key_separator = items[1].string();
  }
  std::string out;
  AppendJson(rt, value, style, &out);
  return rt->MakeString(std::move(out));
}

}  // namespace

const FilterTable& TextFilters() {
  static const auto* const filters = new FilterTable{
      {"upper", Convert<ToUpper>},
      {"lower", Convert<ToLower>},
      {"title", Title},
      {"capitalize", Convert<Capitalize>},
      {"string", String},
      {"safe", Safe},
      {"escape", Escape},
      {"e", Escape},
      {"forceescape", ForceEscape},
      {"trim", Trim},
      {"replace", Replace},
      {"indent", Indent},
      {"center", Center},
      {"truncate", Truncate},
      {"wordcount", WordCount},
      {"format", Format},
      {"urlencode", UrlEncode},
      {"tojson", ToJson},
  };
  return *filters;
}

}  // namespace tidal::jinja
