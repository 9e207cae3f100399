// Python's two ways of formatting: "%5.2f" % x and "{:>5}".format(x).
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>

#include "absl/strings/ascii.h"
#include "server/text/concat.h"
#include "server/text/jinja/builtins.h"
#include "server/text/jinja/operators.h"
#include "server/text/jinja/python_string.h"
#include "server/text/utf8.h"

namespace tidal::jinja {
namespace {

constexpr int64_t kMaxWidth = 10'000, kMaxPrecision = 300;

struct Spec {
  std::string fill = std::string(1, ' ');
  char align = 0;  // < > ^ or = (between sign and digits); 0: by the type
  char sign = '-';
  bool alternate = false;  // 0x and its like in front
  bool grouped = false;    // thousands with commas
  int64_t width = 0, precision = -1;
  char type = 0;
};

bool ReadNumber(std::string_view text, size_t* at, int64_t* number) {
  const char* const begin = text.data() + *at;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(begin, end, *number);
  if (stop == begin) return true;
  *at += stop - begin;
  return error == std::errc();
}

std::string Digits(uint64_t number, int base, bool upper) {
  std::array<char, 64> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number, base).ptr;
  std::string text(buffer.data(), end);
  return upper ? ToUpper(text) : text;
}

std::string WithCommas(const std::string& number) {
  const size_t whole = std::min(number.find_first_of(".e"), number.size());
  std::string out = number;
  for (size_t at = whole; at > 3; at -= 3) out.insert(at - 3, 1, ',');
  return out;
}

std::string FloatDigits(double magnitude, const Spec& spec) {
  if (std::isnan(magnitude)) return "nan";
  if (std::isinf(magnitude)) return "inf";
  const char lower = static_cast<char>(spec.type | 0x20);
  const int64_t precision = spec.precision < 0 ? 6 : spec.precision;
  if (spec.type == 0 && spec.precision < 0) return FormatFloat(magnitude);
  std::string format = "%.*";
  format += lower == 'f' || spec.type == '%' ? 'f' : lower == 'e' ? 'e' : 'g';
  std::array<char, 800> buffer;
  const int length = std::snprintf(buffer.data(), buffer.size(), format.c_str(),
                                   static_cast<int>(precision), magnitude);
  std::string text(buffer.data(), std::min<size_t>(length, buffer.size() - 1));
  if (spec.type == '%') text += '%';
  if (spec.type == 0 && text.find_first_of(".e") == std::string::npos) text += ".0";
  return spec.type >= 'A' && spec.type <= 'Z' ? ToUpper(text) : text;
}

Value Pad(Runtime* rt, const Spec& spec, const std::string& sign, const std::string& body,
          char align) {
  if (align != '=') return PadText(rt, sign + body, spec.width, spec.fill, align);
  const Value padded =
      PadText(rt, body, spec.width - static_cast<int64_t>(sign.size()), spec.fill, '>');
  return rt->failed() ? Value() : rt->MakeString(sign + padded.string());
}

Value FormatNumber(Runtime* rt, const Value& value, const Spec& spec) {
  const char lower = static_cast<char>(spec.type | 0x20);
  const bool as_float =
      value.is_float() || spec.type == '%' || lower == 'f' || lower == 'e' || lower == 'g';
  std::string sign, body;
  bool negative = false;
  if (as_float) {
    double number = value.AsDouble();
    negative = std::signbit(number) && !std::isnan(number);
    number = std::abs(number) * (spec.type == '%' ? 100 : 1);
    body = FloatDigits(number, spec);
  } else {
    const int64_t number = *value.IntOrBool();
    negative = number < 0;
    const uint64_t magnitude = negative ? 0 - static_cast<uint64_t>(number) : number;
    if (spec.type == 'c') {
      if (number < 0 || number > 0x10FFFF || (number >= 0xD800 && number < 0xE000)) {
        return rt->Fail("%c arg not in range(0x110000)");
      }
      AppendUtf8(static_cast<char32_t>(number), &body);
      return Pad(rt, spec, "", body, spec.align == 0 ? '<' : spec.align);
    }
    const int base = lower == 'x' ? 16 : lower == 'o' ? 8 : lower == 'b' ? 2 : 10;
    body = Digits(magnitude, base, spec.type == 'X');
    if (spec.alternate && base != 10) sign = Concat("0", std::string(1, spec.type));
  }
  if (spec.grouped) body = WithCommas(body);
  if (negative) {
    sign.insert(0, 1, '-');
  } else if (spec.sign != '-') {
    sign.insert(0, 1, spec.sign);
  }
  return Pad(rt, spec, sign, body, spec.align == 0 ? '>' : spec.align);
}

Value FormatText(Runtime* rt, std::string text, const Spec& spec) {
  if (spec.precision >= 0) text.resize(CodePointOffset(text, spec.precision));
  const char align = spec.align == 0 || spec.align == '=' ? '<' : spec.align;
  return PadText(rt, text, spec.width, spec.fill, align);
}

// One conversion of a % format, after its flags were read. `escaped`: the format is.
Value ConvertPercent(Runtime* rt, const Value& value, Spec spec, bool escaped) {
  if (spec.type == 's' || spec.type == 'r' || spec.type == 'a') {
    std::string text;
    spec.type == 's' ? AppendText(rt, value, &text) : AppendRepr(rt, value, &text);
    if (escaped && !(spec.type == 's' && value.is_escaped())) text = EscapeHtml(text);
    if (spec.align == 0 || spec.align == '=') spec.align = '>';
    spec.fill.assign(1, ' ');
    return FormatText(rt, text, spec);
  }
  if (spec.type == 'c' && value.is_string()) return FormatText(rt, value.string(), spec);
  if (!value.is_number()) {
    rt->FailIfUndefined(value);
    return rt->Fail(Concat("%", std::string(1, spec.type), " format: a number is required, not ",
                           TypeName(value)));
  }
  if (spec.type == 'i' || spec.type == 'u') spec.type = 'd';
  if (spec.type == 'd' && value.is_float()) {
    if (!(std::abs(value.floating()) < 9.2e18)) return rt->Fail("%d of a number that is too large");
    return FormatNumber(rt, Value(static_cast<int64_t>(value.floating())), spec);
  }
  return FormatNumber(rt, value, spec);
}

struct PercentField {
  std::optional<std::string> name;  // %(name)s
  Spec spec;
};

// What follows a percent sign: [(name)][flags][width][.precision]type.
bool ReadPercentField(Runtime* rt, const std::string& format, size_t* at, PercentField* field) {
  const auto fail = [rt](std::string_view message) {
    rt->Fail(std::string(message));
    return false;
  };
  const auto here = [&] { return *at < format.size() ? format[*at] : '\0'; };
  Spec& spec = field->spec;
  if (here() == '(') {
    const size_t close = format.find(')', *at);
    if (close == std::string::npos) return fail("incomplete format key");
    field->name = format.substr(*at + 1, close - *at - 1);
    *at = close + 1;
  }
  for (; here() != 0 && std::string_view("-+ #0").find(here()) != std::string_view::npos; ++*at) {
    if (here() == '-') spec.align = '<';
    if (here() == '+') spec.sign = '+';
    if (here() == ' ' && spec.sign == '-') spec.sign = ' ';
    if (here() == '#') spec.alternate = true;
    if (here() == '0' && spec.align == 0) {
      spec.align = '=';
      spec.fill.assign(1, '0');
    }
  }
  if (spec.align == '<') spec.fill.assign(1, ' ');
  bool valid = ReadNumber(format, at, &spec.width);
  if (here() == '.') {
    ++*at;
    spec.precision = 0;
    valid = ReadNumber(format, at, &spec.precision) && valid;
  }
  if (!valid || spec.width > kMaxWidth || spec.precision > kMaxPrecision) {
    return fail("a width or precision that is too large");
  }
  if (*at >= format.size()) return fail("incomplete format");
  spec.type = format[(*at)++];
  if (std::string_view("sradiuxXoeEfFgGc").find(spec.type) == std::string_view::npos) {
    return fail(Concat("unsupported format character '", std::string(1, spec.type), "'"));
  }
  return true;
}

// {...:spec}: [[fill]align][sign][#][0][width][,][.precision][type]
bool ParseSpec(std::string_view text, Spec* spec) {
  const std::string_view aligns = "<>^=";
  size_t at = 0;
  const auto is_align = [&](size_t i) {
    return i < text.size() && aligns.find(text[i]) != std::string_view::npos;
  };
  const size_t first = text.empty() ? 0 : CodePointOffset(text, 1);
  if (first > 0 && is_align(first)) {
    spec->fill = std::string(text.substr(0, first));
    spec->align = text[first];
    at = first + 1;
  } else if (is_align(0)) {
    spec->align = text[at++];
  }
  const auto skip = [&](char c) { return at < text.size() && text[at] == c && ++at > 0; };
  if (skip('+')) spec->sign = '+';
  if (skip(' ')) spec->sign = ' ';
  skip('-');
  spec->alternate = skip('#');
  if (skip('0') && spec->align == 0) {
    spec->fill.assign(1, '0');
    spec->align = '=';
  }
  if (!ReadNumber(text, &at, &spec->width)) return false;
  spec->grouped = skip(',');
  if (skip('.') && !ReadNumber(text, &at, &spec->precision)) return false;
  if (at < text.size()) spec->type = text[at++];
  return at == text.size() && spec->width <= kMaxWidth && spec->precision <= kMaxPrecision &&
         (spec->type == 0 ||
          std::string_view("sdxXobceEfFgG%").find(spec->type) != std::string_view::npos);
}

Value FormatField(Runtime* rt, const Value& value, char conversion, std::string_view spec_text) {
  Spec spec;
  if (!ParseSpec(spec_text, &spec)) return rt->Fail("Invalid format specifier");
  const bool text_type = spec.type == 0 || spec.type == 's';
  if (conversion == 'r' || conversion == 'a') {
    std::string text;
    AppendRepr(rt, value, &text);
    return FormatText(rt, text, spec);
  }
  if (conversion == 's' || !value.is_number() || (value.is_bool() && text_type)) {
    if (!text_type) return rt->Fail("Unknown format code for this value");
    return FormatText(rt, ToText(rt, value), spec);
  }
  if (spec.type == 's') return rt->Fail("Unknown format code 's' for a number");
  return FormatNumber(rt, value, spec);
}

// name or index, then .attribute and [key] any number of times.
Value FindField(Runtime* rt, std::string_view path, const Arguments& arguments,
                int64_t* automatic) {
  const size_t end = std::min(path.find_first_of(".["), path.size());
  const std::string_view first = path.substr(0, end);
  Value value = Value::Missing(Concat("str.format has no argument ", QuoteString(first)));
  int64_t index = 0;
  const bool number = !first.empty() && std::all_of(first.begin(), first.end(),
                                                    [](char c) { return absl::ascii_isdigit(c); });
  if (first.empty()) {
    index = (*automatic)++;
  } else if (number) {
    size_t at = 0;
    if (!ReadNumber(first, &at, &index)) return rt->Fail("an index that is too large");
  }
  if (first.empty() || number) {
    if (index < static_cast<int64_t>(arguments.positional.size())) {
      value = arguments.positional[index];
    }
  }
  for (const auto& [name, named] : arguments.named) {
    if (name == first) value = named;
  }
  if (value.is_undefined()) return rt->FailIfUndefined(value);
  for (path.remove_prefix(end); !path.empty() && !rt->failed();) {
    const bool item = path[0] == '[';
    const size_t stop = item ? path.find(']') : std::min(path.find_first_of(".[", 1), path.size());
    if (stop == std::string_view::npos) return rt->Fail("expected ']' in a format");
    const std::string name(path.substr(1, stop - 1));
    int64_t position = 0;
    size_t at = 0;
    const bool by_index =
        item && !name.empty() && ReadNumber(name, &at, &position) && at == name.size();
    value = item ? rt->GetItem(value, by_index ? Value(position) : Value(name))
                 : rt->GetAttribute(value, name);
    path.remove_prefix(item ? stop + 1 : stop);
  }
  return value;
}

}  // namespace

