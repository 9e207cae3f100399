// The methods of strings.
#include <algorithm>
#include <utility>

#include "server/text/concat.h"
#include "server/text/jinja/builtins.h"
#include "server/text/jinja/operators.h"
#include "server/text/jinja/python_string.h"

namespace tidal::jinja {
namespace {

using Args = const Arguments&;

template <std::string (*kConvert)(std::string_view)>
Value Convert(Runtime* rt, const Value& self, Args args) {
  const Parameters none(rt, "this method", args, {});
  return rt->MakeString(kConvert(self.string()));
}

Value Stripped(Runtime* rt, const Value& self, Args args, bool left, bool right) {
  const Parameters p(rt, "strip", args, {"chars"});
  std::string_view text = self.string();
  if (!p.Has(0) || p.Get(0).is_none()) {
    if (left) text = StripLeft(text);
    if (right) text = StripRight(text);
  } else {
    const std::string characters = p.String(0, "");
    if (left) text = StripLeft(text, characters);
    if (right) text = StripRight(text, characters);
  }
  return rt->MakeString(std::string(text));
}
Value Strip(Runtime* rt, const Value& s, Args a) { return Stripped(rt, s, a, true, true); }
Value LStrip(Runtime* rt, const Value& s, Args a) { return Stripped(rt, s, a, true, false); }
Value RStrip(Runtime* rt, const Value& s, Args a) { return Stripped(rt, s, a, false, true); }

// The part of the text that start and end (code points, as in slices) leave; nothing when start is
// beyond the text.
std::optional<std::string_view> Part(const Value& self, const Parameters& p, size_t start_index) {
  const std::string_view text = self.string();
  const bool whole = (!p.Has(start_index) || p.Get(start_index).is_none()) &&
                     (!p.Has(start_index + 1) || p.Get(start_index + 1).is_none());
  if (whole) return text;
  const int64_t count = CodePointCount(text);
  const auto bound = [&](size_t index, int64_t otherwise) {
    if (!p.Has(index) || p.Get(index).is_none()) return otherwise;
    const int64_t given = p.Int(index, otherwise);
    return given < 0 ? std::max<int64_t>(given + count, 0) : given;
  };
  const int64_t start = bound(start_index, 0), end = std::min(bound(start_index + 1, count), count);
  if (start > end) return std::nullopt;
  const size_t begin = CodePointOffset(text, start);
  return text.substr(begin, CodePointOffset(text, end) - begin);
}

Value HasAffix(Runtime* rt, const Value& self, Args args, bool prefix) {
  const Parameters p(rt, prefix ? "startswith" : "endswith", args, {"prefix", "start", "end"});
  const auto text = Part(self, p.Require(0), 1);
  const auto matches = [&](const Value& affix) {
    if (!affix.is_string()) {
      rt->FailIfUndefined(affix);
      rt->Fail(
          Concat("startswith and endswith take a str or a tuple of str, not ", TypeName(affix)));
      return false;
    }
    if (!text.has_value()) return false;
    return prefix ? text->starts_with(affix.string()) : text->ends_with(affix.string());
  };
  const Value affix = p.Get(0);
  if (!affix.is_tuple()) return Value(matches(affix));
  return Value(std::any_of(affix.items().begin(), affix.items().end(), matches));
}
Value StartsWith(Runtime* rt, const Value& s, Args a) { return HasAffix(rt, s, a, true); }
Value EndsWith(Runtime* rt, const Value& s, Args a) { return HasAffix(rt, s, a, false); }

Value RemovePrefix(Runtime* rt, const Value& self, Args args) {
  const Parameters p(rt, "removeprefix", args, {"prefix"});
  const std::string prefix = p.Require(0).String(0, "");
  const std::string& text = self.string();
  return rt->MakeString(text.starts_with(prefix) ? text.substr(prefix.size()) : text);
}

Value RemoveSuffix(Runtime* rt, const Value& self, Args args) {
  const Parameters p(rt, "removesuffix", args, {"suffix"});
  const std::string suffix = p.Require(0).String(0, "");
  const std::string& text = self.string();
  return rt->MakeString(text.ends_with(suffix) ? text.substr(0, text.size() - suffix.size())
                                               : text);
}

Value Replace(Runtime* rt, const Value& self, Args args) {
  const Parameters p(rt, "replace", args, {"old", "new", "count"});
  const std::string from = p.Require(0).String(0, ""), to = p.Require(1).String(1, "");
  return ReplaceText(rt, self.string(), from, to, p.Int(2, -1));
}

Value Find(Runtime* rt, const Value& self, Args args, bool last, bool must) {
  const Parameters p(rt, "find", args, {"sub", "start", "end"});
  const std::string needle = p.Require(0).String(0, "");
  const auto text = Part(self, p, 1);
  rt->Step(static_cast<int64_t>(self.string().size() / 64));
  const size_t at = !text.has_value() ? std::string_view::npos
                    : last            ? text->rfind(needle)
                                      : text->find(needle);
  if (at != std::string_view::npos) {
    const size_t offset = text->data() - self.string().data() + at;
    return Value(CodePointCount(std::string_view(self.string()).substr(0, offset)));
  }
  return must ? rt->Fail("substring not found") : Value(int64_t{-1});
}
Value FindFirst(Runtime* rt, const Value& s, Args a) { return Find(rt, s, a, false, false); }
Value FindLast(Runtime* rt, const Value& s, Args a) { return Find(rt, s, a, true, false); }
Value Index(Runtime* rt, const Value& s, Args a) { return Find(rt, s, a, false, true); }
Value RIndex(Runtime* rt, const Value& s, Args a) { return Find(rt, s, a, true, true); }

Value Count(Runtime* rt, const Value& self, Args args) {
  const Parameters p(rt, "count", args, {"sub", "start", "end"});
  const std::string needle = p.Require(0).String(0, "");
  const auto text = Part(self, p, 1);
  if (!text.has_value()) return Value(int64_t{0});
  if (needle.empty()) return Value(CodePointCount(*text) + 1);
  int64_t count = 0;
  for (size_t at = text->find(needle); at != std::string_view::npos;
       at = text->find(needle, at + needle.size())) {
    ++count;
  }
  return Value(count);
}

// str.split without a separator: runs of white space, none at the ends.
std::vector<std::string_view> SplitOnSpace(std::string_view text, int64_t limit, bool from_right) {
  std::vector<std::string_view> parts;
  if (from_right) {
    for (text = StripRight(text); !text.empty(); text = StripRight(text)) {
      if (limit-- == 0) {
        parts.push_back(text);
        break;
      }
      size_t begin = text.size();
      while (begin > 0 && StripRight(text.substr(0, begin)).size() == begin) --begin;
      parts.push_back(text.substr(begin));
      text = text.substr(0, begin);
    }
    std::reverse(parts.begin(), parts.end());
    return parts;
  }
  for (text = StripLeft(text); !text.empty(); text = StripLeft(text)) {
    if (limit-- == 0) {
      parts.push_back(text);
      break;
    }
    size_t end = 0;
    while (end < text.size() && StripLeft(text.substr(end)).size() == text.size() - end) {
      end += CodePointOffset(text.substr(end), 1);
    }
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return parts;
}

std::vector<std::string_view> SplitOn(std::string_view text, std::string_view separator,
                                      int64_t limit, bool from_right) {
  std::vector<std::string_view> parts;
  if (from_right) {
    for (size_t at = text.rfind(separator); limit-- != 0 && at != std::string_view::npos;
         at = text.rfind(separator)) {
      parts.push_back(text.substr(at + separator.size()));
      text = text.substr(0, at);
    }
    parts.push_back(text);
    std::reverse(parts.begin(), parts.end());
    return parts;
  }
  for (size_t at = text.find(separator); limit-- != 0 && at != std::string_view::npos;
       at = text.find(separator)) {
    parts.push_back(text.substr(0, at));
    text.remove_prefix(at + separator.size());
  }
  parts.push_back(text);
  return parts;
}

Value ListOf(Runtime* rt, const std::vector<std::string_view>& parts) {
  std::vector<Value> items;
  for (const std::string_view part : parts) items.push_back(rt->MakeString(std::string(part)));
  return rt->MakeList(std::move(items));
}

Value SplitText(Runtime* rt, const Value& self, Args args, bool from_right) {
  const Parameters p(rt, "split", args, {"sep", "maxsplit"});
  const int64_t limit = p.Int(1, -1);
  if (!p.Has(0) || p.Get(0).is_none()) {
    return ListOf(rt, SplitOnSpace(self.string(), limit, from_right));
  }
  const std::string separator = p.String(0, "");
  if (separator.empty()) return rt->Fail("empty separator");
  return ListOf(rt, SplitOn(self.string(), separator, limit, from_right));
}
Value Split(Runtime* rt, const Value& s, Args a) { return SplitText(rt, s, a, false); }
Value RSplit(Runtime* rt, const Value& s, Args a) { return SplitText(rt, s, a, true); }

Value SplitLinesMethod(Runtime* rt, const Value& self, Args args) {
  const Parameters p(rt, "splitlines", args, {"keepends"});
  return ListOf(rt, SplitLines(self.string(), p.Bool(0, false)));
}

Value PartitionText(Runtime* rt, const Value& self, Args args, bool last) {
  const Parameters p(rt, "partition", args, {"sep"});
  const std::string separator = p.Require(0).String(0, " ");
  if (separator.empty()) return rt->Fail("empty separator");
  const std::string& text = self.string();
  const size_t at = last ? text.rfind(separator) : text.find(separator);
  if (at == std::string::npos) {
    return last ? rt->MakeTuple({Value(""), Value(""), self})
                : rt->MakeTuple({self, Value(""), Value("")});
  }
  return rt->MakeTuple({rt->MakeString(text.substr(0, at)), Value(separator),
                        rt->MakeString(text.substr(at + separator.size()))});
}
Value Partition(Runtime* rt, const Value& s, Args a) { return PartitionText(rt, s, a, false); }
Value RPartition(Runtime* rt, const Value& s, Args a) { return PartitionText(rt, s, a, true); }

Value Join(Runtime* rt, const Value& self, Args args) {
  const Parameters p(rt, "join", args, {"iterable"});
  std::string text;
  bool first = true;
  for (const Value& item : rt->Iterate(p.Require(0).Get(0))) {
    if (!item.is_string()) {
      return rt->Fail(Concat("sequence item: expected str instance, ", TypeName(item), " found"));
    }
    if (!std::exchange(first, false)) text += self.string();
    AppendText(rt, item, &text);
    if (rt->failed()) break;
  }
  return rt->MakeString(std::move(text));
}

Value Padded(Runtime* rt, const Value& self, Args args, char where) {
  const Parameters p(rt, "this method", args, {"width", "fillchar"});
  const std::string fill = p.Require(0).String(1, " ");
  if (CodePointCount(fill) != 1) {
    return rt->Fail("The fill character must be exactly one character long");
  }
  return PadText(rt, self.string(), p.Int(0, 0), fill, where);
}
Value Center(Runtime* rt, const Value& s, Args a) { return Padded(rt, s, a, '^'); }
Value LJust(Runtime* rt, const Value& s, Args a) { return Padded(rt, s, a, '<'); }
Value RJust(Runtime* rt, const Value& s, Args a) { return Padded(rt, s, a, '>'); }

Value ZFill(Runtime* rt, const Value& self, Args args) {
  const Parameters p(rt, "zfill", args, {"width"});
  std::string_view text = self.string();
  const bool sign = text.starts_with('-') || text.starts_with('+');
  const std::string front(text.substr(0, sign));
  const Value rest =
      PadText(rt, std::string(text.substr(sign)), p.Require(0).Int(0, 0) - sign, "0", '>');
  return rt->failed() ? Value() : rt->MakeString(front + rest.string());
}

template <const char* kName>
Value Has(Runtime* rt, const Value& self, Args args) {
  const Parameters none(rt, kName, args, {});
  return Value(HasProperty(self.string(), kName));
}
constexpr char kIsAlpha[] = "isalpha", kIsAlnum[] = "isalnum", kIsDigit[] = "isdigit",
               kIsDecimal[] = "isdecimal", kIsNumeric[] = "isnumeric", kIsSpace[] = "isspace",
               kIsUpper[] = "isupper", kIsLower[] = "islower", kIsTitle[] = "istitle",
               kIsAscii[] = "isascii", kIsPrintable[] = "isprintable";

Value Format(Runtime* rt, const Value& self, Args args) { return FormatBraces(rt, self, args); }

}  // namespace

MethodFn FindStringMethod(const std::string& name) {
  static const auto* const methods = new std::unordered_map<std::string_view, MethodFn>{
      {"upper", Convert<ToUpper>},
      {"lower", Convert<ToLower>},
      {"casefold", Convert<CaseFold>},
      {"title", Convert<TitleCase>},
      {"capitalize", Convert<Capitalize>},
      {"swapcase", Convert<SwapCase>},
      {"strip", Strip},
      {"lstrip", LStrip},
      {"rstrip", RStrip},
      {"startswith", StartsWith},
      {"endswith", EndsWith},
      {"removeprefix", RemovePrefix},
      {"removesuffix", RemoveSuffix},
      {"replace", Replace},
      {"find", FindFirst},
      {"rfind", FindLast},
      {"index", Index},
      {"rindex", RIndex},
      {"count", Count},
      {"split", Split},
      {"rsplit", RSplit},
      {"splitlines", SplitLinesMethod},
      {"partition", Partition},
      {"rpartition", RPartition},
      {"join", Join},
      {"center", Center},
      {"ljust", LJust},
      {"rjust", RJust},
      {"zfill", ZFill},
      {"format", Format},
      {"isalpha", Has<kIsAlpha>},
      {"isalnum", Has<kIsAlnum>},
      {"isdigit", Has<kIsDigit>},
      {"isdecimal", Has<kIsDecimal>},
      {"isnumeric", Has<kIsNumeric>},
      {"isspace", Has<kIsSpace>},
      {"isupper", Has<kIsUpper>},
      {"islower", Has<kIsLower>},
      {"istitle", Has<kIsTitle>},
      {"isascii", Has<kIsAscii>},
      {"isprintable", Has<kIsPrintable>},
  };
  const auto it = methods->find(name);
  return it == methods->end() ? nullptr : it->second;
}

}  // namespace tidal::jinja