Value FormatPercent(Runtime* rt, const Value& format_value, const Value& arguments) {
  const std::string& format = format_value.string();
  const std::vector<Value> values =
      arguments.is_tuple() ? arguments.items() : std::vector{arguments};
  std::string out;
  size_t used = 0;
  bool by_name = false;
  for (size_t at = 0; at < format.size() && !rt->failed();) {
    const size_t percent = std::min(format.find('%', at), format.size());
    out.append(format, at, percent - at);
    at = percent + 1;
    if (percent == format.size()) break;
    if (at < format.size() && format[at] == '%') {
      out += format[at++];
      continue;
    }
    PercentField field;
    if (!ReadPercentField(rt, format, &at, &field)) return Value();
    Value value;
    if (field.name.has_value()) {
      by_name = true;
      if (!arguments.is_dict()) return rt->Fail("format requires a mapping");
      const Value* const found = arguments.dict().FindName(*field.name);
      if (found == nullptr) return rt->Fail("format names a key that is missing");
      value = *found;
    } else {
      if (used == values.size()) return rt->Fail("not enough arguments for format string");
      value = values[used++];
    }
    AppendText(rt, ConvertPercent(rt, value, field.spec, format_value.is_escaped()), &out);
  }
  // What has elements by key may hold more than the format takes.
  const bool keyed = arguments.is_dict() || arguments.is_list() || arguments.is_undefined();
  if (!by_name && used < values.size() && !keyed) {
    return rt->Fail("not all arguments converted during string formatting");
  }
  return rt->MakeString(std::move(out), format_value.is_escaped());
}

Value FormatBraces(Runtime* rt, const Value& format_value, const Arguments& arguments) {
  const std::string& format = format_value.string();
  std::string out;
  int64_t automatic = 0;
  for (size_t at = 0; at < format.size() && !rt->failed();) {
    const char c = format[at];
    if ((c == '{' || c == '}') && at + 1 < format.size() && format[at + 1] == c) {
      out += c;
      at += 2;
    } else if (c == '}') {
      return rt->Fail("Single '}' encountered in format string");
    } else if (c != '{') {
      out += c;
      ++at;
    } else {
      const size_t close = format.find('}', at);
      if (close == std::string::npos) return rt->Fail("expected '}' before end of string");
      std::string_view field = std::string_view(format).substr(at + 1, close - at - 1);
      if (field.find('{') != std::string_view::npos) return rt->Fail("a format within a format");
      const size_t colon = std::min(field.find(':'), field.size());
      std::string_view spec = field.substr(std::min(colon + 1, field.size()));
      field = field.substr(0, colon);
      char conversion = 0;
      if (field.size() >= 2 && field[field.size() - 2] == '!') {
        conversion = field.back();
        field.remove_suffix(2);
      }
      const Value value = FindField(rt, field, arguments, &automatic);
      const Value text = FormatField(rt, value, conversion, spec);
      const bool escape = format_value.is_escaped() && !value.is_escaped();
      out += escape ? EscapedText(rt, text) : ToText(rt, text);
      at = close + 1;
    }
  }
  return rt->MakeString(std::move(out), format_value.is_escaped());
}

}  // namespace tidal::jinja
